"""Which table a file feeds, if any: the one that explains most of it.

A table is only thought of when all that it needs is there. Every column of the file that it has a word for counts, one
that hardly any other kind of file has three times. What is no table competes too: a file that is better explained as
support tickets feeds nothing, however well its `Status` column would do for a stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from b2b_pipeline.configuration.currencies import KNOWN
from b2b_pipeline.files import sends
from b2b_pipeline.files.cells import cited
from b2b_pipeline.files.look import Export, Seen
from b2b_pipeline.files.vocabulary import (
    Kind,
    Preset,
    Wanted,
    listed,
    meanings,
    others,
    phrases,
    plain,
    presets,
    says,
    tables,
)

TELLING = 3  # how many ordinary columns one counts for that hardly any other kind has
SUMS, COUNTS = "email_summary", "counts of e-mails"
IDS = {"opp_id", "cost_id", "event_id", "touch_id"}  # what two rows must not share; of leads, `lead_id`
ANYBODYS = phrases("record id, id, datensatz id, id de fiche d informations, id de registro, id do registro, id record")
MISSING = {
    "spend": "what was spent", "campaign_id": "the campaign", "amount": "the amount", "opp_id": "the deal",
    "stage": "the stage or what is won", "date_day": "the day", "category": "the category or supplier",
    "email": "an e-mail address or lead id", "entered_at": "when the stage was entered", "to_stage": "the stage",
    "event_type": "the event", "event_at": "when it was", "touched_at": "when it was",
    "channel": "the channel or what it was", "currency": "the currency", "per_eur": "the rate",
    "send_id": "the e-mail", "open": "who opened or clicked", "sends": "to how many it was sent",
}  # fmt: skip


@dataclass(frozen=True)
class Match:
    """A kind of file and what of the file it explains: our column -> the file's; `told`: what only this kind has.

    asked: those of our columns whose header may mean something else. preset: the export that it is, if that is known.
    """

    kind: Kind
    found: dict[str, Seen]
    asked: frozenset[str]
    told: list[Seen]
    points: int
    missing: tuple[str, ...]
    preset: Preset | None = None


def recognise(export: Export) -> tuple[Match | None, str]:
    """The kind of file that it is and why not, when it feeds no table."""
    preset = known(export.columns)
    matches = [_match(kind, export.columns, preset) for kind in tables().values()]
    able = [match for match in matches if not match.missing and _is_sure(match, export.columns)]
    rivals = [_match(kind, export.columns) for kind in others().values()]
    if not any(match.kind.table in ("email_event", SUMS) for match in able):
        rivals += [match for match in matches if match.kind.table == SUMS]
    foreign = max(rivals, key=lambda match: match.points)
    best = max(able, key=lambda match: match.points, default=None)
    explained = foreign.points - (TELLING - 1) * len(foreign.told)
    named = len(foreign.told) > 2 or (foreign.told and explained * 2 >= len(export.columns))
    if best is not None and (foreign.points < best.points or not foreign.told):
        return best, ""
    if named and foreign.kind.table == SUMS:
        why = sends.why_none(foreign.found, export.columns, foreign.kind.columns["send_id"])
        return None, f"it looks like {COUNTS} ({_listed(foreign.told)}), but {why or 'no column says who opened'}"
    if named:
        return None, f"it looks like {foreign.kind.name} ({_listed(foreign.told)})"
    near = max(matches, key=lambda match: (len(match.told) > 0, match.points))
    lacks = " or ".join(MISSING.get(name, name) for name in near.missing[:1])
    if near.told and lacks:
        nearest = near.preset.name if near.preset else near.kind.table
        return None, f"{nearest} is the nearest ({_listed(near.told)}), but no column holds {lacks}"
    return None, "no column says that a row is a lead, a deal, a day of spend, a cost or an e-mail event"


def known(columns: list[Seen]) -> Preset | None:
    """The export that most headers name, two at least."""

    def named(preset: Preset) -> int:
        return sum(column.is_one_of(preset.headers) for column in columns)

    most, second = sorted(presets(), key=named, reverse=True)[:2]
    return most if named(most) > max(1, named(second)) else None


def _match(kind: Kind, columns: list[Seen], preset: Preset | None = None) -> Match:
    preset = preset if preset is not None and preset.table == kind.name else None
    found, asked = _found(kind, columns)
    mapped = {column.header for column in found.values()}
    telling = kind.tells.union(preset.headers) if preset else kind.tells
    told = [column for column in columns if column.is_one_of(telling, kind.objects)]
    points = sum(
        TELLING if column in told else column.header in mapped or column.is_one_of(kind.beside, kind.objects)
        for column in columns
    )
    there = {*found, *(preset.asked if preset else ())}
    missing = tuple(group[0] for group in kind.needs if not any(ours in there for ours in group))
    said = list(_told_by_cells(kind, found, columns))
    return Match(kind, found, asked, [*told, *said], points + TELLING * len(said), missing, preset)


def _told_by_cells(kind: Kind, found: dict[str, Seen], columns: list[Seen]) -> Iterator[Seen]:
    """Columns that tell what kind of file it is by what they hold, whatever they are called."""
    match kind.name:
        case "opportunity" if "stage" in found and _outcomes(found["stage"]):
            yield found["stage"]
        case "email_event" if "event_type" in found and _are(found["event_type"], frozenset(meanings("events"))):
            yield found["event_type"]
        case "cost_ledger":
            yield from (c for c in columns if c.is_one_of(listed("bookings")) and _are(c, listed("spending")))


def _is_sure(match: Match, columns: list[Seen]) -> bool:
    """Whether what was found can only be this table."""
    found, told = match.found, match.told
    match match.kind.name:
        case "spend":
            counted = "impressions" in found or "clicks" in found
            if "spend" in match.asked or not {"campaign_id", "ad_group_id", "ad_id"} & set(found):
                return bool(told) and counted and "date_day" in found
            return counted or "date_day" in found or "account_id" in found or len(told) > 1
        case "email_event":
            return found["event_type"] in told and _are(found["event_type"], frozenset(meanings("events")))
        case "lead":
            people = any(column.is_one_of(listed("people"), match.kind.objects) for column in columns)
            known = "email" in found or people or not found["lead_id"].is_one_of(ANYBODYS)
            asking = any(re.search(r"[?\uff1f]|^question \d", column.header, re.I) for column in columns)  # a survey
            signed_up = "email" in found and "created_at" in found and 2 * match.points >= len(columns) and not asking
            return known and (bool(told) or signed_up)
        case "opportunity":
            by_header = any(column.is_one_of(match.kind.tells, match.kind.objects) for column in told)
            return by_header or (bool(told) and "amount" in found)  # games and lawsuits are won too
        case "email_recipients":
            return len(told) > 1 and any(found[ours].values for ours in ("sent", "open", "click") if ours in found)
        case "email_summary":
            return len(told) > 1 and _counts_sends(match, columns)
        case "fx_rate":
            return set(found["currency"].values) <= KNOWN and len(found) * 2 >= len(columns)
    return bool(told)


def _counts_sends(match: Match, columns: list[Seen]) -> bool:
    """Whether the rows are e-mails that each went to many at one time. Of text messages nobody counts opens."""
    found, recipients = match.found, tables()["email_recipients"].columns["recipient_id"].words
    one_each = any(
        column.is_one_of(recipients) or (column.has_addresses and not _is_ours(column)) for column in columns
    )
    if one_each or sends.why_none(found, columns, match.kind.columns["send_id"]):
        return False
    reached = next((found[ours] for ours in ("sends", "deliveries") if ours in found), None)
    if reached is None:
        return "opens" in found and "opens" not in match.asked
    opened = "opens" in found or any(column.is_one_of(listed("openings")) for column in columns)
    return opened and any(sends.number(value) > 1 for value in reached.values)


def _found(kind: Kind, columns: list[Seen]) -> tuple[dict[str, Seen], frozenset[str]]:
    """Our column -> the file's, each used once; by the surest phrase that the file has. And which are to be asked."""
    free, found, asked = list(columns), {}, set()
    for ours, wanted in kind.columns.items():
        fitting = [c for c in free if c.holds(wanted.holds) and _may_be(ours, c, kind)]
        column = _chosen(ours, wanted, fitting, kind.objects)
        if column is None and (column := _headed(fitting, wanted.asked, kind.objects)) is not None:
            asked.add(ours)
        if column is not None:
            found[ours] = column
            free.remove(column)
    return found, frozenset(asked)


