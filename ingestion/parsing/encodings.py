"""Bytes of a text file -> text, whatever the encoding."""

import codecs
import re

from charset_normalizer import from_bytes

_MARKS = (  # UTF-32 first: its little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{3,40})""", re.IGNORECASE)
_SAMPLE = 1 << 16
_GUESSABLE = 64  # Fewer bytes fit too many encodings; the most common one is then the likeliest.
_NOT_LEGACY = ["utf_7", "utf_8", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"]
_TOLERATED = 0.001  # Share of broken bytes below which the text is UTF-8 with an accident rather than something else.


def decode(data: bytes) -> str | None:
    """Return the text, or None when the bytes are no text in any encoding tried.

    Tried in order: a byte order mark, UTF-8, UTF-16 and UTF-32 by where their zero bytes stand, the encoding that an
    HTML or XML head declares, the likeliest legacy encoding. Single broken bytes become U+FFFD.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    wide = _wide_encoding(data[:4096])
    if wide is not None:
        return data.decode(wide, errors="replace")
    if b"\x00" in data[:_SAMPLE] and data[:_SAMPLE].count(b"\x00") > 0.001 * len(data[:_SAMPLE]):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", errors="replace")
    if text.count("\ufffd") <= _TOLERATED * len(text):
        return text
    return _legacy(data)


def looks_like_text(text: str) -> bool:
    """Tell whether decoded characters are writing, not the bytes of some program."""
    sample = text[:_SAMPLE]
    odd = sum(
        1 for character in sample if (character < " " and character not in "\t\n\r\f\x1b") or character == "\ufffd"
    )
    return odd <= 0.05 * len(sample)


def _wide_encoding(head: bytes) -> str | None:
    """Recognise UTF-16 and UTF-32 without a mark: in most writing every second (or three of four) bytes are zero."""
    if len(head) < 8 or 0 not in head:  # noqa: PLR2004 - two characters of UTF-32
        return None
    quarters = [head[offset::4].count(0) / len(head[offset::4]) for offset in range(4)]
    if min(quarters[2:]) > 0.9 and quarters[0] < 0.3:  # noqa: PLR2004 - code points stay below 0x10000
        return "utf-32-le"
    if min(quarters[:2]) > 0.9 and quarters[3] < 0.3:  # noqa: PLR2004
        return "utf-32-be"
    even, odd = head[0::2].count(0) / len(head[0::2]), head[1::2].count(0) / len(head[1::2])
    if odd > 0.4 and even < 0.05:  # noqa: PLR2004 - mostly Latin, or at least its spaces and line ends
        return "utf-16-le"
    if even > 0.4 and odd < 0.05:  # noqa: PLR2004
        return "utf-16-be"
    return None


def _legacy(data: bytes) -> str | None:
    declared = _DECLARED.search(data[:4096])
    if declared is not None:
        try:
            text = data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass
        else:
            return text if looks_like_text(text) else None
    best = from_bytes(data[:_SAMPLE], cp_exclusion=_NOT_LEGACY).best() if len(data) >= _GUESSABLE else None
    encoding = best.encoding if best is not None else "cp1252"
    text = data.decode(encoding, errors="replace")
    return text if looks_like_text(text) else None
