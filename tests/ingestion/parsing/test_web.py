import pytest

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.web import parse_html, parse_markdown


def test_html_structure_is_kept_and_scripts_are_not() -> None:
    parsed = parse_html(
        b"<!doctype html><title>Travel &amp; costs</title><style>p{}</style><script>alert('no')</script>"
        b"<h1>Travel</h1><p>We pay for what was <b>agreed</b> before.</p><h2>Cities</h2>"
        b"<ul><li>Oslo</li><li>Rome</li></ul>"
    )
    assert parsed.title == "Travel & costs"
    assert parsed.text == "Travel\n\nWe pay for what was agreed before.\n\nCities\n\nOslo\nRome"
    assert parsed.elements[-1].headings == ("Travel", "Cities")
    assert faults(parsed) == []


@pytest.mark.parametrize(
    "page",
    [
        "<form><p>{}</p></form>",
        "<details><summary>{}</summary>more text here</details>",
        "<figure><img src=x><figcaption>{}</figcaption></figure>",
        "<my-card><div>{}</div></my-card>",
        "<a href=x><figure><figcaption>{}</figcaption></figure></a>",
        "<table><tr><td><table><tr><td>{}</td></tr></table></td></tr></table>",
        "<table><caption>{}</caption><tr><td>one<td>two</table>",
        "<p>Much text outside of the main part, as much as there is.</p><p>{}</p><main>x</main>",
    ],
)
def test_no_text_is_lost_in_unusual_elements(page: str) -> None:
    sentence = "This sentence must be found again."
    assert sentence in parse_html(f"<html><body>{page.format(sentence)}</body></html>".encode()).text


def test_cells_spanning_rows_are_repeated_and_spanning_columns_leave_their_places() -> None:
    parsed = parse_html(
        b"<table><tr><th rowspan=2>North</th><td>1</td><td>2</td></tr><tr><td colspan=2>3</td></tr>"
        b"<tr><td>South</td><td>4</td><td>5</td></tr></table>"
    )
    assert parsed.text == "North | 1 | 2\nNorth | 3\nSouth | 4 | 5"


def test_a_huge_span_is_not_believed() -> None:
    assert parse_html(b"<table><tr><td colspan=999999999 rowspan=999999999>a</td><td>b</td></tr></table>").text


def test_ordered_lists_show_their_numbers() -> None:
    assert (
        parse_html(b"<ol start=4><li>Wait for it</li><li><p>Go away</p></li></ol>").text == "4. Wait for it\n5. Go away"
    )


def test_markdown_is_structured_and_its_front_matter_is_no_text() -> None:
    parsed = parse_markdown(
        b"---\ntitle: 'Travel policy'\nauthor: me\n---\n# Costs\n\nWe pay.\n\n"
        b"| City | Limit |\n|---|---|\n| Oslo | 120 |\n\n```\nx = 1\n```\n"
    )
    assert parsed.title == "Travel policy"
    assert parsed.text == "Costs\n\nWe pay.\n\nCity | Limit\nOslo | 120\n\nx = 1"
    assert parsed.elements[-1].kind is ElementKind.CODE


def test_pages_without_text_have_a_reason() -> None:
    for parse, data in ((parse_html, b"<html><script>x()</script></html>"), (parse_markdown, b"---\na: b\n---\n")):
        with pytest.raises(ParseFailed) as caught:
            parse(data)
        assert caught.value.reason is Reason.NO_TEXT


def test_unclosed_tags_that_nest_without_end_lose_no_text() -> None:
    page = "".join(f"<div><font><p>paragraph number {number} of many" for number in range(400))
    text = parse_html(page.encode()).text
    assert all(f"paragraph number {number} of many" in text for number in range(400))


def test_hostile_nesting_ends_with_a_reason_or_text() -> None:
    with pytest.raises(ParseFailed) as caught:
        parse_html(b"<div>" * 50_000 + b"deep down in here" + b"</div>" * 50_000)
    assert caught.value.reason is Reason.NO_TEXT


def test_addresses_and_narrative_text_are_paragraphs_and_no_language_model_is_asked_for() -> None:
    texts = ("The boat was built in 1908. It sank.", "WAREHOUSE ROW", "Doylestown, PA 18901", "post@example.org")

    parsed = parse_html("".join(f"<div>{text}</div>" for text in texts).encode())

    assert [(kind_of(parsed, text), text in parsed.text) for text in texts] == [(ElementKind.PARAGRAPH, True)] * 4


def kind_of(parsed: ParsedDocument, text: str) -> ElementKind:
    return next(one.kind for one in parsed.elements if text in parsed.text[one.span.start : one.span.end])
