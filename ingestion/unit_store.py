"""Units, and many of them in little memory: a table of a million rows takes 32 bytes a row instead of 200. Pure."""

from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar, overload

from core.domain import Span

BLOCK = 512  # Units packed, and unpacked, together.
_KEPT = 4  # Unpacked blocks at hand: a chunk looks a little ahead and a little back.
_FIELDS = 8
_NO_COLUMNS = -1
_HEADING, _REPEATABLE, _SEAM = 1, 2, 2  # Two flags, and the seam above them.

Value = TypeVar("Value", bound=Hashable)


class Seam(IntEnum):
    """What a unit's beginning is: the smaller, the better a chunk begins there."""

    SECTION = 0
    PAGE = 1
    BLOCK = 2
    SENTENCE = 3
    INSIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of the text that chunks do not cut, trimmed of white space.

    `size` in tokens; `headings` above it; `page` of its first character; `columns`: the table's first row, given for
    the later ones; `repeatable`: prose, which the next chunk may begin with once more.
    """

    start: int
    end: int
    size: int
    headings: tuple[str, ...]
    page: int | None
    seam: Seam
    columns: Span | None = None
    heading: bool = False
    repeatable: bool = False


class UnitStore(Sequence[Unit]):
    """A list of units of which the older ones are packed; what is read is equal to what was appended.

    `size`: the tokens of all; `only_headings`: no unit is anything else. Positions in texts of less than 2^31
    characters.
    """

    def __init__(self) -> None:
        self.size = 0
        self.only_headings = True
        self._packed: list[array[int]] = []
        self._tail: list[Unit] = []  # After the first append never empty, so that the last unit can be replaced.
        self._paths: _Numbered[tuple[str, ...]] = _Numbered()
        self._pages: _Numbered[int | None] = _Numbered()
        self._unpacked: dict[int, list[Unit]] = {}  # in the order they were unpacked

    def append(self, unit: Unit) -> None:
        self._tail.append(unit)
        self.size += unit.size
        self.only_headings = self.only_headings and unit.heading
        if len(self._tail) > BLOCK:
            self._packed.append(self._pack(self._tail[:BLOCK]))
            del self._tail[:BLOCK]

    def replace_last(self, unit: Unit) -> None:
        """Put `unit`, of the same kind, in the place of the last one."""
        self.size += unit.size - self._tail[-1].size
        self._tail[-1] = unit

    def __len__(self) -> int:
        return len(self._packed) * BLOCK + len(self._tail)

    @overload
    def __getitem__(self, index: int) -> Unit: ...

    @overload
    def __getitem__(self, index: slice) -> list[Unit]: ...

    def __getitem__(self, index: int | slice) -> Unit | list[Unit]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        block, place = divmod(index + len(self) if index < 0 else index, BLOCK)
        if block < 0:
            raise IndexError(index)
        if block < len(self._packed):
            return self._block(block)[place]
        return self._tail[(block - len(self._packed)) * BLOCK + place]

    def _block(self, number: int) -> list[Unit]:
        units = self._unpacked.get(number)
        if units is None:
            units = self._unpacked[number] = self._unpack(self._packed[number])
            while len(self._unpacked) > _KEPT:
                del self._unpacked[next(iter(self._unpacked))]
        return units

    def _pack(self, units: Sequence[Unit]) -> "array[int]":
        packed = array("i")
        for unit in units:
            columns = unit.columns or Span(start=_NO_COLUMNS, end=_NO_COLUMNS)
            packed.extend(
                (
                    unit.start,
                    unit.end,
                    unit.size,
                    self._paths.number(unit.headings),
                    self._pages.number(unit.page),
                    columns.start,
                    columns.end,
                    unit.seam << _SEAM | _HEADING * unit.heading | _REPEATABLE * unit.repeatable,
                )
            )
        return packed

    def _unpack(self, packed: "array[int]") -> list[Unit]:
        fields = iter(packed)
        return [
            Unit(
                start=start,
                end=end,
                size=size,
                headings=self._paths.value(path),
                page=self._pages.value(page),
                seam=Seam(flags >> _SEAM),
                columns=None if columns_start == _NO_COLUMNS else Span(start=columns_start, end=columns_end),
                heading=bool(flags & _HEADING),
                repeatable=bool(flags & _REPEATABLE),
            )
            for start, end, size, path, page, columns_start, columns_end, flags in zip(*[fields] * _FIELDS, strict=True)
        ]


class _Numbered(Generic[Value]):
    """Values that are stored once and told by a number."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._numbers: dict[Value, int] = {}

    def number(self, value: Value) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self._values)
            self._values.append(value)
        return found

    def value(self, number: int) -> Value:
        return self._values[number]
