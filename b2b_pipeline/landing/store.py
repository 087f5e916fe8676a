"""Landing: what the vendors said, as received, in slices that appear whole or not at all.

A slice answers one question (source, stream, account, window). On disk it is two files in
`<landing>/raw/<source>/<stream>/<account>/`: `<slice_id>.jsonl.zst` with one raw record a line, and
`<slice_id>.json`, its envelope. The envelope is renamed into place last: it is the commit. All envelopes together are
the manifest, and the manifest is the only state there is; no cursor is stored anywhere.

Nothing is taken on trust. An envelope has a checksum of its own and that of its body, which is compared at every read;
`<landing>/journal/<source>/<stream>.jsonl` lists what was committed, so that a slice that is gone is missed. A slice
that cannot be used has a `flaw`: reading it raises DamagedError, which says how to read it again, and nobody points to
it. Slices of earlier versions have neither checksum nor entry: of them the number of records is compared.

Order is by slice id. It begins with the time, but is always greater than all before it: a clock that is put back
reorders nothing. A slice from later than now has a flaw too, because what its days were when it was pulled is unknown.

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
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast
from zoneinfo import ZoneInfo

import orjson
import zstandard

from b2b_pipeline.connectors.base import MERGED, Account, Page, Record, Stream, Window
from b2b_pipeline.errors import DamagedError, TransientError
from b2b_pipeline.landing.journal import Journal, locked
from b2b_pipeline.landing.slices import Slice as Slice
from b2b_pipeline.landing.slices import (
    in_time,
    journalled,
    number_of,
    of_journal,
    opened,
    outdated,
    refusal,
    sealed,
    unknown,
    with_windows,
)
from b2b_pipeline.privacy import Pseudonyms, names_somebody

UNREADABLE = "restore it from a backup, or delete it: the next pulls enter every slice that is there again"
UNDATED = ""  # the day of a record whose date field is empty


class Landing:
    """The landing zone below one folder. Without `pseudonyms` it can only be read."""

    def __init__(
        self,
        root: Path,
        pseudonyms: Pseudonyms | None,
        in_step: Callable[[], None] = lambda: None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """`in_step` is called before a slice is read or loaded, `first` before one appears; they may raise."""
        self.root = root
        self.in_step, self._first = in_step, first
        self._pseudonyms = pseudonyms
        self._cache: dict[str, tuple[tuple[int, int, int], Slice]] = {}
        self._journals: dict[Path, Journal] = {}
        self._beginning = threading.Lock()

    @property
    def pseudonyms(self) -> Pseudonyms:
        if self._pseudonyms is None:
            raise ValueError("this landing is only for reading")
        return self._pseudonyms

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
        """Land one slice. Nothing appears when `pages` raises. Threads may land at once, each another account."""
        with self._beginning:
            self.in_step()
            self.pseudonyms.reload()
            forgotten = self.pseudonyms.forgotten
        began = now or datetime.now(UTC)
        folder = self.folder(source, stream.name, account.id)
        slice_id = f"{self._number(began)}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True, exist_ok=True)
        body = folder / f".{slice_id}.part"
        count, fingerprints, by_day = 0, hashlib.sha256(), {}  # type: ignore[var-annotated]
        doubts: dict[str, str] = {}
        pages_read = 0
        try:
            with _writer(body) as (out, stored):
                for page in pages:
                    pages_read += 1
                    fingerprints.update(page.request.encode())
                    doubts.update(page.doubts)
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
                began.isoformat(timespec="microseconds"), api_version, run_id, pages_read, count,
                fingerprints.hexdigest()[:16], sorted(provisional_days), days, {},
                {"name": f"{slice_id}.jsonl.zst", **stored.told()}, dict(sorted(doubts.items())),
            )  # fmt: skip
            envelope = self._without_repeats(envelope, body, stream, zone)
            self._commit(envelope, body, folder, forgotten)
        finally:
            body.unlink(missing_ok=True)
        return envelope

    def _number(self, now: datetime) -> int:
        """What a slice id begins with: the time, unless a slice that is there already has a later one."""
        return max(int(re.sub(r"\D", "", now.isoformat(timespec="microseconds")[:26])), self._last_number() + 1)

    def _last_number(self) -> int:
        """The greatest of all; made again from the slices where the file that keeps it is gone or damaged."""
        with suppress(OSError, ValueError):
            return int((self.root / "sequence").read_text())
        return max((number_of(path.stem) for path in self.root.glob("raw/*/*/*/*.json")), default=0)

    def _commit(self, item: Slice, body: Path, folder: Path, forgotten: Mapping[str, str | None]) -> None:
        """The slice appears. A person who was forgotten while it was read would come back with it: it is given up.

        `forgotten`: who was when it began; another thread may have learnt of more since.
        """
        source, stream, envelope = item.source, item.stream, folder / f"{item.slice_id}.json"
        with locked(self.root / "landing.lock"):
            if self._has_forgotten_more(forgotten):
                raise self._forgotten_meanwhile(source, stream)
            self._first()
            (self.root / "sequence").write_text(str(max(self._last_number(), number_of(item.slice_id))))
            if item.body:
                with open(body, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(body, folder / item.body["name"])
            _write_atomically(envelope, sealed(item))
            # Forgetting lists the slices that there are: it may have missed this one.
            if self._has_forgotten_more(forgotten):
                envelope.unlink()
                if item.body:
                    (folder / item.body["name"]).unlink()
                raise self._forgotten_meanwhile(source, stream)
            _sync_folder(folder)  # the journal must not tell of a slice that a power cut takes back
            self._note(source, stream, folder)

    def _note(self, source: str, stream: str, folder: Path) -> None:
        """Enter slices of the folder that the journal lacks: the new one, and those of a killed writer."""
        journal = self._journal(source, stream)
        known = {entry["slice_id"] for entry in journal.entries}
        items = [item for item in self._envelopes(folder, {}, known) if not item.flaw]
        items.sort(key=lambda item: item.slice_id)
        journal.append(journalled(item, (folder / f"{item.slice_id}.json").read_bytes()) for item in items)

    def _journal(self, source: str, stream: str) -> Journal:
        path = self.root / "journal" / source / f"{stream}.jsonl"
        return self._journals.setdefault(path, Journal(path))

    def _has_forgotten_more(self, forgotten: Mapping[str, str | None]) -> bool:
        self.pseudonyms.reload()
        return self.pseudonyms.forgotten != forgotten

    @staticmethod
    def _forgotten_meanwhile(source: str, stream: str) -> TransientError:
        return TransientError(f"{source}/{stream}: a person was forgotten while it was read: read it again")

    def _without_repeats(self, new: Slice, body: Path, stream: Stream, zone: ZoneInfo) -> Slice:
        """`new` with the days that an earlier slice already says the same of taken out of its body."""
        if new.kind == "report":
            current = self.winners(new.source, new.stream, new.account["id"], new.days)
            holders = {
                day: holder
                for day in new.days
                if (holder := current.get(day)) is not None and holder.days.get(day) == new.days[day]
            }
        else:
            holders = self._same_window(new)
        intact = {
            item.slice_id
            for item in {item.slice_id: item for item in holders.values()}.values()
            if not self.damage(item)
        }
        same = {day: holder.slice_id for day, holder in holders.items() if holder.slice_id in intact}
        if not same:
            return new if new.records else replace(new, body={})
        if "*" in same or len(same) == len(new.days):
            return replace(new, same_as=same, body={})
        kept = body.with_suffix(".kept")
        with _writer(kept) as (out, stored):
            for record in _read_lines(body):
                if day_of(record, stream.day, zone) not in same:
                    out.write(as_line(record))
        os.replace(kept, body)
        return replace(new, same_as=same, body={"name": f"{new.slice_id}.jsonl.zst", **stored.told()})

    def _same_window(self, new: Slice) -> dict[str, Slice]:
        """The slice that already says the same: of a list the last one, of what is merged one of the same window."""
        earlier = self.slices(new.source, new.stream, new.account["id"])
        by_id = {item.slice_id: item for item in earlier}
        if new.kind in MERGED:
            earlier = [item for item in earlier if (item.since, item.until) == (new.since, new.until)]
        else:
            earlier = earlier[-1:]
        if not new.records or not earlier or earlier[-1].days != new.days:
            return {}
        holder = by_id.get(earlier[-1].holder)
        return {"*": holder} if holder else {}

    # -- reading

    def slices(self, source: str, stream: str, account: str | None = None) -> list[Slice]:
        """Every slice of a stream, oldest first, those that are gone or cannot be used among them (`flaw`)."""
        base = self.root / "raw" / source / stream
        folders = [base / _safe(account)] if account is not None else sorted(p for p in base.glob("*") if p.is_dir())
        known = {
            entry["slice_id"]: entry
            for entry in self._journal(source, stream).entries
            if account is None or entry["account"]["id"] == account
        }
        found: dict[str, Slice] = {}
        for folder in folders:
            found |= {item.slice_id: item for item in with_windows(self._envelopes(folder, known))}
        gone = {name: of_journal(entry, "its envelope is gone") for name, entry in known.items() if name not in found}
        return in_time([item for _, item in sorted((found | gone).items())])

    def _envelopes(
        self, folder: Path, known: Mapping[str, dict[str, Any]], without: Collection[str] = ()
    ) -> list[Slice]:
        """The slices of a folder. `known` is what the journal says: of a damaged one it is all that is known."""
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            paths = [entry for entry in entries if entry.name.endswith(".json") and entry.name[0] != "."]
            names = [(path, path.name.removesuffix(".json")) for path in paths]
            return [self._envelope(path, known.get(name)) for path, name in names if name not in without]
        return []

    def _envelope(self, path: os.DirEntry[str] | Path, entry: dict[str, Any] | None) -> Slice:
        place = os.fspath(path)
        try:
            state = path.stat()
            seen = (state.st_ino, state.st_size, state.st_mtime_ns)
            if place not in self._cache or self._cache[place][0] != seen:
                self._cache[place] = (seen, opened(Path(place), entry))
            return self._cache[place][1]
        except (OSError, ValueError, TypeError, RecursionError):
            return of_journal(entry or unknown(Path(place)), "its envelope is not what was landed")

    def winners(self, source: str, stream: str, account: str, days: Collection[str] | None = None) -> dict[str, Slice]:
        """Of a report: for each day, or each of `days`, the slice that holds what counts, the newest that covers it.

        A covered day without records maps to the newest slice too: nothing is what it says.
        """
        slices = self.slices(source, stream, account)
        by_id = {item.slice_id: item for item in slices if not item.flaw}
        return {
            day: holder
            for item in by_id.values()
            for day in (item.covered() if days is None else filter(item.covers, days))
            if (holder := by_id.get(item.same_as.get(day, item.slice_id)))
        }

    def records(self, item: Slice) -> Iterator[Record]:
        """The raw records stored in this slice itself (those of `same_as` days lie in the slices named there).

        Raises DamagedError, after the last record at the latest, when they are not what was landed.
        """
        try:
            for line in self._lines(item):
                yield of_line(line)
        except (ValueError, RecursionError):
            raise DamagedError(refusal(item.with_flaw("a record is not what was landed"))) from None

    def _lines(self, item: Slice) -> Iterator[str]:
        """The lines of a slice's body, compared with its envelope while they are read."""
        path = self._body(item)
        if path is None:
            return
        count = 0
        try:
            with open(path, "rb") as file:
                stored = _Hashing(file)
                for line in _lines(stored):
                    count += 1
                    yield line
                while stored.read(1 << 20):
                    pass
        except FileNotFoundError:
            if (renewed := self._renewed(item)) is None:
                raise DamagedError(refusal(item.with_flaw("its body is gone"))) from None
            yield from self._lines(renewed)
            return
        except (OSError, zstandard.ZstdError, UnicodeDecodeError):
            raise DamagedError(refusal(item.with_flaw("its body cannot be read"))) from None
        if (item.body and stored.told() != _told(item.body)) or count != item.stored:
            raise DamagedError(refusal(item.with_flaw("its body is not what was landed")))

    def _body(self, item: Slice) -> Path | None:
        """Where a slice's body is, None when it has none. Raises DamagedError when it has one that cannot be used."""
        folder = self.folder(item.source, item.stream, item.account["id"])
        if item.flaw:
            raise DamagedError(refusal(item))
        if item.body is None:
            return folder / f"{item.slice_id}.jsonl.zst" if item.stored else None
        return folder / item.body["name"] if item.body else None

    def _renewed(self, item: Slice) -> Slice | None:
        """The slice as it is now, when its body was exchanged (see `rewrite`) since `item` was read."""
        path = self.folder(item.source, item.stream, item.account["id"]) / f"{item.slice_id}.json"
        now = self._envelope(path, None)
        return now if not now.flaw and now.body and now.body != item.body else None

    def damage(self, item: Slice, *, thorough: bool = True) -> str:
        """Why a slice cannot be used, or nothing. Without `thorough` a body is only looked for and measured."""
        if item.flaw:
            return item.flaw
        try:
            path = self._body(item)
            if path is None:
                return ""
            if not thorough or item.body:
                size = path.stat().st_size
                if item.body and size != item.body["size"]:
                    return f"its body has {size} of {item.body['size']} bytes"
                if not thorough:
                    return ""
                with open(path, "rb") as file:
                    right = hashlib.file_digest(file, "sha256").hexdigest() == item.body["sha256"]  # type: ignore[index]
                return "" if right else "its body is not what was landed"
            for _ in self.records(item):
                pass
        except FileNotFoundError:
            return "its body is gone"
        except OSError as error:
            return f"its body cannot be read: {error.strerror}"
        except DamagedError:
            return "its body is not what was landed"
        return ""

    def verify(self, *, thorough: bool = True) -> Iterator[tuple[Slice, bool]]:
        """Every slice that cannot be used, with its `flaw`, and whether what it held has been read again since."""
        for source, stream in self.streams():
            by_account: dict[str, list[Slice]] = {}
            for item in self.slices(source, stream):
                by_account.setdefault(item.account["id"], []).append(item)
            for items in by_account.values():
                bad = {item.slice_id: why for item in items if (why := self.damage(item, thorough=thorough))}
                past = outdated(items, bad) if bad else set()
                for item in items:
                    if item.slice_id in bad:
                        yield item.with_flaw(bad[item.slice_id]), item.slice_id in past

    def unreadable(self) -> list[str]:
        """Journals of which lines are damaged: what goes with its line is not missed."""
        paths = sorted([*self.root.glob("journal/*/*.jsonl"), *self.root.glob("ledger/*.jsonl")])
        return [f"{path}: {lines} lines" for path in paths if (lines := Journal(path).unreadable)]

    def streams(self) -> list[tuple[str, str]]:
        """Source and stream of everything that ever landed."""
        folders = {(path.parent.name, path.name) for path in (self.root / "raw").glob("*/*")}
        return sorted(folders | {(p.parent.name, p.stem) for p in (self.root / "journal").glob("*/*.jsonl")})

    def rewrite(self, item: Slice, change: Callable[[str], str]) -> int:
        """Replace each line of a slice's body by `change(line)`; for forgetting. Returns how many lines changed.

        The new body has a name of its own, and the envelope that names it is the commit: a slice is whole at any
        moment. Bodies that it no longer names go. Raises DamagedError.
        """
        folder = self.folder(item.source, item.stream, item.account["id"])
        with locked(self.root / "landing.lock"):  # whoever listed the slice before another rewrote it has an old name
            if not item.flaw:
                item = self._envelope(folder / f"{item.slice_id}.json", None)
            changed = sum(change(line) != line for line in self._lines(item))
            if changed:
                temporary = folder / f".{item.slice_id}.rewritten.part"
                with _writer(temporary) as (out, stored):
                    out.writelines(change(line) for line in self._lines(item))
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
                name = f"{item.slice_id}.{secrets.token_hex(4)}.jsonl.zst"
                os.replace(temporary, folder / name)
                item = replace(item, body={"name": name, **stored.told()})
                _write_atomically(folder / f"{item.slice_id}.json", sealed(item))
            named = item.body["name"] if item.body else f"{item.slice_id}.jsonl.zst"
            for path in folder.glob(f"{item.slice_id}*.jsonl.zst"):
                if path.name != named:
                    path.unlink()
        return changed

    def withdraw(self, source: str, stream: str, account: str) -> int:
        """Take back all slices of an account, of a file the name. Returns how many there were."""
        folder = self.folder(source, stream, account)
        with locked(self.root / "landing.lock"):
            items = self.slices(source, stream, account)
            self._journal(source, stream).withdraw(lambda entry: entry["account"]["id"] == account)
            for item in items:  # an envelope first: it is the commit
                (folder / f"{item.slice_id}.json").unlink(missing_ok=True)
                for body in folder.glob(f"{item.slice_id}*.jsonl.zst"):
                    body.unlink()
        return len(items)

    def remove_leftovers(self, before: datetime) -> None:
        """Remove what writers that were killed before `before` left: it is part of no slice."""
        known = {
            entry["slice_id"] for stream in self.streams() for entry in self._journal(*stream).entries
        }  # the body of a slice whose envelope is gone is no leftover
        for path in [*self.root.glob("raw/*/*/*/.*"), *self.root.glob("raw/*/*/*/*.jsonl.zst")]:
            slice_id = path.name.partition(".")[0]
            whole = slice_id in known or path.with_name(f"{slice_id}.json").is_file()
            if not whole and path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)


