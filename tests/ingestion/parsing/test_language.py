import pytest

from ingestion.parsing.language import detect_language

SENTENCES = {
    "en": "The costs of the journey are repaid as soon as the manager has agreed to them in writing.",
    "de": "Die Kosten der Reise werden erstattet, sobald die Vorgesetzte ihnen schriftlich zugestimmt hat.",
    "fr": "Les frais du voyage sont remboursés dès que le responsable les a approuvés par écrit.",
    "es": "Los gastos del viaje se reembolsan en cuanto el responsable los haya aprobado por escrito.",
    "el": "Τα έξοδα του ταξιδιού επιστρέφονται μόλις ο υπεύθυνος τα εγκρίνει γραπτώς.",  # noqa: RUF001 - Greek
    "ru": "Расходы на поездку возмещаются, как только руководитель согласует их в письменной форме.",
}


@pytest.mark.parametrize(("language", "sentence"), SENTENCES.items())
def test_one_sentence_is_enough_and_the_answer_repeats(language: str, sentence: str) -> None:
    assert [detect_language(sentence) for _ in range(3)] == [language] * 3


@pytest.mark.parametrize("sample", ["", "short", "12345 67890 " * 50])
def test_too_few_letters_are_no_language(sample: str) -> None:
    assert detect_language(sample) is None
