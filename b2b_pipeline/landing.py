"""Landing: what the vendors said, as received, in slices that appear whole or not at all.

A slice answers one question (source, stream, account, window). On disk it is two files in
`<landing>/raw/<source>/<stream>/<account>/`: `<slice_id>.jsonl.zst` with one raw record a line, and
`<slice_id>.json`, its envelope. The envelope is renamed into place last: it is the commit. All envelopes together are
the manifest, and the manifest is the only state there is; no cursor is stored anywhere.

An unchanged re-read is not stored twice: days of a report that say the same as before point to the slice that has them
(`same_as`), and so does a whole window of changes that came out the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import zstandard

from b2b_pipeline.connectors.base import Account, Page, Record, Stream, Window
from b2b_pipeline.errors import TransientError
from b2b_pipeline.privacy import Pseudonyms, names_somebody

UNDATED = ""  # the day of a record whose date field is empty


@dataclass(frozen=True)
class Slice:
    """A slice's envelope. Days are ISO dates; `days` holds rows and content hash of each partition day."""

    slice_id: str
    source: str
    stream: str
    kind: str
    account: dict[str, Any]
    start: str
    end: str
    since: str
    until: str
    pulled_at: str
    api_version: str
    run_id: str
    pages: int
    records: int
    requests: str
    complete: bool
    provisional_days: list[str] = field(default_factory=list)
    days: dict[str, list[Any]] = field(default_factory=dict)  # day -> [rows, sha256]
    same_as: dict[str, str] = field(default_factory=dict)  # day -> id of the slice that holds its records; "*" = all

    def covers(self, day: str) -> bool:
        return self.start <= day < self.end

    def covered(self) -> Iterator[str]:
        """Every ISO day of the window."""
        for ordinal in range(date.fromisoformat(self.start).toordinal(), date.fromisoformat(self.end).toordinal()):
            yield date.fromordinal(ordinal).isoformat()


