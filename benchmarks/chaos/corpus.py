"""Small files of many formats, each with words of its own; some are poison."""

import io
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

WORDS = (
    *("harbour", "lantern", "granite", "meadow", "copper", "violin", "saddle", "orchard", "compass", "glacier"),
    *("thimble", "walnut", "ferry", "beacon", "mortar", "ledger", "quarry", "bobbin", "anvil", "thistle"),
    *("hollow", "tallow", "rudder", "cinder", "bellows", "trellis", "gable", "sluice", "tinder", "barrow"),
)
POISON_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to upload, and whether it can never become searchable."""

    name: str
    content: bytes
    poison: bool = False


def files(count: int, seed: int) -> Iterator[File]:
    """Yield so many files, the same for the same seed; one in fifty is poison, and no two have the same bytes."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    makers = (_text, _markdown, _html, _csv, _mail, _docx)
    poisons = (_torn_docx, _bomb, _cyclic_pdf, _endless_html)
    poisoned = set(chance.sample(range(count), max(1, round(count * POISON_SHARE))))
    for number in range(count):
        if number in poisoned:
            ending, content = chance.choice(poisons)(chance, number)
        else:
            ending, content = chance.choice(makers)(chance, number)
        yield File(name=f"{number:04d}.{ending}", content=content, poison=number in poisoned)


def _sentences(chance: random.Random, number: int) -> list[str]:
    count = chance.randint(3, 25)
    return [f"In file {number} the {' '.join(chance.choices(WORDS, k=9))} was noted." for _ in range(count)]


def _text(chance: random.Random, number: int) -> tuple[str, bytes]:
    return "txt", "\n\n".join(_sentences(chance, number)).encode()


def _markdown(chance: random.Random, number: int) -> tuple[str, bytes]:
    return "md", f"# Note {number}\n\n{' '.join(_sentences(chance, number))}\n".encode()


def _html(chance: random.Random, number: int) -> tuple[str, bytes]:
    body = "".join(f"<p>{sentence}</p>" for sentence in _sentences(chance, number))
    return "html", f"<html><head><title>Page {number}</title></head><body>{body}</body></html>".encode()


def _csv(chance: random.Random, number: int) -> tuple[str, bytes]:
    rows = "".join(f"{place},{chance.choice(WORDS)},{chance.randint(1, 999)}\n" for place in range(10))
    return "csv", f"place,thing {number},count\n{rows}".encode()


def _mail(chance: random.Random, number: int) -> tuple[str, bytes]:
    head = f"From: a@example.org\nTo: b@example.org\nSubject: Matter {number}\nContent-Type: text/plain\n\n"
    return "eml", (head + "\n".join(_sentences(chance, number))).encode()


def _docx(chance: random.Random, number: int) -> tuple[str, bytes]:
    from docx import Document  # noqa: PLC0415 - only here

    document = Document()
    document.add_heading(f"Report {number}")
    for sentence in _sentences(chance, number):
        document.add_paragraph(sentence)
    written = io.BytesIO()
    document.save(written)
    return "docx", written.getvalue()


def _torn_docx(chance: random.Random, number: int) -> tuple[str, bytes]:
    _, whole = _docx(chance, number)
    return "docx", whole[: len(whole) // 2]


def _bomb(_: random.Random, number: int) -> tuple[str, bytes]:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", f"<Types><!-- {number} --></Types>")
        archive.writestr("word/document.xml", b"\0" * 400_000_000)
    return "docx", written.getvalue()


def _cyclic_pdf(_: random.Random, number: int) -> tuple[str, bytes]:
    return "pdf", (
        f"%PDF-1.4\n% {number}\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        "2 0 obj<</Type/Pages/Kids[2 0 R]/Count 99999>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    ).encode()


def _endless_html(_: random.Random, number: int) -> tuple[str, bytes]:
    return "html", f"<!-- {number} -->".encode() + b"<div>" * 300_000
