import pytest

from core.errors import ModelUnavailable
from generation.ports import Delta
from generation.providers.scripted import ScriptedModel
from tests.footnote.served import CommandLine
from tests.ingestion.works import story

pytestmark = pytest.mark.slow  # each against a real installation

HIT = {
    "document",
    "name",
    "title",
    "page",
    "pages",
    "chunk",
    "span",
    "text",
    "score",
    "ranks",
}
CITATION = {
    "n",
    "document",
    "version",
    "chunk",
    "name",
    "title",
    "page",
    "span",
    "boxes",
    "quote",
    "hash",
    "verified",
}
HOLIDAY = "Every employee has thirty days of holiday. Unused days lapse in March."


def test_a_search_prints_hits_as_designed(footnote: CommandLine) -> None:
    document = footnote.take_in(story("tea"), "tea.txt")
    footnote.take_in(story("coffee"), "coffee.txt")

    answer = footnote.json("search", "what is told of tea", "--limit", "3")

    assert set(answer) == {"hits", "timings_ms"}
    assert len(answer["hits"]) == 3
    best = answer["hits"][0]
    assert set(best) >= HIT
    assert (best["document"], best["name"], best["page"], best["pages"]) == (document, "tea.txt", 1, [1, 1])
    assert set(best["ranks"]) == {"dense", "bm25", "rerank"}
    start, end = best["span"]
    assert best["text"] == story("tea")[start:end]


def test_hits_are_shown_to_people_with_file_and_page_and_their_ranks_when_asked(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt")

    plain = footnote("search", "tea").out
    explained = footnote("search", "tea", "--explain").out

    assert plain.startswith("1. tea.txt, page 1\n")
    assert "dense" not in plain
    assert explained.startswith("1. tea.txt, page 1  dense ")
    assert "bm25 " in explained


def test_finding_nothing_is_done(footnote: CommandLine) -> None:
    done = footnote("search", "anything")

    assert (done.code, done.out) == (0, "Nothing found that you may read.\n")
    assert footnote.json("search", "anything")["hits"] == []


@pytest.mark.parametrize("limit", ["0", "-1", "101", "many"])
def test_a_limit_that_is_none_is_wrong_usage(footnote: CommandLine, limit: str) -> None:
    done = footnote("search", "tea", "--limit", limit, "--json")

    assert done.code == 2
    assert done.json["error"]["code"] == "usage"


def test_an_empty_or_endless_query_is_refused_with_a_problem(footnote: CommandLine) -> None:
    for query in ("", " ", "x" * 100_000):
        done = footnote("search", query, "--json")
        assert done.code == 1
        assert {"title", "status", "code", "detail"} <= set(done.json["error"])


def test_reading_as_somebody_shows_what_they_may_read(footnote: CommandLine) -> None:
    footnote.take_in(story("tea"), "tea.txt", allow=["group:staff"])
    footnote.take_in(story("black tea"), "black.txt", allow=["user:nora", "group:pirates"])

    def names(*arguments: str) -> set[str]:
        return {hit["name"] for hit in footnote.json(*arguments)["hits"]}

    assert names("search", "tea", "--as", "user:rita") == {"tea.txt"}
    assert names("--as", "user:nora", "search", "tea") == {"black.txt"}
    assert names("search", "tea", "--as", "user:nora,group:staff") == {"tea.txt", "black.txt"}
    assert names("search", "tea", "--as", "group:pirates") == {"black.txt"}  # Unknown to the directory, yet named.
    assert names("search", "tea", "--as", "user:nobody") == set()
    footnote("user", "suspend", "rita")
    assert names("search", "tea", "--as", "user:rita") == set()


def test_reading_as_somebody_needs_the_right_to(footnote: CommandLine) -> None:
    done = footnote("search", "tea", "--as", "user:rita", "--json", user="ada")

    assert done.code == 1
    assert done.json["error"]["code"] == "forbidden"


def test_an_answer_is_printed_as_designed(footnote: CommandLine) -> None:
    document = footnote.take_in(HOLIDAY, "handbook.txt")

    answer = footnote.json("ask", "How much holiday does every employee have?")

    assert set(answer) >= {"answer", "citations", "abstained", "model", "release", "usage", "timings_ms"}
    assert answer["abstained"] is False
    (citation,) = answer["citations"]
    assert set(citation) >= CITATION
    assert (citation["document"], citation["name"], citation["page"]) == (document, "handbook.txt", 1)
    start, end = citation["span"]
    assert citation["quote"] == HOLIDAY[start:end]


def test_an_answer_is_streamed_to_people_with_its_footnotes_below(footnote: CommandLine) -> None:
    footnote.take_in(HOLIDAY, "handbook.txt")

    done = footnote("ask", "How much holiday does every employee have?")

    assert (done.code, done.err) == (0, "")
    answer, _, notes = done.out.partition("\n")
    assert answer.startswith("Thirty days of holiday")
    assert "[1]" in answer
    assert "[1] handbook.txt, page 1" in notes
    assert "“" in notes


def test_not_knowing_is_done(footnote: CommandLine) -> None:
    assert footnote.json("ask", "Who won the match?")["abstained"] is True
    assert footnote("ask", "Who won the match?").code == 0


def test_a_text_with_any_kind_of_line_separator_is_streamed_whole(footnote: CommandLine) -> None:
    footnote.take_in(HOLIDAY, "handbook.txt")
    _script(footnote, Delta(text="Thirty days\u2028of holiday\u0085for all\u2029of them [1]."))

    done = footnote("ask", "How much holiday does every employee have?")

    assert done.code == 0
    assert "for all" in done.out


def test_a_model_that_fails_ends_the_command_with_1_and_a_sentence(footnote: CommandLine) -> None:
    footnote.take_in(HOLIDAY, "handbook.txt")
    _script(footnote, Delta(text="Thirty days "), ModelUnavailable("The model has gone to lunch."))

    told = footnote("ask", "How much holiday does every employee have?")
    assert told.code == 1
    assert told.err.startswith("footnote: ")
    assert "lunch" in told.err

    done = footnote("ask", "How much holiday does every employee have?", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "model_unavailable"


def _script(footnote: CommandLine, *steps: Delta | ModelUnavailable) -> None:
    footnote.branch.answering._models["scripted"] = ScriptedModel(steps)


def test_a_model_that_does_not_exist_is_a_problem(footnote: CommandLine) -> None:
    done = footnote("ask", "Anything?", "--model", "none", "--json")

    assert done.code == 1
    assert done.json["error"]["detail"]
    assert footnote("ask", "Anything?", "--model", "none").code == 1


def test_a_conversation_goes_on_and_is_nobody_elses(footnote: CommandLine) -> None:
    footnote.take_in(HOLIDAY, "handbook.txt", allow=["*"])
    first = footnote.json("ask", "How much holiday does every employee have?")

    second = footnote.json("ask", "And when do unused days lapse?", "--conversation", first["conversation"])
    assert second["conversation"] == first["conversation"]

    done = footnote("ask", "And?", "--conversation", first["conversation"], "--json", user="nora")
    assert done.code == 1
    assert done.json["error"]["code"] == "not_found"
