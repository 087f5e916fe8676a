"""Which table a file feeds, if any: the one that explains most of it.

A table is only thought of when all that it needs is there. Every column of the file that it has a word for counts, one
that hardly any other kind of file has three times. What is no table competes too: a file that is better explained as
support tickets feeds nothing, however well its `Status` column would do for a stage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from b2b_pipeline.files.cells import cited
from b2b_pipeline.files.look import Export, Seen
from b2b_pipeline.files.vocabulary import Kind, listed, meanings, others, phrases, plain, says, tables

TELLING = 3  # how many ordinary columns one counts for that hardly any other kind has
IDS = ("opp_id", "cost_id", "lead_id")  # what two rows must not share
ANYBODYS = phrases("record id, id, datensatz id, id de fiche d informations, id de registro, id do registro, id record")
MISSING = {
    "spend": "what was spent", "campaign_id": "the campaign", "amount": "the amount", "opp_id": "the deal",
    "stage": "the stage or what is won", "date_day": "the day", "category": "the category or supplier",
    "email": "an e-mail address or lead id", "entered_at": "when the stage was entered", "to_stage": "the stage",
    "event_type": "the event", "event_at": "when it was",
}  # fmt: skip


@dataclass(frozen=True)
class Match:
    """A kind of file and what of the file it explains: our column -> the file's; `told`: what only this kind has."""

    kind: Kind
    found: dict[str, Seen]
    told: list[Seen]
    points: int
    missing: tuple[str, ...]


def recognise(export: Export) -> tuple[Match | None, str]:
    """The table that the file feeds and why not, when it is none."""
    matches = [_match(kind, export.columns) for kind in tables().values()]
    able = [match for match in matches if not match.missing and _is_sure(match, export.columns)]
    foreign = max((_match(kind, export.columns) for kind in others().values()), key=lambda match: match.points)
    best = max(able, key=lambda match: match.points, default=None)
    explained = foreign.points - (TELLING - 1) * len(foreign.told)
    named = len(foreign.told) > 2 or (foreign.told and explained * 2 >= len(export.columns))
    if best is not None and (foreign.points < best.points or not foreign.told):
        return best, ""
    if named:
        return None, f"it looks like {foreign.kind.name} ({_listed(foreign.told)})"
    near = max(matches, key=lambda match: (len(match.told) > 0, match.points))
    lacks = " or ".join(MISSING.get(name, name) for name in near.missing[:1])
    if near.told and lacks:
        return None, f"{near.kind.name} is the nearest ({_listed(near.told)}), but no column holds {lacks}"
    return None, "no column says that a row is a lead, a deal, a day of spend, a cost or an e-mail event"


def _match(kind: Kind, columns: list[Seen]) -> Match:
    found = _found(kind, columns)
    mapped = {column.header for column in found.values()}
    told = [column for column in columns if column.is_one_of(kind.tells, kind.objects)]
    points = sum(
        TELLING if column in told else column.header in mapped or column.is_one_of(kind.beside, kind.objects)
        for column in columns
    )
    missing = tuple(group[0] for group in kind.needs if not any(ours in found for ours in group))
    if kind.name == "opportunity" and "stage" in found and _says_won(found["stage"]):
        told, points = [*told, found["stage"]], points + TELLING
    if kind.name == "email_event" and "event_type" in found:
        points += TELLING
    return Match(kind, found, told, points, missing)


def _is_sure(match: Match, columns: list[Seen]) -> bool:
    """Whether what was found can only be this table."""
    found, told = match.found, match.told
    match match.kind.name:
        case "spend":
            return any(ours in found for ours in ("impressions", "clicks", "date_day", "account_id")) or len(told) > 1
        case "email_event":
            return _are_events(found["event_type"])
        case "lead":
            people = any(column.is_one_of(listed("personal")) for column in columns)
            known = "email" in found or people or not found["lead_id"].is_one_of(ANYBODYS)
            signed_up = "email" in found and "created_at" in found and 2 * match.points >= len(columns)
            return known and (bool(told) or signed_up)
    return bool(told)


def _found(kind: Kind, columns: list[Seen]) -> dict[str, Seen]:
    """Our column -> the file's, each used once; by the surest phrase that the file has."""
    free, found = list(columns), {}
    for ours, wanted in kind.columns.items():
        fitting = [c for c in free if c.holds(wanted.holds) and (ours not in IDS or c.is_unique or not c.values)]
        column = _headed(fitting, wanted.words, kind.objects)
        if ours == "stage":
            column = next((c for c in fitting if c.is_one_of(wanted.words, kind.objects) and _says_won(c)), column)
        if column is None and wanted.holds == "email":
            column = next((c for c in fitting if c.values and not _is_ours(c)), None)
        if column is not None:
            found[ours] = column
            free.remove(column)
    return found


def _headed(columns: list[Seen], words: tuple[str, ...], objects: frozenset[str]) -> Seen | None:
    """The column that the first of `words` heads; one that is headed so without its object cut off before others."""
    for word in words:
        for bare in (frozenset[str](), objects):
            if (column := next((c for c in columns if word in c.spellings(bare)), None)) is not None:
                return column
    return None


def _is_ours(column: Seen) -> bool:
    """Whether the addresses in a column are of people who work here."""
    ours = r"owner|agent|assign|\brep\b|manager|creat|edited|modified|betreuer|from|sender"
    return re.search(ours, column.header, re.I) is not None


def _says_won(column: Seen) -> bool:
    return any(says("won", value) or says("lost", value) for value in column.values[:200])


def _are_events(column: Seen) -> bool:
    few = column.values[:20]
    return sum(plain(value) in meanings("events") for value in few) * 2 >= len(few) > 0


def _listed(columns: list[Seen]) -> str:
    return ", ".join(cited(column.header) for column in columns[:4])
