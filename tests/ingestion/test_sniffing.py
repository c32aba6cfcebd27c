import contextlib
import gzip
import io
import zipfile

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Reason
from ingestion import archives
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.media_types import MediaType
from ingestion.sniffing import sniff

MAIL = b"Received: by x\nMessage-ID: <1@x>\nFrom: a@x\nTo: b@x\nSubject: hi\n\nbody\n"


def _docx() -> bytes:
    docx.Document().save(buffer := io.BytesIO())
    return buffer.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _reason(data: bytes, name: str = "file") -> tuple[Reason, str]:
    with pytest.raises(ParseFailed) as caught:
        sniff(data, name)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"%PDF-1.7 ...", "letter.docx", MediaType.PDF),
        (b"junk before\n%PDF-1.4 ...", "x", MediaType.PDF),
        (b"<!DOCTYPE html><p>x", "page.txt", MediaType.HTML),
        (b"\xef\xbb\xbf  <HTML><p>x", "page", MediaType.HTML),
        ("<html><p>x</p></html>".encode("utf-16"), "page.html", MediaType.HTML),
        (b"<p>a fragment</p>", "page.html", MediaType.HTML),
        (b"<div>a fragment</div>", "page", MediaType.HTML),
        (b"<div>html in markdown</div>\n\n# x", "readme.md", MediaType.MARKDOWN),
        (b"<?xml version='1.0'?><note/>", "notes.txt", MediaType.TEXT),
        (MAIL, "message.txt", MediaType.EMAIL),
        (b"To: a@b.example\n\nhi", "message.eml", MediaType.EMAIL),
        (b"Note: this is text\nTo: do\n\nbuy milk", "todo.txt", MediaType.TEXT),
        (b"a,b\n1,2\n", "table.csv", MediaType.CSV),
        (b"a\tb\n1\t2\n", "table.tsv", MediaType.CSV),
        (b"a,b\n1,2\n", "table.txt", MediaType.TEXT),
        (b'{"not": finished', "data.txt", MediaType.TEXT),
        (b"print('hello')\n", "script.py", MediaType.TEXT),
        (b"just words", "README", MediaType.TEXT),
    ],
)
def test_content_decides_and_the_name_breaks_ties(data: bytes, name: str, expected: MediaType) -> None:
    assert sniff(data, name) is expected


def test_office_documents_are_known_by_their_parts_whatever_their_name() -> None:
    assert sniff(_docx(), "x.doc") is MediaType.DOCX
    assert sniff(_docx(), "x.zip") is MediaType.DOCX


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"{\\rtf1 x}", "x.rtf", "rtf"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "x.txt", "png"),
        (b"\xff\xd8\xff\xe0" + bytes(range(256)), "x.jpg", "jpg"),
        (gzip.compress(b"x" * 1000, mtime=0), "x.txt", "gz"),
        (b"\x7fELF" + bytes(range(256)) * 4, "x", ""),
        (b"%!PS-Adobe\n", "x.ps", "PostScript"),
        (b"\\section{x}", "x.tex", "LaTeX"),
        (b"Title\n=====\n", "x.rst", "reStructuredText"),
        (b"WEBVTT\n\n00:00", "x", "WebVTT"),
        (b'{"a": [1]}', "x", "JSON"),
        (b'{"a": 1}\n{"a": 2}\n', "x.jsonl", "JSON"),
        (b"<?xml version='1.0'?><a/>", "x.xml", "XML"),
        (b"<?xml version='1.0'?><a/>", "x", "XML"),
        (_zip({"a.txt": b"x"}), "x.zip", "zip"),
        (_zip({"mimetype": b"application/vnd.oasis.opendocument.text"}), "x.odt", "OpenDocument text"),
        (_zip({"mimetype": b"application/epub+zip"}), "x.epub", "EPUB"),
        (_zip({"Index/Document.iwa": b"x"}), "x.pages", "iWork"),
        (_zip({"[Content_Types].xml": b"<Types/>"}), "x.docx", "Open Packaging"),
    ],
)
def test_everything_else_is_unsupported_and_says_what_it_is(data: bytes, name: str, kind: str) -> None:
    reason, detail = _reason(data, name)
    assert reason is Reason.UNSUPPORTED
    assert kind.lower() in detail.lower()


@pytest.mark.parametrize("data", [b"", b" \n\t ", b"\xef\xbb\xbf \n", " \n ".encode("utf-16"), b"\0\0\0"])
def test_nothing_is_empty(data: bytes) -> None:
    assert _reason(data, "x.txt")[0] is Reason.EMPTY


def test_damaged_containers_are_corrupt() -> None:
    whole = _docx()
    assert _reason(whole[: len(whole) // 2], "x.docx")[0] is Reason.CORRUPT
    at = whole.index(b"word/document.xml") + 80
    assert _reason(whole[:at] + b"\xff" * 60 + whole[at + 60 :], "x.docx")[0] is Reason.CORRUPT
    assert _reason(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2000, "x.doc")[0] is Reason.CORRUPT


def test_encrypted_members_are_encrypted() -> None:
    data = bytearray(_docx())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 8] |= 1  # The flag in the last member's entry of the central directory.
    assert _reason(bytes(data), "x.docx")[0] is Reason.ENCRYPTED


def test_a_bomb_is_too_large_though_it_says_otherwise() -> None:
    types = b'<Override ContentType="application/vnd...wordprocessingml.document.main+xml"/>'
    bomb = _zip({"[Content_Types].xml": types, "word/document.xml": b"\0" * 60_000_000})
    assert _reason(bomb, "x.docx")[0] is Reason.TOO_LARGE


def test_a_member_that_claims_to_be_enormous_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_BYTES", 100)
    assert _reason(_docx(), "x.docx")[0] is Reason.TOO_LARGE


@given(st.binary(max_size=400), st.sampled_from(["x", "x.txt", "x.eml", "x.html", "x.csv", "x.md"]))
def test_any_bytes_get_a_type_or_a_reason(data: bytes, name: str) -> None:
    with contextlib.suppress(ParseFailed):
        assert sniff(data, name) in MediaType
