"""Every reason tells the uploader what to do."""

import pytest

from core.domain import Reason
from core.reasons import ADVICE, explain


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_that_says_what_to_do(reason: Reason) -> None:
    assert ADVICE[reason].endswith(".")
    assert any(verb in ADVICE[reason].lower() for verb in ("upload", "save", "retry", "split"))


def test_what_was_seen_of_the_file_follows_the_advice() -> None:
    assert explain(Reason.CORRUPT, "no page tree").endswith("upload that copy. (no page tree)")
    assert explain(Reason.CORRUPT) == ADVICE[Reason.CORRUPT]
