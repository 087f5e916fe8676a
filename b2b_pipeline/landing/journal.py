"""Lines that are only ever added, each with its own checksum: what was written once is there, or its loss is told."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fasteners

_threads = threading.RLock()  # a lock between processes does not hold back the threads of one


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among all processes, on all machines that share the folder; the file `path` is the lock."""
    with _threads, fasteners.InterProcessLock(path):
        yield


class Journal:
    """A file of JSON objects, one a line behind the checksum of it. Writers hold a lock of their own around `append`.

    A line that a killed writer left half written is no line: the next one takes its place. Threads may share a journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._entries: list[dict[str, Any]] = []
        self._unreadable = 0
        self._lock = threading.RLock()

    @property
    def entries(self) -> list[dict[str, Any]]:
        with self._lock:
            self._read()
            return self._entries

    @property
    def unreadable(self) -> int:
        """Whole lines that do not say what was written."""
        with self._lock:
            self._read()
            return self._unreadable

    def append(self, entries: Iterable[dict[str, Any]]) -> None:
        known, added = self.entries, list(entries)
        text = b"".join(map(line_of, added))
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            file.seek(0)
            content = file.read() if _is_torn(file) else b""
            if content:
                file.truncate(content.rfind(b"\n") + 1)
            file.write(text)
        with self._lock:
            self._seen, self._entries = _state(self.path), [*known, *added]

    def withdraw(self, gone: Callable[[dict[str, Any]], bool]) -> None:
        """Leave out the entries that are `gone`. What cannot be read stays as it is."""
        if _state(self.path) is None:
            return
        *lines, _ = self.path.read_bytes().split(b"\n")
        kept = [line for line in lines if (entry := entry_of(line)) is None or not gone(entry)]
        temporary = self.path.with_name(f".{self.path.name}.part")
        with open(temporary, "wb") as file:
            file.writelines(line + b"\n" for line in kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self._seen = None

    def _read(self) -> None:
        seen = _state(self.path)
        if seen is None:
            self._seen, self._entries, self._unreadable = None, [], 0
        if seen is None or seen == self._seen:
            return
        *lines, _ = self.path.read_bytes().split(b"\n")
        found = [entry_of(line) for line in lines]
        self._entries = [entry for entry in found if entry is not None]
        self._seen, self._unreadable = seen, len(found) - len(self._entries)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _is_torn(file: Any) -> bool:
    """Whether the last line has no end. Leaves the file at its end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    torn = bool(file.read(1) != b"\n")
    file.seek(0)
    return torn


def line_of(entry: dict[str, Any]) -> bytes:
    return line_of_text(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))


def line_of_text(text: str) -> bytes:
    content = text.encode()
    return _checksum(content) + b" " + content + b"\n"


def entry_of(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    return dict(json.loads(text)) if checksum == _checksum(text) else None


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()
