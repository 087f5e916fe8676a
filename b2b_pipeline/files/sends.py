"""Counts of e-mails in a file that nobody has mapped: which of them are counts per send, and what of them is not.

A count is of recipients, each once. What counts every opening, a share, and rows of e-mails that go out day after day
would give numbers that look right and are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from b2b_pipeline.files.cells import cited
from b2b_pipeline.files.look import Seen
from b2b_pipeline.files.sheet import NO
from b2b_pipeline.files.vocabulary import Wanted, listed, meanings, parts, phrases, plain

UNIQUE = ("opens", "clicks")  # what tools count both ways
_SHARE = re.compile(r"%|\brates?\b|percent|\bpct\b|prozent|\bquote\b|\btaux\b|\btasa\b", re.I)
_EVERY = re.compile(r"total|\ball\b|gross|gesamt|\balle\b|totaux", re.I)
_ONCE = re.compile(r"uni[cqk]|distinct|eindeutig|einmalig", re.I)


@dataclass(frozen=True)
class Sort:
    """The column that says what sort of e-mail a row is, and its words: sent once, not, or not known."""

    column: Seen
    once: list[str]
    never: list[str]
    asked: list[str]


def may_count(ours: str, column: Seen) -> bool:
    """Whether a header may head a count of recipients: no share, and of what is counted both ways not every time."""
    if _SHARE.search(column.header):
        return False
    return ours not in UNIQUE or not _EVERY.search(column.header) or _ONCE.search(plain(column.header)) is not None


def why_none(found: Mapping[str, Seen], columns: list[Seen], wanted: Wanted) -> str:
    """Why counts of e-mails are none per send; empty when they are. `wanted`: the column that names the e-mail."""
    if automated := _automated(columns):
        return f"those of {cited(automated)} go out day after day, and what they add up to has no day of a send"
    if (sort := sort_of(columns)) and not (sort.once or sort.asked):
        return f"by {cited(sort.column.header)} none of them is an e-mail that is sent at one time"
    if "send_id" in found:
        return ""
    if repeated := next((column for column in columns if column.values and column.is_one_of(wanted.words)), None):
        return (
            f"several rows have the same {cited(repeated.header)}: one row per send is needed, not per day or variant"
        )
    day = next((column for column in columns if column.is_dated), None)
    return f"{f'they are by {cited(day.header)}, and ' if day else ''}no column names the send"


def sort_of(columns: list[Seen]) -> Sort | None:
    """The column by which some rows are no sends of one day, or no e-mails."""
    said = meanings("sorts_of_sends")
    for column in columns:
        sorts = {value: said.get(plain(value), "") for value in column.values}
        if column.is_one_of(listed("sorts")) and "never" in sorts.values():
            once, never, asked = ([v for v, sort in sorts.items() if sort in kinds] for kinds in _KINDS)
            return Sort(column, once, never, asked)
    return None


_KINDS = ({"once", "variants"}, {"never"}, {""})


def variants(columns: list[Seen]) -> Seen | None:
    """The column that tells variants of a test apart."""
    said = meanings("sorts_of_sends")
    for column in columns:
        if column.is_one_of(listed("variants")) and any(value.lower() not in NO for value in column.values):
            return column
        if column.is_one_of(listed("sorts")) and any(said.get(plain(value)) == "variants" for value in column.values):
            return column
    return None


def bounces(columns: list[Seen]) -> list[Seen]:
    """The columns that are bounces together, the hard ones first."""
    kinds = [phrases(words) for words in parts()["bounces"]]
    counted = [column for column in columns if column.holds("count") and may_count("bounces", column)]
    found = [next((column for column in counted if column.is_one_of(words)), None) for words in kinds]
    return [column for column in found if column is not None]


def every_time(columns: list[Seen]) -> Iterator[tuple[str, Seen]]:
    """The columns that count every opening or click."""
    for ours, words in parts()["every_time"].items():
        yield from ((ours, column) for column in columns if column.is_one_of(phrases(words)))


def exceeds(counts: list[str | None], reached: list[str | None]) -> bool:
    """Whether in any row more were counted than there were recipients."""
    return any(
        n is not None and of is not None and number(n) > number(of) for n, of in zip(counts, reached, strict=True)
    )


def number(count: str) -> int:
    return int(re.sub(r"\D", "", count))


def _automated(columns: list[Seen]) -> str:
    named = (column for column in columns if column.is_one_of(listed("automated")))
    return next((column.header for column in named if any(value.lower() not in NO for value in column.values)), "")
