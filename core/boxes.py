"""Where a passage stands on its pages: from the line boxes kept at parse time to the boxes of a citation."""

from bisect import bisect_right
from dataclasses import replace

from core.domain import Box, Line, ParsedDocument, Span


def line_boxes(parsed: ParsedDocument, span: Span) -> tuple[Box, ...]:
    """Return the box of every printed line that the span touches, in reading order; none where lines are not known.

    The first and the last line are cut in proportion to the characters of theirs that the span covers: letters differ
    in width, so the cut is right to within a few letters.
    """
    if span.start >= span.end:
        return ()
    first = max(0, bisect_right(parsed.lines, span.start, key=_start) - 1)
    boxes = []
    for line in parsed.lines[first:]:
        if line.span.start >= span.end:
            break
        if line.span.end > span.start:
            boxes.append(_cut(line, span))
    return tuple(boxes)


def _start(line: Line) -> int:
    return line.span.start


def _cut(line: Line, span: Span) -> Box:
    """Return the part of the line that the span covers; along the longer side, so that upright text is cut, too."""
    length = line.span.end - line.span.start
    before = max(0, span.start - line.span.start) / length
    after = max(0, line.span.end - span.end) / length
    box = line.box
    width, height = box.x1 - box.x0, box.y1 - box.y0
    if height > 2 * width and length > 2:  # noqa: PLR2004 - one or two letters are taller than wide, too
        y0 = box.y0 + before * height
        return replace(box, y0=y0, y1=max(y0, box.y1 - after * height))
    x0 = box.x0 + before * width
    return replace(box, x0=x0, x1=max(x0, box.x1 - after * width))
