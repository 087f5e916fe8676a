"""A real collector for tests: over HTTP, on a free port of loopback, with a clock that the test sets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import requests

from b2b_pipeline.collect.server import Collector, Doors, server
from b2b_pipeline.configuration.config import Channels
from b2b_pipeline.landing.spool import Spool
from b2b_pipeline.privacy import Pseudonyms

READER, SERVER, KEY, ORIGIN = "r" * 32, "s" * 32, "public-key", "https://www.ourcompany.example"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36"
CLICK_IDS = tuple(Channels().click_ids)


@dataclass
class Site:
    """A site that sends to a collector. `now` is the collector's clock."""

    url: str
    spool: Spool
    now: datetime
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def post(self, body: Any, headers: dict[str, str] | None = None, key: str = KEY) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Origin": ORIGIN, "User-Agent": CHROME, "Content-Type": "text/plain", **(headers or {})}
        return requests.post(f"{self.url}/collect", data, params={"key": key}, headers=sent, timeout=30)

    def event(self, type_: str = "page_view", visitor: str = "ida", **said: Any) -> dict[str, Any]:
        """An event that a browser would send, with an id of its own."""
        given = {"type": type_, "id": f"event-{next(self.numbers):06}", "consent": "granted", "visitor": visitor}
        own = {"page_view": {"page": f"{ORIGIN}/"}, "ping": {"engaged_ms": 5000}, "key_event": {"name": "demo"},
               "form_submit": {"page": f"{ORIGIN}/demo", "form_id": "demo"}}.get(type_, {})  # fmt: skip
        return {**given, **own, **said}

    def send(self, received: datetime, type_: str = "page_view", visitor: str = "ida", **said: Any) -> dict[str, Any]:
        """Send an event that is received at that time. Raises when it is not kept."""
        self.now, event = received, self.event(type_, visitor, **said)
        answer = self.post(event)
        assert answer.status_code == 204, answer.text
        return event

    def kept(self) -> list[dict[str, Any]]:
        far = datetime(2000, 1, 1, tzinfo=UTC), self.now + timedelta(days=1)
        return [event for event in self.spool.read(*far) if event["type"] != "beat"]

    def on_disk(self) -> str:
        return "".join(path.read_text("utf-8") for path in sorted(self.spool.folder.glob("*.jsonl")))


@contextmanager
def collecting(folder: Path, pseudonyms: Pseudonyms, now: datetime, **doors: Any) -> Iterator[Site]:
    spool = Spool(folder, pseudonyms)
    given = {"reader": READER, "server": SERVER, "key": KEY, "origins": frozenset([ORIGIN]), "click_ids": CLICK_IDS}
    given["burst"] = 10_000  # a fast machine sends a day's events within a second
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(f"http://127.0.0.1:{listener.getsockname()[1]}", spool, now)
        running = server(Collector(spool, Doors(**{**given, **doors}), lambda: site.now).app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            running.should_exit = True
            thread.join()
