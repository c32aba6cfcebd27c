"""Names of documents and sources. They identify; they never become paths of any file system."""

import unicodedata

from core.errors import InvalidName

MAX_NAME_BYTES = 1_024
MAX_SOURCE_BYTES = 4_096
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, lone surrogates, line and paragraph separators


def document_name(text: str) -> str:
    """Return the name in its one form: relative, `/` between the parts, NFC, at most 1,024 bytes of UTF-8.

    A backslash is an ordinary character of a name (Linux allows it in file names and nothing here reads it as a
    separator), except that a part which would be `.` or `..` to a system that does is refused like any other.
    Raises `InvalidName`.
    """
    name = _printable(text, "name", MAX_NAME_BYTES)
    if name.startswith("/"):
        raise InvalidName("A document name is relative: it must not begin with a slash.")
    if any(not part for part in name.split("/")):
        raise InvalidName("A document name must not have empty parts between its slashes.")
    if any(part in {".", ".."} for part in name.replace("\\", "/").split("/")):
        raise InvalidName("A document name must not have the parts `.` or `..`.")
    return name


def source_name(text: str) -> str:
    """Return the source's name in NFC: any printable text of at most 4,096 bytes. Raises `InvalidName`."""
    return _printable(text, "source", MAX_SOURCE_BYTES)


def folder_of(name: str) -> str:
    """Return the folder part of a document's name: `a/b/c.pdf` is in `a/b`, `c.pdf` in the root, which is ''."""
    return name.rpartition("/")[0]


def _printable(text: str, what: str, limit: int) -> str:
    if not text.strip():
        raise InvalidName(f"The {what} is empty.")
    if any(unicodedata.category(character) in _REFUSED for character in text[: limit + 1]):
        raise InvalidName(f"The {what} contains a control character, such as NUL or a line break.")
    if len(text) > limit or len(name := unicodedata.normalize("NFC", text).encode()) > limit:
        raise InvalidName(f"The {what} is longer than {limit:,} bytes.")
    return name.decode()
