import pytest

from generation.followup import standalone_question

BEFORE = ["What does parking for employees cost?"]


@pytest.mark.parametrize(
    "question",
    ["And for visitors?", "How much is it?", "What about bicycles?", "Why?", "Where do they sleep at night?"],
)
def test_a_question_that_points_back_gets_the_topic_before_it(question: str) -> None:
    rewritten = standalone_question(question, BEFORE)
    assert rewritten.endswith(question)
    assert rewritten.startswith("parking employees cost")


@pytest.mark.parametrize(
    "question",
    ["How many days of holiday does an employee have?", "What is balance billing and how am I protected against it?"],
)
def test_a_question_that_stands_alone_stays_as_it_is(question: str) -> None:
    assert standalone_question(question, BEFORE) == question


def test_the_first_question_stays_as_it_is() -> None:
    assert standalone_question("Why?", []) == "Why?"


def test_words_that_the_question_has_are_not_repeated() -> None:
    assert standalone_question("And parking costs?", BEFORE) == "employees And parking costs?"