def day_of(record: Record, path: str, zone: ZoneInfo) -> str:
    """The ISO day of a record in `zone`: of a date as it is, of an ISO timestamp or epoch milliseconds converted."""
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return UNDATED if value in (None, "") else _day(str(value), zone)


@lru_cache(maxsize=10_000)
def _day(text: str, zone: ZoneInfo) -> str:
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
    """A record as it is stored; a line that orjson cannot keep exactly begins with a space."""
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
    except TypeError:  # a number of more than 64 bits, or nested deep
        return " " + json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n"


def of_line(line: str) -> Record:
    """Raises ValueError, or RecursionError, for what is no record."""
    record: Record = json.loads(line) if line[:1] == " " else orjson.loads(line)
    return record


def _safe(name: str) -> str:
    """A folder name for an account or file name: harmless whatever the vendor calls it, and still told apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".") or "_"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


# -- files


class _Hashing:
    """A file that knows the size and the checksum of what went through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self._size = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        return self._passed(self._file.read(size))

    def write(self, content: bytes) -> int:
        self._passed(content)
        return self._file.write(content)

    def _passed(self, content: bytes) -> bytes:
        self._digest.update(content)
        self._size += len(content)
        return content

    def told(self) -> dict[str, Any]:
        return {"size": self._size, "sha256": self._digest.hexdigest()}


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return {"size": body["size"], "sha256": body["sha256"]}


@contextmanager
def _writer(path: Path) -> Iterator[tuple[io.TextIOWrapper, _Hashing]]:
    """A compressed text file; what was stored is told once it is closed."""
    with open(path, "wb") as file:
        stored = _Hashing(file)
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        with io.TextIOWrapper(
            compressor.stream_writer(cast(IO[bytes], stored), closefd=False), encoding="utf-8"
        ) as out:
            yield out, stored


def _lines(file: IO[bytes] | _Hashing) -> Iterator[str]:
    with zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], file), closefd=False) as raw:
        yield from io.TextIOWrapper(raw, encoding="utf-8", newline="\n")


def _read_lines(path: Path) -> Iterator[Record]:
    with open(path, "rb") as file:
        for line in _lines(file):
            yield of_line(line)


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
