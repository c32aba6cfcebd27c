"""Titles that programs write into files, and whether they are any good."""

import re

from ingestion.parsing.canonical import clean_line

_LONGEST = 200
_SHORTEST = 3
_MECHANICAL = re.compile(
    r"^(untitled|title|document\d*|presentation\d*|powerpoint[- ]presentation|slide \d+|book\d+|sheet\d*|new .*document"
    r"|microsoft (word|powerpoint|excel)\b.*|print|layout \d+|none|null|home|index|.*\.(docx?|pptx?|xlsx?|pdf|indd|qxd"
    r"|dvi|tex|html?|txt|eps|ai|pmd|fm|p65))$",
    re.IGNORECASE,
)


def sensible_title(title: str | None) -> str | None:
    """Return the title when a person may have written it, else None."""
    if not title:
        return None
    title = clean_line(title)
    if not _SHORTEST <= len(title) <= _LONGEST or _MECHANICAL.match(title) or "\ufffd" in title:
        return None
    return title if any(character.isalpha() for character in title) else None
