"""Makes the sandbox's world and moves it on, a day at a time; see `generate_base` for what keeps it deterministic.

Beside the clean world there is a rough one, with accounts as real ones are: a Salesforce org west of UTC, whose dates
are its own days; Google clients that are half set up, cancelled, or below a manager of their own, and two campaigns of
one name; a HubSpot portal without UTM properties, whose campaigns have names for ids, and without Marketing Hub; people
deleted for privacy, and leads purged.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

from b2b_sandbox import generate_ads, generate_crm, generate_email, generate_files, generate_fx, generate_platforms
from b2b_sandbox.generate_base import Plan, Rows, clock
from b2b_sandbox.world import SCHEMA, World

FIXINGS_BEFORE = 10  # days of reference rates before the start


def make_world(
    path: Path, *, until: date, days: int = 180, leads: int = 3000, seed: int = 7, rough: bool = False
) -> World:
    """A new world of so many days, the last one being `until`, in a file that appears when it is complete.

    About `leads` people turn up, evenly but for weekends, season and chance. Raises FileExistsError.
    """
    if path.exists():
        raise FileExistsError(f"there is a world at {path} already")
    if days < 1 or leads < 0:
        raise ValueError("a world has at least one day, and no negative number of leads")
    plan = Plan(seed, until - timedelta(days=days - 1), leads / days, rough)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished)
    try:
        connection.executescript("pragma journal_mode = off; pragma synchronous = off;" + SCHEMA)
        settings = {"seed": seed, "start": plan.start, "leads_per_day": plan.leads_per_day, "rough": int(rough)}
        settings |= {"until": until, "now": clock(until)}
        connection.executemany("insert into setting values (?, ?)", [(k, str(v)) for k, v in settings.items()])
        write_start(plan, connection)
        for index in range(days):
            write_day(plan, plan.start + timedelta(days=index), connection)
        connection.commit()
    finally:
        connection.close()
    unfinished.replace(path)
    return World(path)


def advance(world: World, days: int = 1) -> None:
    """Moves the clock on by so many days, all or nothing."""
    start, leads_per_day = date.fromisoformat(world.setting("start")), float(world.setting("leads_per_day"))
    plan = Plan(int(world.setting("seed")), start, leads_per_day, world.is_rough)
    until = date.fromisoformat(world.setting("until"))
    with world.connect() as connection:
        for index in range(1, days + 1):
            write_day(plan, until + timedelta(days=index), connection)
        until += timedelta(days=days)
        new = {"until": str(until), "now": str(clock(until))}
        connection.executemany("update setting set value = ? where name = ?", [(v, k) for k, v in new.items()])


def write_start(plan: Plan, connection: sqlite3.Connection) -> None:
    """What is there before the first day is over."""
    rows: Rows = defaultdict(list)
    generate_ads.write_accounts(plan, rows)
    generate_platforms.write_accounts(plan, rows)
    generate_crm.write_start(plan, rows)
    generate_email.write_start(plan, rows)
    for before in range(FIXINGS_BEFORE, 0, -1):
        generate_fx.write_day(plan, plan.start - timedelta(days=before), rows)
    insert(connection, rows)


def write_day(plan: Plan, day: date, connection: sqlite3.Connection) -> None:
    """Everything that begins on a day, with its future."""
    rows: Rows = defaultdict(list)
    generate_fx.write_day(plan, day, rows)
    generate_ads.write_day(plan, day, rows)
    generate_platforms.write_day(plan, day, rows)
    generate_crm.write_day(plan, day, rows)
    generate_email.write_day(plan, day, rows)
    generate_files.write_day(plan, day, rows, connection)
    insert(connection, rows)


def insert(connection: sqlite3.Connection, rows: Rows) -> None:
    for table, batch in rows.items():
        marks = ", ".join("?" * len(batch[0]))
        connection.executemany(f"insert into {table} values ({marks})", batch)  # noqa: S608
