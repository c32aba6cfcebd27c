"""What a child says is not believed, and whatever it says can be kept."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import TEXT
from sqlalchemy.sql import cast

from core.db.session import Database
from core.domain import Reason
from ingestion.parsing.failures import ParseFailed
from ingestion.sandbox.messages import failure_from_bytes, failure_to_bytes

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_FAILURES = st.fixed_dictionaries(
    {"reason": st.sampled_from(Reason)},
    optional={"detail": _JSON | st.text().map(lambda text: text * 100), "page": _JSON, "excerpt": _JSON | st.text()},
)


def _can_be_stored(text: str | None) -> bool:
    """PostgreSQL takes every text that is UTF-8 and holds no NUL."""
    return text is None or ("\0" not in text and text.encode().decode() == text)


def _said(fields: object) -> bytes:
    return json.dumps(fields).encode()  # Escapes everything, NULs and half surrogate pairs too.


@given(_FAILURES)
def test_whatever_a_child_says_of_its_failure_can_be_stored(fields: dict[str, Any]) -> None:
    try:
        failure = failure_from_bytes(_said(fields))
    except ValueError:
        return  # As where the words are no Unicode: it is no failure, and has a reason of its own.
    assert failure.reason is fields["reason"]
    assert _can_be_stored(failure.detail)
    assert len(failure.detail) <= 500
    assert _can_be_stored(failure.excerpt)
    assert failure.page is None or 0 < failure.page <= 1_000_000


@given(st.binary() | _JSON.map(_said))
def test_what_is_no_failure_is_told_so(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever of its kinds
        failure_from_bytes(payload)


def test_a_detail_of_lists_in_lists_is_left_out() -> None:
    deep = b"[" * 1_000 + b"]" * 1_000
    assert failure_from_bytes(b'{"reason": "corrupt", "detail": ' + deep + b"}").detail == ""


@given(st.text(st.characters()))
def test_a_parser_s_own_detail_arrives_whatever_is_in_it(detail: str) -> None:
    failure = failure_from_bytes(failure_to_bytes(ParseFailed(Reason.CORRUPT, detail, page=3)))
    assert (failure.reason, failure.page) == (Reason.CORRUPT, 3)
    assert _can_be_stored(failure.detail)


def test_postgresql_takes_what_is_left_of_a_nul(postgres_database: Database) -> None:
    payload = orjson.dumps({"reason": "corrupt", "detail": "a\0b \ufffe\U0001f600" + "e\u0301" * 900, "excerpt": "\0"})
    failure = failure_from_bytes(payload)
    with postgres_database.reading() as session:
        kept = session.execute(select(cast(failure.detail, TEXT), cast(failure.excerpt, TEXT))).one()
    assert list(kept) == [failure.detail, failure.excerpt]
    assert failure.detail.startswith("ab ")
