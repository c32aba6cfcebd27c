import io
import zipfile

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from core.domain import ElementKind, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.media_types import MediaType
from ingestion.parsing.office import parse_docx
from ingestion.sniffing import sniff

MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
BOX = (
    "<w:p {w}><w:r><w:pict><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></w:pict></w:r>"
    "</w:p>"
)
FORMULA = (
    "<w:p {w} {m}><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
    "</m:oMath></w:p>"
)


def _saved(document: docx.document.Document) -> bytes:
    document.save(buffer := io.BytesIO())
    return buffer.getvalue()


def test_headings_paragraphs_lists_and_tables_keep_their_kind() -> None:
    document = docx.Document()
    document.core_properties.title = "Travel policy"
    document.add_heading("Costs", 1)
    document.add_paragraph("We pay for what was agreed before the journey began.")
    document.add_paragraph("Trains", style="List Bullet")
    table = document.add_table(2, 2)
    for index, text in enumerate(("City", "Limit", "Oslo", "120")):
        table.cell(index // 2, index % 2).text = text
    parsed = parse_docx(_saved(document))
    assert parsed.title == "Travel policy"
    assert parsed.text.endswith("City | Limit\nOslo | 120")
    assert [element.kind for element in parsed.elements] == [
        ElementKind.HEADING,
        ElementKind.PARAGRAPH,
        ElementKind.LIST_ITEM,
        ElementKind.TABLE,
    ]
    assert parsed.elements[-1].headings == ("Costs",)
    assert faults(parsed) == []


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("<w:sdt {w}><w:sdtContent><w:p><w:r><w:t>controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>", "controlled"),
        ("<w:p {w}><w:ins><w:r><w:t>inserted later</w:t></w:r></w:ins></w:p>", "inserted later"),
        (
            BOX,
            "in a box",
        ),
        (
            FORMULA,
            "(a+b)/2",
        ),
    ],
)
def test_text_in_unusual_places_is_kept(inner: str, expected: str) -> None:
    document = docx.Document()
    document.add_paragraph("before")
    document.element.body.insert(1, parse_xml(inner.format(w=nsdecls("w"), m=MATH)))
    assert expected in parse_docx(_saved(document)).text


def test_the_strict_variant_is_read() -> None:
    document = docx.Document()
    document.add_paragraph("Strictly speaking.")
    source = zipfile.ZipFile(io.BytesIO(_saved(document)))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as strict:
        for name in source.namelist():
            content = source.read(name)
            for part in (b"wordprocessingml", b"officeDocument", b"drawingml"):
                content = content.replace(
                    b"http://schemas.openxmlformats.org/" + part + b"/2006/",
                    b"http://purl.oclc.org/ooxml/" + part + b"/",
                )
            strict.writestr(name, content)
    assert parse_docx(buffer.getvalue()).text == "Strictly speaking."


@pytest.mark.parametrize(
    "variant",
    [
        b"application/vnd.ms-word.document.macroEnabled.main+xml",
        b"application/vnd.ms-word.template.macroEnabledTemplate.main+xml",
        b"application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
    ],
)
def test_macro_and_template_variants_are_read(variant: bytes) -> None:
    document = docx.Document()
    document.add_paragraph("With macros, which nobody runs.")
    source = zipfile.ZipFile(io.BytesIO(_saved(document)))
    plain = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as changed:
        for name in source.namelist():
            changed.writestr(name, source.read(name).replace(plain, variant))
    assert sniff(buffer.getvalue(), "x.docm") is MediaType.DOCX
    assert parse_docx(buffer.getvalue()).text == "With macros, which nobody runs."


def test_entities_are_never_resolved() -> None:
    source = zipfile.ZipFile(io.BytesIO(_saved(docx.Document())))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as hostile:
        for name in source.namelist():
            content = source.read(name)
            if name == "word/document.xml":
                content = content.replace(
                    b"<w:document", b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><w:document', 1
                ).replace(b"<w:body>", b"<w:body><w:p><w:r><w:t>start &x; end</w:t></w:r></w:p>")
            hostile.writestr(name, content)
    text = parse_docx(buffer.getvalue()).text
    assert "root:" not in text
    assert "start" in text


def test_an_empty_document_has_no_text() -> None:
    with pytest.raises(ParseFailed) as caught:
        parse_docx(_saved(docx.Document()))
    assert caught.value.reason is Reason.NO_TEXT
