"""`b2b backfill`: history in few runs, with what it will cost told first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from b2b_pipeline.cli import side_by_side
from b2b_pipeline.cli.common import From, To, pipeline
from b2b_pipeline.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from b2b_pipeline.derived.gone import Sweep
    from b2b_pipeline.orchestration.launch import Launcher
    from b2b_pipeline.pipeline import Pipeline

Range = tuple[date, date]


def register(app: typer.Typer) -> None:
    app.command()(backfill)


def backfill(
    start: From = None,
    end: To = None,
    source: Annotated[list[str] | None, typer.Option(help="Several are allowed; default all.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only tell calls, quota and time.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also read days that were read before.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Only find what CRMs no longer have, now.")] = False,
) -> None:
    """Read history from the vendors and derive it. Days that are there already are left out, so it can be resumed."""
    if sweep and (start or end or plan or again):
        raise ConfigError("--sweep is of now: it takes no --from, --to, --plan or --again")
    found = pipeline()
    yesterday = datetime.now(found.config.zone).date() - timedelta(days=1)
    first, last = start or found.config.start_date, end or yesterday
    if last > yesterday:
        raise ConfigError(f"--to {last} is not over yet: the last whole day is {yesterday}")
    if first < found.config.start_date:
        raise ConfigError(f"--from {first} is before start_date {found.config.start_date} of pipeline.yaml")
    if first > last:
        raise ConfigError(f"--from {first} is after --to {last}")
    sources = source or list(found.config.sources)
    unknown = [name for name in sources if name not in found.config.sources]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: not switched on; there are {', '.join(found.config.sources)}")
    if sweep:
        _sweep(found, sources, yesterday)
        return
    opened = launchers(found, sources)
    with side_by_side.readers([] if plan else sources, opened) as ingest:
        launcher = opened()
        gaps = {name: launcher.missing(name, first, last, again=again) for name in sources}
        runs = {name: split(ranges, found.config.limits.backfill_days) for name, ranges in gaps.items()}
        for line in told_plan(found, runs):
            typer.echo(line, err=not plan)
        if plan:
            return
        problems = run(found, launcher, runs, ingest(launcher, runs), first, last)
    told = [f"{len(problems)} runs failed; what was landed stays, and the same command goes on from there"]
    refused = list(_refused(found))
    more = [f"{len(refused)} refused: correct them and run it again; `b2b files forget NAME` takes a file back"]
    if problems or refused:
        raise TransientError("; ".join([*(told if problems else []), *(more if refused else [])]))


def _sweep(found: Pipeline, sources: Sequence[str], yesterday: date) -> None:
    """List what the CRMs still have, derive, and tell what is gone since the sweep before, object by object."""
    from b2b_pipeline.connectors.registry import SOURCES
    from b2b_pipeline.derived.gone import sweeps

    streams = {
        name: [each.name for each in SOURCES[name].switched_on(found.config) if "record_present" in each.feeds]
        for name in sources
    }
    if not any(streams.values()):
        raise ConfigError(f"{', '.join(sources)}: none of them has a stream that is swept")

    def swept(launcher: Launcher, name: str, day: date, _: date) -> str:
        return launcher.sweep(name, streams[name], day)

    runs = {name: [(yesterday, yesterday)] for name, listed in streams.items() if listed}
    opened = launchers(found, [*runs])
    with side_by_side.readers([*runs], opened, swept) as read:
        launcher = opened()
        with found.warehouse.read() as connection:
            before = sweeps(connection, found.config)
        problems = [step.problem or "" for step in read(launcher, runs)]
    problems.append(launcher.derive(yesterday, yesterday))
    with found.warehouse.read() as connection:
        after = sweeps(connection, found.config)
    for line in _told_gone(before, after, sources):
        typer.echo(line)
    if failed := [problem for problem in problems if problem]:
        raise TransientError("; ".join(failed))


def _told_gone(
    before: Mapping[tuple[str, str], Sweep], after: Mapping[tuple[str, str], Sweep], sources: Sequence[str]
) -> Iterator[str]:
    for source, object_ in sorted({*before, *after}):
        if source not in sources:
            continue
        old, new, what = before.get((source, object_)), after.get((source, object_)), f"{source} {object_}"
        since = f"since {old.at:%Y-%m-%d %H:%M} UTC" if old else "in its first sweep"
        if new is None:
            yield f"{what}: not swept, so nothing of it is gone; `b2b doctor` says whether it may be listed"
        elif old and old.at == new.at:
            yield f"{what}: not swept now; {len(new.gone):,} are gone as before"
        else:
            gone = new.gone - (old.gone if old else frozenset())
            yield f"{what}: {len(gone):,} gone {since}, {new.there:,} there"


def open_launcher(found: Pipeline) -> Launcher:
    """The launcher on the instance that the UI shows. Raises ConfigError without DAGSTER_HOME."""
    return launchers(found)()


def launchers(found: Pipeline, sources: Sequence[str] = ()) -> Callable[[], Launcher]:
    """What opens a launcher on the instance that the UI shows: all is built by then, but nothing is open.

    sources: whose jobs it will run. Raises ConfigError without DAGSTER_HOME.
    """
    _prepare_dagster()
    from b2b_pipeline.orchestration.build import build_defs
    from b2b_pipeline.orchestration.jobs import ingest_job_name
    from b2b_pipeline.orchestration.launch import Launcher, announce_ranges_at_once

    announce_ranges_at_once()
    defs = build_defs(found)
    for source in sources:
        defs.resolve_job_def(ingest_job_name(source))
    return lambda: Launcher(defs, found, open_instance())


def _prepare_dagster() -> None:
    if not os.environ.get("DAGSTER_HOME"):
        raise ConfigError("DAGSTER_HOME is not set: `make setup` writes it into .env")
    import warnings

    from dagster import BetaWarning

    warnings.filterwarnings("ignore", category=BetaWarning)


def open_instance() -> DagsterInstance:
    """Dagster's instance of this home, after what a killed process left going was ended. Raises ConfigError."""
    _prepare_dagster()
    from dagster import DagsterInstance

    from b2b_pipeline.orchestration.alive import end_dead_runs

    instance = DagsterInstance.get()
    end_dead_runs(instance)
    return instance


