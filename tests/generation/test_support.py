from generation.support import PassageText, best_support, is_claim, verifies
from tests.generation.samples import HOLIDAY, PARKING


def quote(claim: str, text: str) -> str:
    found = best_support(claim, PassageText(text))
    assert found is not None
    return text[found.span.start : found.span.end]


def verified(claim: str, text: str) -> bool:
    found = best_support(claim, PassageText(text))
    return found is not None and found.verified


def test_words_taken_over_are_found_whatever_the_line_breaks() -> None:
    assert quote("Employees register the car at the front desk.", PARKING) == (
        "Employees register\nthe car at the front desk."
    )
    assert verified("Employees register the car at the front desk", PARKING)


def test_a_paraphrase_quotes_the_sentence_it_is_from() -> None:
    assert quote("You have 28 holiday days each year", HOLIDAY) == "Employees have 28 days of holiday a year."
    assert verified("You have 28 holiday days each year", HOLIDAY)


def test_a_wrong_number_is_not_verified() -> None:
    assert not verified("You have 30 days of holiday a year", HOLIDAY)


def test_a_turned_negation_is_not_verified() -> None:
    assert not verified("Parking does not cost 40 euros a month", PARKING)


def test_something_else_is_not_verified() -> None:
    assert not verified("The canteen opens at noon on weekdays", PARKING)


def test_an_invented_quotation_is_not_verified() -> None:
    assert not verified('Unused days of holiday "never ever expire" on 31 March', HOLIDAY)
    assert verified('The handbook says that unused days "expire on 31 March" and are not paid', HOLIDAY)


def test_two_quotes_can_verify_together_what_neither_does() -> None:
    claim = "Parking costs 40 euros a month and employees have 28 days of holiday a year"
    parts = [quote(claim, PARKING), quote(claim, HOLIDAY)]
    assert not any(verifies(claim, [part]) for part in parts)
    assert verifies(claim, parts)


def test_questions_headings_and_lead_ins_claim_nothing() -> None:
    assert not any(map(is_claim, ["Do you have a car to park?", "These are the rules of parking:", "Parking rules"]))
    assert is_claim("Parking costs 40 euros.")


def test_a_passage_without_words_supports_nothing() -> None:
    assert best_support("Anything at all here", PassageText(" \n ")) is None
