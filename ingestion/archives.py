"""Zip containers: which kind of document they hold, and whether they are bombs.

What an archive declares about its sizes is not believed: members are unpacked and counted before any parser sees them.
"""

import io
import re
import zipfile
import zlib
from typing import Final, NoReturn

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.media_types import MediaType

_MOST_BYTES: Final = 400_000_000  # Unpacked, all members together: XML of that size fits no parser's memory.
_MOST_RATIO: Final = 300  # Honest office files stay below 100; deflate can reach 1032.
_SMALL_BYTES: Final = 20_000_000  # Below that a high ratio harms nobody.
_MOST_MEMBERS: Final = 20_000
_PIECE: Final = 1 << 20

_MAIN_PARTS: Final = (
    ("wordprocessingml.document.main", MediaType.DOCX),
    ("wordprocessingml.template.main", MediaType.DOCX),
    ("ms-word.document.macroEnabled.main", MediaType.DOCX),
    ("ms-word.template.macroEnabledTemplate.main", MediaType.DOCX),
    ("presentationml.presentation.main", MediaType.PPTX),
    ("presentationml.slideshow.main", MediaType.PPTX),
    ("presentationml.template.main", MediaType.PPTX),
    ("ms-powerpoint.presentation.macroEnabled.main", MediaType.PPTX),
    ("ms-powerpoint.slideshow.macroEnabled.main", MediaType.PPTX),
    ("spreadsheetml.sheet.main", MediaType.XLSX),
    ("spreadsheetml.template.main", MediaType.XLSX),
    ("ms-excel.sheet.macroEnabled.main", MediaType.XLSX),
    ("ms-excel.template.macroEnabled.main", MediaType.XLSX),
)
_OPEN_DOCUMENT: Final = re.compile(rb"application/(?:vnd\.oasis\.opendocument\.([a-z-]+)|(epub)\+zip)")


def open_archive(data: bytes) -> zipfile.ZipFile:
    """Open a zip; raise `ParseFailed` (`corrupt`) when it is none after all."""
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise ParseFailed(Reason.CORRUPT, f"the zip container is damaged: {error}") from error


def sniff_archive(archive: zipfile.ZipFile) -> MediaType:
    """Return the type of the Office document in the archive, its members unpacked and counted."""
    names = set(archive.namelist())
    if "[Content_Types].xml" in names:
        return _sniff_office(archive)
    if "mimetype" in names:
        match = _OPEN_DOCUMENT.match(_read(archive, "mimetype", 200))
        if match is not None:
            kind = "EPUB book" if match[2] else f"OpenDocument {match[1].decode()}"
            raise ParseFailed(Reason.UNSUPPORTED, kind)
    if any(name.startswith("Index/") or name.endswith((".iwa", "Index.zip")) for name in names) or names & {
        "index.xml",
        "index.xml.gz",
        "index.apxl",
        ".iwph",
    }:
        raise ParseFailed(Reason.UNSUPPORTED, "Apple iWork document (pages, numbers or key)")
    raise ParseFailed(Reason.UNSUPPORTED, "zip archive")


def _sniff_office(archive: zipfile.ZipFile) -> MediaType:
    if any(member.flag_bits & 0x1 for member in archive.infolist()):
        raise ParseFailed(Reason.ENCRYPTED, "an Office file in an encrypted zip container")
    types = _read(archive, "[Content_Types].xml", _SMALL_BYTES).decode("utf-8", errors="replace")
    found = next((media_type for part, media_type in _MAIN_PARTS if part in types), None)
    if found is None:
        kind = "Excel binary workbook (xlsb)" if "ms-excel.sheet.binary" in types else "Open Packaging container"
        raise ParseFailed(Reason.UNSUPPORTED, kind)
    _measure(archive)
    return found


def _measure(archive: zipfile.ZipFile) -> None:
    """Unpack every member, keeping nothing; raise `too_large` at the first byte too many, `corrupt` on damage."""
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise ParseFailed(Reason.TOO_LARGE, f"the container has {len(members)} members")
    packed = max(1, sum(member.compress_size for member in members))
    total = 0
    for member in members:
        if _declared_bomb(member):
            _bomb()
        try:
            with archive.open(member) as stream:
                while piece := stream.read(_PIECE):
                    total += len(piece)
                    if total > _MOST_BYTES or (total > _SMALL_BYTES and total > _MOST_RATIO * packed):
                        _bomb()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
            if _essential(member.filename):
                raise ParseFailed(Reason.CORRUPT, f"{member.filename} is damaged: {error}") from error


def _declared_bomb(member: zipfile.ZipInfo) -> bool:
    """A member that claims to be larger than the whole document may be: spare the work of proving it."""
    return member.file_size > _MOST_BYTES


def _essential(name: str) -> bool:
    """A broken picture spoils no text; a broken XML part does."""
    return name.endswith((".xml", ".rels"))


def _bomb() -> NoReturn:
    raise ParseFailed(Reason.TOO_LARGE, "the container unpacks to far more than a document holds (a zip bomb?)")


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        with archive.open(name) as stream:
            return stream.read(limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
        raise ParseFailed(Reason.CORRUPT, f"{name} is damaged: {error}") from error