def _may_be(ours: str, column: Seen, kind: Kind) -> bool:
    if ours == "email" and kind.table == "lead" and len(column.values) * 2 < column.filled:
        return False  # whom so many rows share is none of the leads
    if ours == "region" and _are(column, listed("conditions")):
        return False
    if ours == "category" and _are(column, listed("spending")):
        return False
    if kind.table == SUMS and kind.columns[ours].holds == "count" and not sends.may_count(ours, column):
        return False
    own = ours in IDS or (ours, kind.table) in (("lead_id", "lead"), ("send_id", SUMS))
    return not own or column.is_unique or not column.values


def _chosen(ours: str, wanted: Wanted, fitting: list[Seen], objects: frozenset[str]) -> Seen | None:
    filled = [column for column in fitting if column.values]
    if ours == "stage":
        named = [column for column in filled if column.is_one_of(wanted.words, objects)]
        if (best := max(named, key=_outcomes, default=None)) is not None and _outcomes(best):
            return best
    if wanted.holds == "event":  # when it was tells more than whether
        dated = [column for column in filled if column.is_dated]
        return next((c for among in (dated, filled, fitting) if (c := _headed(among, wanted.words, objects))), None)
    column = _headed(filled, wanted.words, objects) or _headed(fitting, wanted.words, objects)
    if column is None and wanted.holds == "email":
        return next((c for c in filled if not _is_ours(c)), None)
    return column


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


def _outcomes(column: Seen) -> int:
    """Of how deals end, won and lost, how many a column says."""
    return sum(any(says(outcome, value) for value in column.values[:200]) for outcome in ("won", "lost"))


def _are(column: Seen, words: frozenset[str]) -> bool:
    """Whether most of what a column says is among `words`."""
    few = column.values[:20]
    return sum(plain(value) in words for value in few) * 2 >= len(few) > 0


def _listed(columns: list[Seen]) -> str:
    return ", ".join(cited(column.header) for column in columns[:4])
