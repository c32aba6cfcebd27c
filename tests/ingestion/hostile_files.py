"""Files that are made to harm whoever reads them, small on disk: each with the reasons that may be told for it."""

import base64
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from core.domain import Reason

_MEGABYTE = 1 << 20
_CONTENT_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_MAIN = {
    "docx": ("word/document.xml", "wordprocessingml.document.main"),
    "xlsx": ("xl/workbook.xml", "spreadsheetml.sheet.main"),
}

ENDED = frozenset({Reason.PARSER_TIMEOUT, Reason.PARSER_OOM, Reason.PARSER_CRASHED, Reason.OUTPUT_TOO_LARGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileFile:
    """A file by its name, made when asked for, and the reasons that are right for it; none: it is read, harmlessly."""

    name: str
    make: Callable[[], bytes]
    reasons: frozenset[Reason]


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def office(kind: str, members: Mapping[str, bytes | str]) -> bytes:
    """Return an Office container of these parts, with the two that every one has."""
    part, content_type = _MAIN[kind]
    types = (
        f'<Types xmlns="{_CONTENT_TYPES}"><Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/{part}" '
        f'ContentType="application/vnd.openxmlformats-officedocument.{content_type}+xml"/></Types>'
    )
    relations = (
        f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="{part}"/>'
        "</Relationships>"
    )
    return zipped({"[Content_Types].xml": types, "_rels/.rels": relations, **members})


def paragraphs(text: str) -> str:
    """Return the main part of a Word document of one paragraph."""
    return f'<w:document xmlns:w="{_WORD}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>'


def laughs(root: str, *, depth: int = 10) -> str:
    """Return a document type whose entity `lol` unfolds to 10 to the power of `depth` words."""
    entities = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, depth + 1))
    return f'<?xml version="1.0"?><!DOCTYPE {root} [<!ENTITY l0 "lol">{entities}<!ENTITY lol "&l{depth};">]>'


def _zip_bomb() -> bytes:
    return zipped({f"{number}.txt": bytes(60 * _MEGABYTE) for number in range(3)})


def _office_bomb() -> bytes:
    return office("docx", {"word/document.xml": bytes(450 * _MEGABYTE)})


def _lying_bomb() -> bytes:
    """A member of 60 MB whose headers claim a hundred bytes."""
    honest = office("docx", {"word/document.xml": bytes(60 * _MEGABYTE)})
    return honest.replace((60 * _MEGABYTE).to_bytes(4, "little"), (100).to_bytes(4, "little"))


def _overlapping_bomb() -> bytes:
    """Fifty members that share one member's bytes: unpacked, together, 1 GB."""
    with zipfile.ZipFile(io.BytesIO(office("docx", {"word/document.xml": bytes(20 * _MEGABYTE)}))) as archive:
        kernel = archive.getinfo("word/document.xml")
        source = archive.fp
        assert source is not None
        source.seek(0)
        data = source.read()
    written = io.BytesIO(data)
    with zipfile.ZipFile(written, "a") as archive:
        for number in range(50):
            copied = zipfile.ZipInfo(f"word/media/{number}.xml")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(copied, field, getattr(kernel, field))
            archive.filelist.append(copied)
        archive._didModify = True  # type: ignore[attr-defined]  # a list of contents that no honest writer makes
    return written.getvalue()


def _gzip_bomb() -> bytes:
    return gzip.compress(bytes(150 * _MEGABYTE))


def _nested_zip() -> bytes:
    inner = zipped({"0.txt": bytes(100 * _MEGABYTE)})
    for _ in range(6):
        inner = zipped({f"{number}.zip": inner for number in range(8)})
    return inner


def _docx_in_docx() -> bytes:
    return office(
        "docx",
        {
            "word/document.xml": bytes(30 * _MEGABYTE),
            "word/embeddings/1.docx": _lying_bomb(),
            "word/embeddings/2.docx": _overlapping_bomb(),
        },
    )


