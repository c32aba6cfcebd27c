import asyncio
from collections.abc import Sequence

from generation.citations import BoundCitation, BoundText, CitationBinder
from generation.ports import Abstain, Delta, Evidence, ModelEvent
from generation.prompts import DONT_KNOW, render
from generation.providers.extractive import ExtractiveModel, quoted
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.reranking.late_interaction import TokenVectorCache
from tests.generation.samples import HOLIDAY, PARKING, evidence_of

LIST = "To park a car at work is needed:\n- a permit\n- a car"


def asked(question: str, evidence: Sequence[Evidence]) -> list[ModelEvent]:
    model = ExtractiveModel(vectors=TokenVectorCache(HashingEmbedder(256)))
    prompt = render(question, standalone=question, evidence=evidence, nonce="n")

    async def collected() -> list[ModelEvent]:
        return [event async for event in model.stream(prompt)]

    return asyncio.run(collected())


def test_it_quotes_the_sentence_that_answers_with_its_marker() -> None:
    found = asked("What does parking cost a month?", evidence_of(HOLIDAY, PARKING))
    assert found[0] == Delta(text="Parking costs 40 euros a month. [2]")


def test_a_list_is_quoted_line_by_line() -> None:
    found = asked("What is needed to park a car at work?", evidence_of(LIST))
    assert "".join(event.text for event in found if isinstance(event, Delta)) == (
        "To park a car at work is needed: [1]\n- a permit [1]\n- a car [1]"
    )


def test_it_says_so_when_nothing_answers() -> None:
    assert asked("Who painted that famous smiling portrait?", evidence_of(PARKING)) == [Abstain(text=DONT_KNOW)]
    assert asked("What does parking cost?", ()) == [Abstain(text=DONT_KNOW)]


def test_what_it_quotes_is_bound_to_the_exact_slice_and_verified() -> None:
    text = "Dr. Smith [2] decides,\ne.g. on parking of employees.\nSee U.S. rules [1]."
    evidence = evidence_of(text)
    binder = CitationBinder(evidence)
    out = [
        item
        for event in asked("Who decides on parking of employees?", evidence)
        if isinstance(event, Delta)
        for item in binder.feed(event.text)
    ]
    out += binder.finish()
    citations = [item.citation for item in out if isinstance(item, BoundCitation)]
    assert citations[0].quote == "Dr. Smith [2] decides,\ne.g. on parking of employees."
    assert all(citation.verified for citation in citations)
    answer = "".join(item.text for item in out if isinstance(item, BoundText))
    assert answer.startswith("Dr. Smith (2) decides, e.g. on parking of employees. [1]")


def test_every_sentence_of_a_quoted_range_gets_its_marker() -> None:
    assert quoted("It is free. Really.", 3) == "It is free. [3] Really. [3]"


def test_brackets_of_the_document_never_look_like_markers() -> None:
    assert quoted("As shown [7] and [see below].", 1) == "As shown (7) and [see below]. [1]"