class Landing:
    """The landing zone below one folder."""

    def __init__(self, root: Path, pseudonyms: Pseudonyms) -> None:
        self.root = root
        self.pseudonyms = pseudonyms
        self._cache: dict[Path, Slice] = {}

    def folder(self, source: str, stream: str, account: str) -> Path:
        return self.root / "raw" / source / stream / _safe(account)

    # -- writing

    def write(
        self,
        source: str,
        stream: Stream,
        account: Account,
        window: Window,
        pages: Iterable[Page],
        *,
        zone: ZoneInfo,
        api_version: str,
        run_id: str,
        provisional_days: Iterable[str] = (),
        now: datetime | None = None,
    ) -> Slice:
        """Land one slice. Nothing appears when `pages` raises."""
        self.pseudonyms.reload()
        pulled_at = (now or datetime.now(UTC)).isoformat(timespec="microseconds")
        slice_id = re.sub(r"\D", "", pulled_at[:26]) + "-" + secrets.token_hex(4)
        folder = self.folder(source, stream.name, account.id)
        folder.mkdir(parents=True, exist_ok=True)
        body = folder / f".{slice_id}.part"
        count, fingerprints, by_day = 0, hashlib.sha256(), {}  # type: ignore[var-annotated]
        pages_read = 0
        try:
            with _writer(body) as out:
                for page in pages:
                    pages_read += 1
                    fingerprints.update(page.request.encode())
                    for raw in page.records:
                        record = self.pseudonyms.apply(raw, stream.personal)
                        line = as_line(record)
                        if names_somebody(line):  # in a note, a name, the query of a URL
                            record = self.pseudonyms.scrub(record)
                            line = as_line(record)
                        day = day_of(record, stream.day, zone)
                        rows, digest = by_day.setdefault(day, [0, hashlib.sha256()])
                        by_day[day][0] = rows + 1
                        digest.update(line.encode())
                        out.write(line)
                        count += 1
            days = {day: [rows, digest.hexdigest()[:24]] for day, (rows, digest) in sorted(by_day.items())}
            envelope = Slice(
                slice_id, source, stream.name, stream.kind, asdict(account),
                window.start.isoformat(), window.end.isoformat(), window.since.isoformat(), window.until.isoformat(),
                pulled_at, api_version, run_id, pages_read, count, fingerprints.hexdigest()[:16], True,
                sorted(provisional_days), days, {},
            )  # fmt: skip
            envelope = self._without_repeats(envelope, body, stream, zone)
            if self.pseudonyms.reload():
                raise self._forgotten_meanwhile(source, stream)
            if body.exists():
                with open(body, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(body, folder / f"{slice_id}.jsonl.zst")
        finally:
            body.unlink(missing_ok=True)
        _write_atomically(folder / f"{slice_id}.json", json.dumps(asdict(envelope), ensure_ascii=False))
        if self.pseudonyms.reload():  # forgetting lists the slices that there are: it may have missed this one
            (folder / f"{slice_id}.json").unlink()
            (folder / f"{slice_id}.jsonl.zst").unlink(missing_ok=True)
            raise self._forgotten_meanwhile(source, stream)
        return envelope

    @staticmethod
    def _forgotten_meanwhile(source: str, stream: Stream) -> TransientError:
        return TransientError(f"{source}/{stream.name}: a person was forgotten while it was read: read it again")

    def _without_repeats(self, new: Slice, body: Path, stream: Stream, zone: ZoneInfo) -> Slice:
        """`new` with the days that an earlier slice already says the same of taken out of its body."""
        if new.kind == "report":
            current = self.winners(new.source, new.stream, new.account["id"])
            same = {
                day: holder.slice_id
                for day in new.days
                if (holder := current.get(day)) is not None and holder.days.get(day) == new.days[day]
            }
        else:
            same = self._same_window(new)
        if not same:
            return new
        if "*" in same or len(same) == len(new.days):
            body.unlink()
        else:
            kept = body.with_suffix(".kept")
            with _writer(kept) as out:
                for record in _read_lines(body):
                    if day_of(record, stream.day, zone) not in same:
                        out.write(as_line(record))
            os.replace(kept, body)
        return Slice(**{**asdict(new), "same_as": same})

    def _same_window(self, new: Slice) -> dict[str, str]:
        """The slice that already says the same: of a snapshot the last one, of changes one of the very same window."""
        earlier = self.slices(new.source, new.stream, new.account["id"])
        if new.kind == "snapshot":
            earlier = earlier[-1:]
        else:
            earlier = [item for item in earlier if (item.since, item.until) == (new.since, new.until)]
        if not new.records or not earlier or earlier[-1].days != new.days:
            return {}
        return {"*": earlier[-1].same_as.get("*", earlier[-1].slice_id)}

    # -- reading

    def slices(self, source: str, stream: str, account: str | None = None) -> list[Slice]:
        """Every slice of a stream, oldest first."""
        base = self.root / "raw" / source / stream
        folders = [base / _safe(account)] if account is not None else sorted(p for p in base.glob("*") if p.is_dir())
        found = [self._envelope(path) for folder in folders for path in folder.glob("*.json")]
        return sorted(found, key=lambda s: s.slice_id)

    def _envelope(self, path: Path) -> Slice:
        if path not in self._cache:
            self._cache[path] = Slice(**json.loads(path.read_text()))
        return self._cache[path]

    def winners(self, source: str, stream: str, account: str) -> dict[str, Slice]:
        """Of a report: for each day the slice that holds what counts, the newest complete one that covers it.

        A covered day without records maps to the newest slice too: nothing is what it says.
        """
        slices = self.slices(source, stream, account)
        by_id = {item.slice_id: item for item in slices}
        return {
            day: by_id[item.same_as[day]] if day in item.same_as else item
            for item in slices
            if item.complete
            for day in item.covered()
        }

    def records(self, item: Slice) -> Iterator[Record]:
        """The raw records stored in this slice itself (those of `same_as` days lie in the slices named there)."""
        body = self.folder(item.source, item.stream, item.account["id"]) / f"{item.slice_id}.jsonl.zst"
        if body.is_file():
            yield from _read_lines(body)

    def streams(self) -> list[tuple[str, str]]:
        """Source and stream of everything that ever landed."""
        return sorted((path.parent.name, path.name) for path in (self.root / "raw").glob("*/*"))

    def rewrite(self, item: Slice, change: Callable[[str], str]) -> int:
        """Replace each line of a slice's body by `change(line)`; for forgetting. Returns how many lines changed."""
        body = self.folder(item.source, item.stream, item.account["id"]) / f"{item.slice_id}.jsonl.zst"
        changed = sum(change(line) != line for line in _lines(body)) if body.is_file() else 0
        if changed:
            temporary = body.with_name(f".{body.name}.part")
            with _writer(temporary) as out:
                out.writelines(change(line) for line in _lines(body))
            os.replace(temporary, body)
        return changed

    def remove_leftovers(self, before: datetime) -> None:
        """Remove what writers that were killed before `before` left: it is part of no slice."""
        for path in [*self.root.glob("raw/*/*/*/.*"), *self.root.glob("raw/*/*/*/*.jsonl.zst")]:
            whole = path.with_name(path.name.removesuffix(".jsonl.zst") + ".json").is_file()
            if not whole and path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)


def day_of(record: Record, path: str, zone: ZoneInfo) -> str:
    """The ISO day of a record in `zone`: of a date as it is, of an ISO timestamp or epoch milliseconds converted."""
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value in (None, ""):
        return UNDATED
    text = str(value)
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text).isoformat()
        if re.fullmatch(r"-?\d{9,}", text):
            return datetime.fromtimestamp(int(text) // 1000, UTC).astimezone(zone).date().isoformat()
        moment = datetime.fromisoformat(re.sub(r"([+-]\d{2})(\d{2})$", r"\1:\2", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone).date().isoformat()
    except (ValueError, OverflowError):
        return UNDATED


def as_line(record: Record) -> str:
    """A record as it is stored."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"


def _safe(name: str) -> str:
    """A folder name for an account or file name: harmless whatever the vendor calls it, and still told apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".") or "_"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _writer(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=3)), encoding="utf-8")


def _lines(path: Path) -> Iterator[str]:
    with zstandard.open(path, "rb") as raw:
        yield from io.TextIOWrapper(raw, encoding="utf-8", newline="\n")


def _read_lines(path: Path) -> Iterator[Record]:
    for line in _lines(path):
        yield json.loads(line)


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