def told_plan(found: Pipeline, runs: Mapping[str, Sequence[Range]]) -> Iterator[str]:
    """A line for each source: what its runs will take."""
    from b2b_pipeline.landing.forecast import forecast

    if not runs:
        yield "no source is switched on: only files are read"
    for name, ranges in runs.items():
        told = forecast(name, ranges, found.landing, found.config)
        quota = f"{told.calls / told.quota:.1%} of {told.quota:,} a day" if told.quota else "no daily quota known"
        about = "at least" if told.is_minimum and told.calls else "about"
        size = f"{name}: {told.days} days in {len(ranges)} runs"
        yield f"{size}, {about} {told.calls:,} calls ({quota}), {about} {told.seconds / 60:.1f} min"


def run(
    found: Pipeline,
    launcher: Launcher,
    runs: Mapping[str, Sequence[Range]],
    steps: Iterator[side_by_side.Step],
    first: date,
    last: date,
) -> list[str]:
    """Ingest the `runs` by the `steps`, then derive once what was read or is missing, and judge.

    Returns what went wrong; a source that fails holds up no other. The last day is derived in any case: something else
    may have changed. Where that is not so, of files what they can have changed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    problems: list[str] = []

    def note(problem: str) -> None:
        if problem:
            problems.append(problem)
            progress.console.print(f"failed: {problem}", markup=False, soft_wrap=True)

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {name: progress.add_task(name, total=len(ranges)) for name, ranges in runs.items() if ranges}
        for step in steps:
            progress.update(tasks[step.source], description=f"{step.source} {step.start} to {step.end}")
            if step.problem is not None:
                note(step.problem)
                progress.advance(tasks[step.source])
        task = progress.add_task("files", total=2)
        files, complaints = launcher.files()
        for name, stream in files.items():
            problem = launcher.land(name, stream)
            note(f"{name}: {problem}" if problem else "")
        for complaint in complaints:
            progress.console.print(f"left in the inbox: {complaint}", markup=False, soft_wrap=True)
        progress.advance(task)
        progress.update(task, description="core tables and KPIs")
        days = [day for ranges in (*runs.values(), launcher.underived(first, last)) for day, _ in ranges]
        if files and not days:
            note(launcher.derive_files({*files.values()}, last))
        else:
            note(launcher.derive(min(days, default=last), last))
        note(launcher.freshness())
        for line in _left_out(found):
            progress.console.print(line, markup=False, soft_wrap=True)
        progress.update(task, description="done")
        progress.advance(task)
    return problems


def _left_out(found: Pipeline) -> Iterator[str]:
    """What is landed, but in no table, and what could not be read."""
    from b2b_pipeline.core.refused import quarantined_rows, told
    from b2b_pipeline.files.inbox import troubles
    from b2b_pipeline.landing.absences import still_absent

    for source in found.config.sources:
        absent = {str(item): None for item in still_absent(found.landing.root, source, found.config)}
        yield from (f"left out: {source} account {line}" for line in absent)
    yield from (f"refused: {line}" for line in _refused(found))
    missing = [each for each in troubles(found.inbox, found.config.files, found.landing) if each.kind == "missing"]
    yield from (each.what for each in missing)
    yield from (f"quarantined: {line}" for line in quarantined_rows(found.warehouse))
    yield from (f"note: {line}" for line in told(found.warehouse))


def _refused(found: Pipeline) -> Iterator[str]:
    """Files that were not landed, and slices that are in no table."""
    from b2b_pipeline.core.refused import refused_slices
    from b2b_pipeline.files.refusals import Refusals

    yield from (each.text() for each in Refusals(found.landing.root).all() if each.state != "withdrawn")
    yield from refused_slices(found.warehouse)


def split(ranges: Iterable[Range], days: int) -> list[Range]:
    """Ranges in pieces of at most `days` days, both ends included."""
    step, one = timedelta(days=days), timedelta(days=1)
    return [
        (first + n * step, min(first + (n + 1) * step - one, last))
        for first, last in ranges
        for n in range(-(-((last - first).days + 1) // days))
    ]
