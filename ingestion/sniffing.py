"""What a file is, told by its content; the name only decides between kinds of text.

Every answer is either a media type that has a parser or `ParseFailed` with the reason: `empty`, `encrypted`, `corrupt`,
`too_large` (bombs) or `unsupported`, whose detail names the kind that was found.
"""

import io
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

import filetype  # type: ignore[import-untyped]  # it ships no types
import olefile  # type: ignore[import-untyped]  # it ships no types
import orjson

from core.domain import Reason
from ingestion.archives import open_archive, sniff_archive
from ingestion.parsing.encodings import decode, looks_like_text
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.media_types import MediaType

_PDF_WINDOW: Final = 1024  # PDF readers accept rubbish before the header up to here.
_HEAD: Final = 4096

_BY_EXTENSION: Mapping[str, MediaType] = MappingProxyType(
    {
        ".csv": MediaType.CSV,
        ".tsv": MediaType.CSV,
        ".tab": MediaType.CSV,
        ".htm": MediaType.HTML,
        ".html": MediaType.HTML,
        ".xhtml": MediaType.HTML,
        ".md": MediaType.MARKDOWN,
        ".markdown": MediaType.MARKDOWN,
        ".mdown": MediaType.MARKDOWN,
        ".txt": MediaType.TEXT,
        ".text": MediaType.TEXT,
        ".log": MediaType.TEXT,
        ".eml": MediaType.EMAIL,
    }
)
_UNSUPPORTED_TEXT: Mapping[str, str] = MappingProxyType(
    {
        ".tex": "LaTeX source",
        ".rst": "reStructuredText",
        ".org": "Org mode text",
        ".adoc": "AsciiDoc",
        ".asciidoc": "AsciiDoc",
        ".vtt": "WebVTT subtitles",
        ".srt": "SubRip subtitles",
        ".json": "JSON",
        ".jsonl": "JSON lines",
        ".ndjson": "JSON lines",
        ".xml": "XML",
        ".nxml": "XML",
        ".svg": "SVG image",
        ".mbox": "mailbox (mbox)",
    }
)
_HTML = re.compile(r"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]", re.IGNORECASE)
_HTML_FRAGMENT = re.compile(r"<(div|p|table|h[1-6]|ul|ol|section|article|span)[\s>]", re.IGNORECASE)
_HEADER = re.compile(r"^([A-Za-z][A-Za-z0-9-]{1,60}):[ \t]?(.*)$")
_MAIL_HEADERS = frozenset(
    [
        "from",
        "to",
        "cc",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "received",
        "return-path",
        "delivered-to",
        "reply-to",
        "content-type",
        "content-transfer-encoding",
        "sender",
        "in-reply-to",
        "references",
    ]
)
_MAIL_PROOF = frozenset({"message-id", "mime-version", "received", "return-path", "delivered-to"})
_OLE_STREAMS = (
    ("EncryptedPackage", ""),
    ("WordDocument", "Word 97-2003 document (doc)"),
    ("Workbook", "Excel 97-2003 workbook (xls)"),
    ("Book", "Excel 5.0 workbook (xls)"),
    ("PowerPoint Document", "PowerPoint 97-2003 presentation (ppt)"),
    ("__properties_version1.0", "Outlook message (msg)"),
)


def sniff(data: bytes, name: str) -> MediaType:
    """Return the type of these bytes; raise `ParseFailed` when there is no parser for them."""
    head = data[:_HEAD]
    if not data.strip(b" \t\r\n\x0b\x0c\x00"):
        raise ParseFailed(Reason.EMPTY, "the file holds no bytes" if not data else "the file holds only white space")
    if b"%PDF-" in data[:_PDF_WINDOW]:
        return MediaType.PDF
    if head.startswith(olefile.MAGIC):
        raise _ole_failure(data)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        with open_archive(data) as archive:
            return sniff_archive(archive)
    if head.lstrip().startswith(b"{\\rtf"):
        raise ParseFailed(Reason.UNSUPPORTED, "Rich Text Format (rtf)")
    return _sniff_rest(data, name)


