"""A static server: recorded answers of Google Ads, whatever is asked for in the query.

python -m benchmarks.static FOLDER PORT
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ACCOUNT = "1234567890"
FIRST = date(2025, 9, 1)
WINDOW, PAGE = 31, 10_000  # days and rows of one answer


def windows(days: int) -> list[tuple[date, date]]:
    """First and last day of each question."""
    starts = range(0, days, WINDOW)
    return [(FIRST + timedelta(days=start), FIRST + timedelta(days=min(start + WINDOW, days) - 1)) for start in starts]


def question(first: date, last: date) -> str:
    """As much of it as the server looks at."""
    return f"SELECT campaign.id FROM campaign WHERE segments.date BETWEEN '{first}' AND '{last}'"  # noqa: S608


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @cached_property
    def folder(self) -> Path:
        return Path(sys.argv[1])

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/token"):
            answer = json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}).encode()
        else:
            body = json.loads(asked)
            answer = _small(body["query"]) or self._page(body["query"], body.get("pageToken", "0"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _page(self, query: str, page: str) -> bytes:
        asked = re.search(r"BETWEEN '([0-9-]+)'", query)
        return (self.folder / f"page-{asked[1] if asked else ''}-{page}.json").read_bytes()

    def log_message(self, *_: object) -> None:
        pass


def _small(query: str) -> bytes | None:
    """Of the account itself, which a connector asks for first."""
    client = {"id": ACCOUNT, "status": "ENABLED", "currencyCode": "EUR", "timeZone": "Europe/Berlin"}
    found: dict[str, dict[str, object]] = {
        "FROM customer_client": {"customerClient": client},
        "FROM conversion_action": {"customer": {"id": ACCOUNT}, "conversionAction": {"id": "1", "status": "REMOVED"}},
        "conversion_tracking_setting": {"customer": {"id": ACCOUNT}},
    }
    rows = next((row for words, row in found.items() if words in query), None)
    return json.dumps({"results": [rows], "totalResultsCount": "1", "fieldMask": ""}).encode() if rows else None


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Answers).serve_forever()
