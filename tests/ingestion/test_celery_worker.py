import pytest

from core.jobs import QUEUES
from ingestion.celery_worker import checked_queues


def test_queues_are_those_there_are_each_once() -> None:
    assert checked_queues("parse, embed,parse") == ("parse", "embed")
    assert checked_queues(",".join(QUEUES)) == QUEUES


@pytest.mark.parametrize("names", ["", " , ", "parse,ocr"])
def test_a_queue_that_does_not_exist_is_told(names: str) -> None:
    with pytest.raises(ValueError, match="Queues are parse, embed, index, maintenance"):
        checked_queues(names)