def _workbook(sheet: bytes | str, **more: bytes | str) -> bytes:
    relations = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(
            [("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml")], 1
        )
    )
    book = (
        f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets><sheet name="a" sheetId="1" r:id="rId1"/></sheets>'
        "</workbook>"
    )
    strings = more.get("strings", f'<sst xmlns="{_SHEET}"><si><t>shared</t></si></sst>')
    return office(
        "xlsx",
        {
            "xl/workbook.xml": book,
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}">{relations}</Relationships>',
            "xl/worksheets/sheet1.xml": sheet,
            "xl/sharedStrings.xml": strings,
        },
    )


def _sheet(rows: str) -> str:
    return f'<worksheet xmlns="{_SHEET}"><sheetData>{rows}</sheetData></worksheet>'


def _sheet_of_rows() -> bytes:
    """Within what an honest workbook may unpack to, and far beyond what its cells may hold."""
    cell = '<c t="inlineStr"><is><t>quite an ordinary cell of an ordinary sheet</t></is></c>'
    return _workbook(_sheet(f"<row>{cell * 20}</row>" * 30_000))


def _laughing_workbook() -> bytes:
    strings = laughs("sst") + f'<sst xmlns="{_SHEET}"><si><t>&lol;</t></si></sst>'
    return _workbook(_sheet('<row r="1"><c r="A1" t="s"><v>0</v></c></row>'), strings=strings)


def _laughing_docx() -> bytes:
    return office("docx", {"word/document.xml": laughs("w:document") + paragraphs("&lol;")})


def _quadratic_docx() -> bytes:
    entity = f'<?xml version="1.0"?><!DOCTYPE w:document [<!ENTITY a "{"a" * 100_000}">]>'
    return office("docx", {"word/document.xml": entity + paragraphs("&a;" * 20_000)})


def _external_docx() -> bytes:
    entity = '<?xml version="1.0"?><!DOCTYPE w:document [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    return office("docx", {"word/document.xml": entity + paragraphs("&a;")})


def _laughing_markup(root: str) -> bytes:
    return (laughs(root) + f"<{root}><p>&lol;</p></{root}>").encode()


