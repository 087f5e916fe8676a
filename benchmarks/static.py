"""A static server: the recorded answers of one source, page by page as its vendor has them asked for.

python -m benchmarks.static SOURCE FOLDER PORT
"""

from __future__ import annotations

import json
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from benchmarks.recorded import HOST, SOURCES, Asked, Page, Recorded


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, source: Recorded, folder: Path, *arguments: Any) -> None:
        self.source, self.recorded = source, folder
        self.totals = json.loads((folder / "totals.json").read_text())
        super().__init__(*arguments)

    def do_GET(self) -> None:
        url, content = urlsplit(self.path), self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_json = "json" in self.headers.get("Content-Type", "")
        asked = Asked(url.path, dict(parse_qsl(url.query)), json.loads(content) if is_json else None)
        found = self.source.asked(asked, self.totals)
        answer = json.dumps(found).encode() if isinstance(found, dict) else self._page(*found)
        answer = answer.replace(HOST.encode(), f"http://{self.headers['Host']}".encode())
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def _page(self, question: int, number: int) -> bytes:
        path = self.recorded / f"page-{question}-{number}.json"
        if not path.exists():  # after the last one
            total = self.totals[str(question)]
            return json.dumps(self.source.answer([], Page(question, number, number + 1, total))).encode()
        return path.read_bytes()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    name, folder, port = sys.argv[1:]
    ThreadingHTTPServer(("127.0.0.1", int(port)), partial(Answers, SOURCES[name], Path(folder))).serve_forever()
