"""Texts into batches of one inference each, and the next batch made while the model reads the present one."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def batches(lengths: Sequence[int], *, budget: int, largest: int) -> Iterator[list[int]]:
    """Yield positions of `lengths` (tokens) grouped by similar length, longest first.

    A batch holds at most `largest` of them, within `budget` padded tokens; one that is longer than that is alone.
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batch: list[int] = []
    for position in order:
        if batch and (len(batch) == largest or (len(batch) + 1) * lengths[batch[0]] > budget):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def one_ahead(make: Callable[[Item], Made], items: Sequence[Item]) -> Generator[tuple[Item, Made]]:
    """Yield each item, in order, with what is made of it; the next one is made meanwhile, in a thread.

    What `make` raises is raised at the item that it concerns; those after the next one are not begun then.
    """
    if len(items) == 1:  # There is nothing to be ahead of: no thread for a question.
        yield items[0], make(items[0])
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        upcoming = [pool.submit(make, item) for item in items[:1]]
        for number, item in enumerate(items):
            made = upcoming.pop().result()
            upcoming += [pool.submit(make, following) for following in items[number + 1 : number + 2]]
            yield item, made
