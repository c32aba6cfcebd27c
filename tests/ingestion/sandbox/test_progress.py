"""How far a document has come, told by the child that parses it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox import ParserLimits, ParserSandbox
from ingestion.sandbox.messages import FAILURE, PROGRESS, RESULT, progress_to_bytes, take_progress
from tests.ingestion.parsing.pdf_files import page_of, pdf


@pytest.mark.slow
def test_a_pdf_tells_how_far_it_has_come_and_comes_through_whole(tmp_path: Path) -> None:
    sandbox = ParserSandbox(ParserLimits())
    path = tmp_path / "stored"
    path.write_bytes(pdf(*(page_of(*(f"Page {page} line {line}" for line in range(40))) for page in range(2_000))))
    told: list[float] = []
    try:
        document = sandbox.parse(path, "a.pdf", told.append).document
        assert len(document.pages) == 2_000
        assert document.text.endswith("Page 1999 line 39")
        assert len(told) > 1
        assert told == sorted(told)
        assert 0 <= told[0] < told[-1] <= 1
        path.write_text("A text of which nobody can tell.")
        told.clear()
        assert sandbox.parse(path, "a.txt", told.append).document.text == "A text of which nobody can tell."
        assert told == []
        path.write_bytes(pdf(page_of()))
        with pytest.raises(ParseFailed):  # What failed is understood after news of progress, too.
            sandbox.parse(path, "a.pdf", told.append)
    finally:
        sandbox.close()


@given(st.lists(st.floats(0, 1), max_size=5), st.sampled_from([RESULT, FAILURE]), st.binary(max_size=20))
def test_what_is_told_is_taken_off_and_the_result_is_left_whole(
    fractions: list[float], kind: bytes, rest: bytes
) -> None:
    stream = b"".join(map(progress_to_bytes, fractions)) + kind + rest
    for cut in range(len(stream)):  # wherever the pipe cuts it in two
        first, head = take_progress(stream[:cut])
        last, left = take_progress(head + stream[cut:]) if head[:1] in {b"", PROGRESS} else (None, head + stream[cut:])
        assert left == kind + rest
        assert [one for one in (first, last) if one is not None] or not fractions
        if fractions:
            assert (first if last is None else last) == pytest.approx(fractions[-1], abs=0.0006)


@given(st.binary())
def test_whatever_a_child_writes_is_a_fraction_or_nothing(data: bytes) -> None:
    fraction, left = take_progress(PROGRESS + data)
    assert fraction is None or 0 <= fraction <= 1
    assert (PROGRESS + data).endswith(left)