def _pdf(*objects: bytes) -> bytes:
    body = b"".join(b"%d 0 obj%b endobj\n" % numbered for numbered in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R>>\n%%EOF\n"


def _page(contents: bytes) -> tuple[bytes, ...]:
    return (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        contents,
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )


def _cyclic_pdf() -> bytes:
    return _pdf(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 3 0 R]/Count 99999>>", b"<</Kids[2 0 R]>>")


def _long_stream_pdf() -> bytes:
    return _pdf(*_page(b"<</Length 10737418240>>stream\nnothing of the kind\nendstream"))


def _flate_pdf() -> bytes:
    """A page whose content, deflated twice, unfolds to 700 MB of spaces."""
    packer = zlib.compressobj(9)
    once = b"".join(packer.compress(b" " * _MEGABYTE) for _ in range(700)) + packer.flush()
    twice = zlib.compress(once, 9)
    head = b"<</Filter[/FlateDecode/FlateDecode]/Length %d>>stream\n" % len(twice)
    return _pdf(*_page(head + twice + b"\nendstream"))


def _wordy_pdf() -> bytes:
    """A page with ten million words on it."""
    content = zlib.compress(b"BT /F1 1 Tf\n" + b"(word ) Tj\n" * 10_000_000 + b"ET", 9)
    return _pdf(*_page(b"<</Filter/FlateDecode/Length %d>>stream\n" % len(content) + content + b"\nendstream"))


def _deep_html() -> bytes:
    return b"<html><body>" + b"<div>" * 150_000 + b"deep"


def _deep_mail() -> bytes:
    part = "Content-Type: multipart/mixed; boundary=b{0}\n\n--b{0}\n"
    return ("From: a@b.c\nSubject: deep\n" + "".join(part.format(number) for number in range(5_000))).encode()


def _encoded_mail() -> bytes:
    body = base64.encodebytes(_zip_bomb()).decode()
    return (
        "From: a@b.c\nTo: d@e.f\nDate: now\nContent-Type: application/zip\nContent-Transfer-Encoding: base64\n\n" + body
    ).encode()


def _linked_zip() -> bytes:
    """Symbolic links and names that lead out of wherever this is unpacked."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        link = zipfile.ZipInfo("word")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
        for name in ("../../outside", "/absolute", "word/../../up", "nul\0byte", "n" * 60_000, "C:\\drive"):
            archive.writestr(name, "planted")
    return written.getvalue()


def _linked_docx() -> bytes:
    """The main part, by its relationship, is a file of the machine; a member of that name is a symbolic link."""
    relations = (
        f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" Type="{_OFFICE}/officeDocument" '
        'Target="../../../../../../etc/passwd"/></Relationships>'
    )
    written = io.BytesIO(office("docx", {"word/document.xml": "/etc/passwd", "../../../etc/passwd": "planted"}))
    with zipfile.ZipFile(written, "a") as archive:
        link = zipfile.ZipInfo("etc/passwd")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("word/_rels/document.xml.rels", relations)
    return written.getvalue()


def _file(name: str, make: Callable[[], bytes], *reasons: Reason, ended: bool = False) -> HostileFile:
    return HostileFile(name=name, make=make, reasons=frozenset(reasons) | (ENDED if ended else frozenset()))


FILES: Mapping[str, HostileFile] = MappingProxyType(
    {
        "zip bomb": _file("bomb.zip", _zip_bomb, Reason.UNSUPPORTED, Reason.TOO_LARGE),
        "office bomb": _file("bomb.docx", _office_bomb, Reason.TOO_LARGE),
        "bomb that lies": _file("lying.docx", _lying_bomb, Reason.TOO_LARGE, Reason.CORRUPT),
        "overlapping bomb": _file("overlapping.docx", _overlapping_bomb, Reason.TOO_LARGE, Reason.CORRUPT),
        "gzip bomb": _file("bomb.txt.gz", _gzip_bomb, Reason.UNSUPPORTED),
        "gzip bomb named text": _file("bomb.txt", _gzip_bomb, Reason.UNSUPPORTED),
        "zips in zips": _file("nested.zip", _nested_zip, Reason.UNSUPPORTED, Reason.TOO_LARGE),
        "bombs in a document": _file("nested.docx", _docx_in_docx, Reason.TOO_LARGE),
        "sheet of rows": _file("rows.xlsx", _sheet_of_rows, Reason.TOO_LARGE, ended=True),
        "laughs in a document": _file("laughs.docx", _laughing_docx, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "laughs in a workbook": _file("laughs.xlsx", _laughing_workbook, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "quadratic entities": _file("quadratic.docx", _quadratic_docx, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "external entity": _file("external.docx", _external_docx, Reason.CORRUPT, Reason.NO_TEXT),
        "laughs in xml": _file("laughs.xml", partial(_laughing_markup, "doc"), Reason.UNSUPPORTED),
        "laughs in svg": _file("laughs.svg", partial(_laughing_markup, "svg"), Reason.UNSUPPORTED),
        "laughs in html": _file("laughs.html", partial(_laughing_markup, "html")),
        "cycle of pages": _file("cycle.pdf", _cyclic_pdf, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "10 GB stream": _file("stream.pdf", _long_stream_pdf, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "stream that unfolds": _file("flate.pdf", _flate_pdf, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "ten million words": _file("words.pdf", _wordy_pdf, Reason.NO_TEXT, ended=True),
        "deep html": _file("deep.html", _deep_html, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "deep mail": _file("deep.eml", _deep_mail, Reason.CORRUPT, Reason.NO_TEXT, ended=True),
        "bomb in a mail": _file("bomb.eml", _encoded_mail, Reason.NO_TEXT),
        "links in a zip": _file("links.zip", _linked_zip, Reason.UNSUPPORTED, Reason.CORRUPT, Reason.TOO_LARGE),
        "links in a document": _file("links.docx", _linked_docx, Reason.CORRUPT, Reason.NO_TEXT, Reason.PARSER_CRASHED),
    }
)
