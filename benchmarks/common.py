"""What the measurements share: a fresh installation, the cost of a command, and a table on standard output."""

from __future__ import annotations

import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import yaml

from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support.postgres import free_port
from b2b_sandbox.server import VENDORS

CHECKOUT = Path(__file__).resolve().parents[1]
LEADS_A_DAY = 3000 / 180  # as in the demo


@dataclass(frozen=True)
class Cost:
    """What a command took with all that it started: wall clock, processor; peaks of memory, of all and of the largest
    process, and of processes."""

    seconds: float
    processor: float
    megabytes: float
    largest: float
    processes: int


@dataclass(frozen=True)
class Installation:
    """A fresh installation in a folder of its own, with its connectors pointed at a port of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    warehouse_url: str = ""

    @property
    def home(self) -> Path:
        return self.folder / ".b2b"

    @property
    def url(self) -> str:
        return self.warehouse_url or f"duckdb:///{self.home / 'warehouse.duckdb'}"

    def warehouse(self) -> Warehouse:
        return Warehouse(self.url)

    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own installation; the rest is in `.env`."""
        ours = ("B2B_", "DAGSTER_", *(f"{vendor.upper()}_" for vendor in VENDORS))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "PYTHONPATH": str(CHECKOUT), "B2B_WAREHOUSE_URL": self.url}

    @property
    def configuration(self) -> Path:
        return self.folder / "pipeline.yaml"

    def set_up(self, days: int) -> None:
        """`.env`, `pipeline.yaml` for a history that starts `days` days ago, the schema."""
        text = (CHECKOUT / ".env.example").read_text(encoding="utf-8")
        text = text.replace("/path/to/checkout", str(self.folder)).replace(":8765/", f":{self.port}/")
        (self.folder / ".env").write_text(f"{text}\nB2B_WAREHOUSE_URL={self.url}\n", encoding="utf-8")
        self.b2b("setup", "--days", str(days))

    def switch_on_everything(self) -> None:
        """Every vendor of the sandbox: those that the demo has commented out, as it has them, and the others."""
        text = self.configuration.read_text(encoding="utf-8")
        text = re.sub(rf"^  # (?=({'|'.join(VENDORS)}): )", "  ", text, flags=re.MULTILINE)
        on = yaml.safe_load(text)["sources"]
        more = "".join(f"  {vendor}: {{}}\n" for vendor in VENDORS if vendor not in on)
        text = text.replace("marketo: {}", "marketo: {fields: {industry: company}}")  # it has no industry
        self.configuration.write_text(text.replace("sources:\n", f"sources:\n{more}", 1), encoding="utf-8")

    def failed(self) -> int:
        """Of all runs until now, how many failed."""
        query = "select count(*) from runs where status = 'FAILURE'"
        return int(_sqlite(self.home / "dagster" / "history" / "runs.db", query)[0][0])

    def asked(self) -> int:
        """How many requests the sandbox has had."""
        answer = requests.get(f"http://127.0.0.1:{self.port}/_sandbox/status", timeout=60).json()
        return sum(answer["asked"].values()) - answer["asked"].get("_sandbox", 0)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`b2b …`, or any module with `-m`, in a session of its own; what it says goes to log.txt in the folder."""
        module = arguments if arguments[0] == "-m" else ("-m", "b2b_pipeline.cli", *arguments)
        with open(self.folder / "log.txt", "ab") as log:
            return subprocess.Popen(
                [sys.executable, *module], cwd=self.folder, env=self.environment(),
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def b2b(self, *arguments: str) -> Cost:
        """Run `b2b …` to its end. Raises RuntimeError with the end of its log when it fails."""
        return self.finish(self.start(*arguments))

    def finish(self, process: subprocess.Popen[bytes]) -> Cost:
        cost = follow(process)
        if process.returncode:
            raise RuntimeError((self.folder / "log.txt").read_text(errors="replace")[-3000:])
        return cost

    @contextmanager
    def sandbox(self, days: int, until: date, leads: int | None = None) -> Iterator[float]:
        """The vendors, served meanwhile; the seconds that it took to make their world and to answer."""
        began = time.monotonic()
        people = round(days * LEADS_A_DAY) if leads is None else leads
        server = self.start(
            "sandbox", "serve", "--port", str(self.port), "--days", str(days), "--leads", str(people),
            "--until", str(until), "--drops", str(self.folder / "inbox"),
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{self.port}/_sandbox/status", server)
            yield time.monotonic() - began
        finally:
            end(server)

    def runs(self) -> list[tuple[str, float, float]]:
        """Job, start and end (epoch seconds, 0 while it runs) of each Dagster run, oldest first."""
        query = "select pipeline_name, coalesce(start_time, 0), coalesce(end_time, 0) from runs order by id"
        return _sqlite(self.home / "dagster" / "history" / "runs.db", query)

    def steps(self) -> list[tuple[str, float]]:
        """Step and seconds over all Dagster runs, slowest first."""
        query = """
            select step_key, 86400 * (max(julianday(timestamp)) - min(julianday(timestamp))) from event_logs
            where dagster_event_type in ('STEP_START', 'STEP_SUCCESS') group by step_key"""
        files = (self.home / "dagster" / "history").glob("*-*.db")
        found = [step for file in files for step in _sqlite(file, query)]
        return sorted(found, key=lambda step: -step[1])


def _sqlite(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def installation(days: int, warehouse_url: str = "") -> Iterator[Installation]:
    """A fresh installation whose history starts `days` days ago, with its schema; gone afterwards."""
    with TemporaryDirectory(prefix="b2b-benchmark-", ignore_cleanup_errors=True) as folder:
        found = Installation(Path(folder), warehouse_url=warehouse_url)
        found.set_up(days)
        yield found


def follow(process: subprocess.Popen[bytes], every: float = 0.2) -> Cost:
    """Wait for a process that leads a session; look at the whole session meanwhile, for a tenth of the time at most:
    to look at many processes takes long."""
    began, used, memory, largest, many = time.monotonic(), _processor(), 0.0, 0.0, 1
    while process.poll() is None:
        looked = time.process_time()
        members = [*map(_proportional, session(process.pid))]
        memory, largest = max(memory, sum(members)), max(largest, *members, 0.0)
        many = max(many, len(members))
        time.sleep(max(every, 10 * (time.process_time() - looked)))
    return Cost(time.monotonic() - began, _processor() - used, memory, largest, many)


def _processor() -> float:
    """Seconds that children which have ended, and theirs, spent on the processor."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def session(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return found


def _proportional(process: int) -> float:
    """Megabytes of a process; memory that it shares with others is counted by its share (proc(5), Pss)."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a session, as a power cut would."""
    for member in session(process.pid):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process that leads a session; after a while, kill what is left of it."""
    process.terminate()  # not SIGINT: what was started in the background ignores it
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    kill(process)


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 600) -> None:
    """Until `url` answers; RuntimeError when its process ends, or it takes longer than `seconds`."""
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def yesterday() -> date:
    """The last day that is over in UTC, the demo's reporting time zone."""
    return datetime.now(UTC).date() - timedelta(days=1)


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table in Markdown, as README.md has it."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    print(f"\n{title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines), flush=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def load() -> str:
    """How busy the machine was over the last minute."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
