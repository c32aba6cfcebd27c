"""Word's XML put into the shape that `unstructured` keeps whole.

Left alone it drops content controls, text boxes, formulas and tracked insertions.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from lxml import etree  # type: ignore[import-untyped]  # it ships no types

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_WRAPPERS = (f"{_W}ins", f"{_W}moveTo", f"{_W}smartTag", f"{_W}customXml", f"{_W}fldSimple")
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_NOTES = ("/footnotes", "/endnotes")

Element: TypeAlias = Any  # lxml ships no types


def unfold(body: Element) -> bool:
    """Change the document's body in place so that every text stands in an ordinary run; return whether it changed."""
    changed = False
    for fallback in list(body.iter(_FALLBACK)):  # The same content again, for old programs.
        _remove(fallback)
        changed = True
    for control in reversed(list(body.iter(f"{_W}sdt"))):
        content = control.find(f"{_W}sdtContent")
        _replace(control, list(content) if content is not None else [])
        changed = True
    for wrapper in reversed(list(body.iter(*_WRAPPERS))):
        _replace(wrapper, [child for child in wrapper if not str(child.tag).endswith("Pr")])
        changed = True
    for formula in list(body.iter(f"{_M}oMath")):
        _replace(formula, [_run(f" {formula_text(formula)} ")])
        changed = True
    for paragraphs in list(body.iter(f"{_M}oMathPara")):
        _replace(paragraphs, [child for child in paragraphs if child.tag == f"{_W}r"])
    for box in list(body.iter(f"{_W}txbxContent")):
        changed |= _move_out(box)
    return changed


def notes_of(part: Any) -> Iterator[str]:  # noqa: ANN401 - python-docx's part
    """Yield the texts of the document's footnotes and endnotes."""
    for relation in part.rels.values():
        if relation.is_external or not relation.reltype.endswith(_NOTES):
            continue
        root = etree.fromstring(relation.target_part.blob, etree.XMLParser(resolve_entities=False, no_network=True))
        for note in root:
            if note.get(f"{_W}type") is None:  # The typed ones are separators.
                paragraphs = ("".join(text.text or "" for text in one.iter(f"{_W}t")) for one in note.iter(f"{_W}p"))
                yield "\n".join(paragraphs)


def formula_text(node: Element) -> str:
    """Return a formula on one line: `a/b`, `x^2`, `√(…)`; what has no sign of its own is written out."""
    renderer = _RENDERERS.get(str(node.tag))
    if renderer is not None:
        return renderer(node)
    if node.tag in (f"{_M}t", f"{_W}t"):
        return node.text or ""
    return "".join(formula_text(child) for child in node)


def _part(node: Element, name: str) -> str:
    found = node.find(f"{_M}{name}")
    return formula_text(found) if found is not None else ""


def _grouped(text: str) -> str:
    return text if len(text.strip()) <= 1 or text.strip().isalnum() else f"({text.strip()})"


def _character(node: Element, properties: str, name: str, otherwise: str) -> str:
    found = node.find(f"{_M}{properties}/{_M}{name}")
    return found.get(f"{_M}val", "") if found is not None else otherwise


def _fraction(node: Element) -> str:
    return f"{_grouped(_part(node, 'num'))}/{_grouped(_part(node, 'den'))}"


def _scripts(node: Element) -> str:
    sub, sup = _part(node, "sub"), _part(node, "sup")
    return _part(node, "e") + (f"_{_grouped(sub)}" if sub else "") + (f"^{_grouped(sup)}" if sup else "")


def _radical(node: Element) -> str:
    return f"{_part(node, 'deg')}√({_part(node, 'e')})"


def _operator(node: Element) -> str:
    sub, sup = _part(node, "sub"), _part(node, "sup")
    sign = _character(node, "naryPr", "chr", "∫")
    return sign + (f"_{_grouped(sub)}" if sub else "") + (f"^{_grouped(sup)}" if sup else "") + f" {_part(node, 'e')}"


def _delimited(node: Element) -> str:
    opening, closing = _character(node, "dPr", "begChr", "("), _character(node, "dPr", "endChr", ")")
    return opening + ", ".join(formula_text(part) for part in node.findall(f"{_M}e")) + closing


def _matrix(node: Element) -> str:
    rows = (" ".join(formula_text(cell) for cell in row.findall(f"{_M}e")) for row in node.findall(f"{_M}mr"))
    return "; ".join(rows)


def _function(node: Element) -> str:
    return f"{_part(node, 'fName')} {_part(node, 'e')}"


_RENDERERS: Mapping[str, Callable[[Element], str]] = {
    f"{_M}f": _fraction,
    f"{_M}sSup": _scripts,
    f"{_M}sSub": _scripts,
    f"{_M}sSubSup": _scripts,
    f"{_M}rad": _radical,
    f"{_M}nary": _operator,
    f"{_M}d": _delimited,
    f"{_M}m": _matrix,
    f"{_M}func": _function,
}


def _run(text: str) -> Element:
    run = etree.Element(f"{_W}r")
    written = etree.SubElement(run, f"{_W}t")
    written.text = text
    written.set(_SPACE, "preserve")
    return run


def _replace(node: Element, replacements: list[Element]) -> None:
    parent = node.getparent()
    if parent is None:
        return
    place = parent.index(node)
    parent.remove(node)
    for offset, replacement in enumerate(replacements):
        parent.insert(place + offset, replacement)


def _remove(node: Element) -> None:
    parent = node.getparent()
    if parent is not None:
        parent.remove(node)


def _move_out(box: Element) -> bool:
    """Move a text box's paragraphs behind the outermost paragraph that the box hangs on."""
    anchors = list(box.iterancestors(f"{_W}p"))
    if not anchors:
        return False
    anchor = anchors[-1]
    parent = anchor.getparent()
    if parent is None:
        return False
    place = parent.index(anchor) + 1
    while place < len(parent) and parent[place].get("footnote-moved") == "1":
        place += 1
    for offset, paragraph in enumerate([child for child in box if child.tag in (f"{_W}p", f"{_W}tbl")]):
        paragraph.set("footnote-moved", "1")
        parent.insert(place + offset, paragraph)
    return True