def _sniff_rest(data: bytes, name: str) -> MediaType:
    text = decode(data)
    if text is None or not looks_like_text(text):
        raise ParseFailed(Reason.UNSUPPORTED, _binary_kind(data))
    if not text.strip("\ufeff \t\r\n\x0b\x0c\x00\u00a0"):
        raise ParseFailed(Reason.EMPTY, "the file holds only white space")
    return _sniff_text(text, PurePosixPath(name).suffix.lower())


def _binary_kind(data: bytes) -> str:
    kind = filetype.guess(data[: 1 << 13])
    return f"{kind.mime} ({kind.extension})" if kind is not None else "binary data of an unknown kind"


def _sniff_text(text: str, extension: str) -> MediaType:
    head = text[:_HEAD].lstrip("\ufeff \t\r\n")
    if head.startswith("%!PS"):
        raise ParseFailed(Reason.UNSUPPORTED, "PostScript")
    if _is_mail(head, claimed=extension == ".eml"):
        return MediaType.EMAIL
    claimed = _BY_EXTENSION.get(extension)
    if head.startswith("<") and claimed is not MediaType.MARKDOWN:
        found = _sniff_markup(head, claimed)
        if found is not None:
            return found
    if extension in _UNSUPPORTED_TEXT:
        raise ParseFailed(Reason.UNSUPPORTED, _UNSUPPORTED_TEXT[extension])
    if claimed is not None and claimed is not MediaType.EMAIL:
        return claimed
    return _sniff_unnamed(text, head)


def _sniff_markup(head: str, claimed: MediaType | None) -> MediaType | None:
    """Tell HTML from other markup. Plain text about markup (`.txt` without an HTML head) stays text."""
    if _HTML.search(head):
        return MediaType.HTML
    if claimed is not None:
        return None
    if head.startswith(("<?xml", "<!DOCTYPE")):
        raise ParseFailed(Reason.UNSUPPORTED, "XML")
    return MediaType.HTML if _HTML_FRAGMENT.match(head) else None


def _sniff_unnamed(text: str, head: str) -> MediaType:
    """Decide for names that say nothing."""
    if head.startswith("WEBVTT"):
        raise ParseFailed(Reason.UNSUPPORTED, "WebVTT subtitles")
    if head.startswith(("{", "[")):
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            raise ParseFailed(Reason.UNSUPPORTED, "JSON")
    return MediaType.TEXT


def _is_mail(head: str, *, claimed: bool) -> bool:
    """Tell whether the text begins with mail headers: several, one of which only mail has, or one in an `.eml`."""
    names: list[str] = []
    lines = head.split("\n")
    if lines and lines[0].startswith("From ") and claimed:
        lines = lines[1:]
    for line in (raw.rstrip("\r") for raw in lines):
        if not line.strip():
            break
        if line[0] in " \t" and names:
            continue
        match = _HEADER.match(line)
        if match is None:
            break
        names.append(match[1].lower())
    known = _MAIL_HEADERS.intersection(names)
    if claimed:
        return bool(known)
    return len(known) >= 3 and bool(known & _MAIL_PROOF or {"from", "to", "subject", "date"} <= known)  # noqa: PLR2004


def _ole_failure(data: bytes) -> ParseFailed:
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            streams = {entry[0] for entry in ole.listdir(streams=True, storages=True)}
    except Exception as error:  # noqa: BLE001 - olefile raises what the bytes make it raise
        return ParseFailed(Reason.CORRUPT, f"damaged Office 97-2003 or encrypted Office file ({type(error).__name__})")
    for stream, kind in _OLE_STREAMS:
        if stream in streams:
            if not kind:
                return ParseFailed(Reason.ENCRYPTED, "an Office file protected by a password")
            return ParseFailed(Reason.UNSUPPORTED, kind)
    return ParseFailed(Reason.UNSUPPORTED, "OLE compound file of an unknown kind")
