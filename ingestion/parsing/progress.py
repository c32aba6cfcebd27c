"""How far a parser has come: it tells whoever runs it, or nobody."""

from collections.abc import Callable

_listeners: list[Callable[[float], None]] = []


def listen(listener: Callable[[float], None]) -> None:
    """Have this process's parsers tell the fraction that is done, from 0 to 1. For a child that parses one document."""
    _listeners.append(listener)


def tell(done: int, total: int) -> None:
    """Say that so many parts (pages) of so many are done. It costs next to nothing where nobody listens."""
    for listener in _listeners:
        listener(done / total)
