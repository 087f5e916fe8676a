"""Work on several things at once, each in a thread, and an interrupt that need not wait for any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

NOTICED = 0.5  # seconds until an interrupt is
Thing = TypeVar("Thing")
Result = TypeVar("Result")


class StoppedError(Exception):
    """Nobody waits for this work any more."""


def beside(things: Sequence[Thing], work: Callable[[Thing, threading.Event], Result], at_once: int) -> list[Result]:
    """What `work` makes of each thing, in their order. Its event is set once nobody waits for it any more.

    Raises what `work` raises, and an interrupt, at once: a thread that waits for a vendor then is left behind, and does
    not keep the process from ending, as those of `concurrent.futures` would.
    """
    stop, waiting = threading.Event(), SimpleQueue[tuple[int, Thing]]()
    if min(at_once, len(things)) < 2:
        return [work(thing, stop) for thing in things]
    done = SimpleQueue[tuple[int, Result | BaseException]]()
    for numbered in enumerate(things):
        waiting.put(numbered)

    def labour() -> None:
        while not stop.is_set():
            try:
                number, thing = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((number, work(thing, stop)))
            except BaseException as error:  # noqa: BLE001  # raised where the results are waited for
                done.put((number, error))

    threads = [
        threading.Thread(target=labour, name=f"beside {n}", daemon=True) for n in range(min(at_once, len(things)))
    ]
    results: dict[int, Result] = {}
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(things):
            try:
                number, result = done.get(timeout=NOTICED)
            except Empty:  # an interrupt that came just before the wait is seen now
                continue
            if isinstance(result, BaseException):
                raise result
            results[number] = result
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(things))]


def until(stop: threading.Event, pages: Iterable[Thing]) -> Iterator[Thing]:
    """The pages, as long as somebody waits for them. Raises StoppedError."""
    for page in pages:
        if stop.is_set():
            raise StoppedError
        yield page
    if stop.is_set():
        raise StoppedError
