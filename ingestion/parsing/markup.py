"""HTML put into the shape that `unstructured` keeps whole.

Left alone it drops what stands in forms, figures, details and unknown elements, forgets which cells span rows, takes a
page laid out by tables for one table, and leaves the numbers of ordered lists to the browser.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

from lxml import etree, html  # type: ignore[import-untyped]  # it ships no types

Node: TypeAlias = Any  # lxml ships no types

_RENAMED = {
    **dict.fromkeys(("details", "figure", "form", "fieldset", "hgroup", "dialog"), "div"),
    **dict.fromkeys(("summary", "figcaption", "legend", "caption"), "p"),
    "label": "span",
}
_BLOCK_NAMES = (
    "address article aside blockquote center div dl footer h1 h2 h3 h4 h5 h6 header main ol p pre section table ul"
)
_BLOCKS = tuple(_BLOCK_NAMES.split())
_MOST_DEPTH = 120
_MOST_SPAN = 100  # Rows or columns that one cell covers; more is a mistake or an attack.
_MOST_CELLS = 200_000
_MAIN_SHARE = 0.2  # A <main> with less of the page's text than that is no main part.


def normalised(text: str) -> str:
    """Return the page as HTML that says the same in fewer kinds of elements. Raises lxml's errors for non-pages."""
    root = _parsed(text)
    _flatten(root)
    _simplify(root)
    _check_main(root)
    for table in list(root.iter("table")):
        _lay_out(table)
    for table in list(root.iter("table")):
        spread_spans(table)
    for ordered in list(root.iter("ol")):
        _number(ordered)
    return cast("str", html.tostring(root, encoding="unicode"))


def rows_of(table: Node) -> Iterator[Sequence[str]]:
    """Yield the rows of a table as the texts of their cells; a nested table stays within its cell."""
    for row in table.iter("tr"):
        if next(row.iterancestors("table"), None) is table:
            yield [" ".join(cell.itertext()) for cell in row if cell.tag in ("td", "th")]


def spread_spans(table: Node) -> None:
    """Give every row its full width: a cell over several rows is repeated in each, one over columns leaves gaps.

    A row cited alone then still says what it belongs to.
    """
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table"), None) is table]
    pending: dict[int, tuple[int, Node]] = {}  # column -> rows still covered from above, and by which cell
    cells_made = 0
    for row in rows:
        cells = [cell for cell in row if cell.tag in ("td", "th")]
        placed: list[Node] = []
        queue = iter(cells)
        cell = next(queue, None)
        while cell is not None or len(placed) in pending:
            column = len(placed)
            if column in pending:
                left, above = pending.pop(column)
                placed.append(_copy(above))
                if left > 1:
                    pending[column] = (left - 1, above)
                continue
            assert cell is not None  # noqa: S101 - the loop's condition, told to the type checker
            wide, tall = _span(cell, "colspan"), _span(cell, "rowspan")
            for offset in range(wide):
                one = cell if offset == 0 else html.Element("td")
                placed.append(one)
                if tall > 1:
                    pending[column + offset] = (tall - 1, one)
            cell = next(queue, None)
        cells_made += len(placed)
        if cells_made > _MOST_CELLS:
            return
        for one in cells:
            row.remove(one)
        row.extend(placed)


def _parsed(text: str) -> Node:
    try:
        return html.document_fromstring(text, parser=html.HTMLParser(huge_tree=True, remove_comments=True))
    except ValueError:  # A str with an XML encoding declaration.
        return html.document_fromstring(
            text.encode("utf-8"), parser=html.HTMLParser(huge_tree=True, remove_comments=True, encoding="utf-8")
        )


def _flatten(root: Node) -> None:
    """Take away the nesting beyond what the next parser follows: unclosed tags nest without end."""
    depth = 0
    deep = []
    for event, node in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "start" and depth > _MOST_DEPTH:
            deep.append(node)
    for node in reversed(deep):
        node.drop_tag() if isinstance(node.tag, str) else node.drop_tree()


def _simplify(root: Node) -> None:
    """Rename the elements that would be dropped to plain ones."""
    for caption in list(root.iter("caption")):
        _before_its_table(caption)
    for node in list(root.iter()):
        if isinstance(node.tag, str):
            node.tag = "div" if "-" in node.tag else _RENAMED.get(node.tag, node.tag)  # Custom elements have a hyphen.
    for anchor in list(root.iter("a")):
        if next(anchor.iterdescendants(*_BLOCKS), None) is not None:
            anchor.drop_tag()


def _check_main(root: Node) -> None:
    """Where the page names its main part, only that is read: see that it is."""
    for main in list(root.iter("main")):
        if len(main.text_content()) < _MAIN_SHARE * len(root.text_content()):
            main.tag = "div"


def _before_its_table(caption: Node) -> None:
    table = next(caption.iterancestors("table"), None)
    if table is not None and table.getparent() is not None:
        caption.tail = None
        table.addprevious(caption)


def _lay_out(table: Node) -> None:
    """Turn a table that only arranges the page into plain blocks."""
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table"), None) is table]
    has_headers = any(cell.tag == "th" for row in rows for cell in row)
    widths = [sum(cell.tag in ("td", "th") for cell in row) for row in rows]
    arranges = (
        table.get("role") == "presentation"
        or (next(table.iterdescendants("table"), None) is not None and not has_headers)
        or max(widths, default=0) <= 1
    )
    if not arranges:
        return
    for row in rows:
        for cell in row:
            if cell.tag in ("td", "th"):
                cell.tag = "div"
        row.tag = "div"
    for part in table:
        if part.tag in ("thead", "tbody", "tfoot"):
            part.tag = "div"
    table.tag = "div"


def _span(cell: Node, name: str) -> int:
    value = cell.attrib.pop(name, "1")
    try:
        return min(_MOST_SPAN, max(1, int(value)))
    except ValueError:
        return 1


def _copy(cell: Node) -> Node:
    twin = copy.deepcopy(cell)
    twin.tail = None
    return twin


def _number(ordered: Node) -> None:
    """Write each item's number before its text."""
    if ordered.get("type", "1") != "1":
        return
    number = _start(ordered.get("start"), 1)
    for item in ordered:
        if item.tag != "li":
            continue
        number = _start(item.get("value"), number)
        first = item[0] if len(item) and not (item.text or "").strip() else None
        holder = first if first is not None and first.tag == "p" else item
        holder.text = f"{number}. {(holder.text or '').lstrip()}"
        number += 1


def _start(value: str | None, otherwise: int) -> int:
    try:
        return int(value) if value is not None else otherwise
    except ValueError:
        return otherwise
