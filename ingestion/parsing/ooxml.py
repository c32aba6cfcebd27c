"""Office Open XML containers: variants that the usual libraries refuse, and parts by relationship."""

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator

from lxml import etree  # type: ignore[import-untyped]  # it ships no types

_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_TYPES = "[Content_Types].xml"
_VARIANT = re.compile(
    rb"application/vnd\.(?:ms-(word|powerpoint|excel)\.[A-Za-z]+\.macroEnabled(?:Template)?\.main\+xml"
    rb"|openxmlformats-officedocument\.(wordprocessing|presentation|spreadsheet)ml\.(?:template|slideshow)\.main\+xml)"
)
_PLAIN = {
    b"word": b"wordprocessingml.document",
    b"wordprocessing": b"wordprocessingml.document",
    b"powerpoint": b"presentationml.presentation",
    b"presentation": b"presentationml.presentation",
    b"excel": b"spreadsheetml.sheet",
    b"spreadsheet": b"spreadsheetml.sheet",
}
_MARK = b"http://purl.oclc.org/ooxml/"


def ordinary(data: bytes) -> bytes:
    """Return the container as an ordinary document: namespaces transitional, not strict, no macro or template type.

    Content is not touched; what is ordinary already comes back as it is.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        strict = "_rels/.rels" in names and _MARK in archive.read("_rels/.rels")
        types = archive.read(_TYPES) if _TYPES in names else b""
        if not strict and not _VARIANT.search(types):
            return data
        output = io.BytesIO()
        with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as copied:
            for member in archive.infolist():
                content = archive.read(member)
                if member.filename == _TYPES:
                    content = _VARIANT.sub(_plain_type, content)
                if member.filename.endswith((".xml", ".rels")):
                    content = _STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", content)
                copied.writestr(member.filename, content)
    return output.getvalue()


def _plain_type(found: re.Match[bytes]) -> bytes:
    kind = _PLAIN[found[1] or found[2]]
    return b"application/vnd.openxmlformats-officedocument.%b.main+xml" % kind


def related(archive: zipfile.ZipFile, part: str, kind: str) -> Iterator[str]:
    """Yield the names of the parts that `part` refers to by a relationship whose type ends in `kind`."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.namelist():
        return
    root = etree.fromstring(archive.read(relations), etree.XMLParser(resolve_entities=False, no_network=True))
    for relation in root:
        if relation.get("Type", "").endswith(kind) and relation.get("TargetMode") != "External":
            target = relation.get("Target", "")
            yield target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
