"""The words of exports: how people's tools head the columns of each kind of file, in the big vendors' languages.

`words/<kind>.yaml` has them for each kind of file that feeds a table, `words/others.yaml` for what feeds none, and
`words/parts.yaml` what decides parts of a proposal; `words/presets.yaml` knows exports by their headers. A phrase
stands for itself whatever its case, accents, blanks and punctuation; what a header has in parentheses, its unit and its
object (`Deal - `) are left out by the reader, and the first phrase that a file has wins. They are those of the exports
of Google Ads, Meta Ads Manager, LinkedIn, Microsoft Advertising, HubSpot, Salesforce, Pipedrive, Zoho, Dynamics,
Mailchimp, Klaviyo and other e-mail tools as documented, or published by their users, in 2026.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources
from typing import Any, Literal

import yaml

Holds = Literal["date", "month", "money", "number", "email", "count", "flag", "event", "text"]


def plain(text: str) -> str:
    """Letters and digits alone, in lower case and without accents: `Amount_Spent` and `amount spent` are one."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W_]", "", "".join(c for c in decomposed if not unicodedata.combining(c)))


def phrases(text: str) -> tuple[str, ...]:
    """Of a list with commas: each phrase plain, in order."""
    return tuple(word for part in text.split(",") if (word := plain(part)))


@dataclass(frozen=True)
class Wanted:
    """A column of ours: what it holds, and the phrases that head it, the surest first.

    asked: phrases that may head it, and may mean something else: whoever reads the proposal has to say so.
    """

    holds: Holds
    words: tuple[str, ...]
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of file. `tells`: phrases that hardly any other kind has. `beside`: what else such files tend to have.

    table: which one it feeds, None when it is none; some are fed by two kinds.
    needs: groups of columns of which one each must be found. objects: what headers may name first (`Deal - Title`).
    """

    name: str
    table: str | None
    needs: tuple[tuple[str, ...], ...]
    objects: frozenset[str]
    tells: frozenset[str]
    beside: frozenset[str]
    columns: dict[str, Wanted]


@dataclass(frozen=True)
class Preset:
    """An export that is known by its `headers`: two at least, and more than another has.

    source: where they are from, and when. account, channel, captured: what all rows are of. asked: what of ours no
    column says. apart: headers that tell rows of one campaign and day apart. rows, wanted: the header of the column
    that only rows fill, and its words of those that count. remark: what else can be made of it.
    """

    name: str
    table: str
    headers: tuple[str, ...]
    source: str
    account: str | None
    channel: str | None
    captured: str | None
    asked: tuple[str, ...]
    apart: tuple[str, ...]
    rows: str | None
    wanted: tuple[str, ...]
    remark: str | None


@cache
def presets() -> tuple[Preset, ...]:
    """The exports that are known by their headers."""
    return tuple(
        Preset(
            name=given["name"],
            table=given["table"],
            headers=phrases(given["headers"]),
            source=given["source"].strip(),
            account=given.get("account"),
            channel=given.get("channel"),
            captured=given.get("captured"),
            asked=tuple(given.get("asked", ())),
            apart=phrases(given.get("apart", "")),
            rows=plain(given["rows"]["column"]) if "rows" in given else None,
            wanted=tuple(given.get("rows", {}).get("values", ())),
            remark=given.get("remark"),
        )
        for given in _yaml("presets")
    )


@cache
def tables() -> dict[str, Kind]:
    """The kinds of files that feed a table."""
    names = (
        "spend", "cost_ledger", "opportunity", "lead", "stage_event", "touchpoint", "email_event", "email_recipients",
        "email_summary", "fx_rate",
    )  # fmt: skip
    kinds = {name: _read(name) for name in names}
    return {name: _kind(name, given, given.get("table", name)) for name, given in kinds.items()}


@cache
def others() -> dict[str, Kind]:
    """What is none of the tables, under the name that people have for it."""
    return {name: _kind(name, given) for name, given in _read("others").items()}


def _read(name: str) -> dict[str, Any]:
    return dict(_yaml(name))


def _yaml(name: str) -> Any:
    written = resources("b2b_pipeline.files").joinpath("words", f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(written)


def _kind(name: str, given: dict[str, Any], table: str | None = None) -> Kind:
    return Kind(
        name,
        table,
        tuple(tuple(group) for group in given.get("needs", ())),
        frozenset(phrases(given.get("objects", ""))),
        frozenset(phrases(given["tells"])),
        frozenset(phrases(given.get("beside", ""))),
        {
            ours: Wanted(item["holds"], phrases(item["words"]), phrases(item.get("asked", "")))
            for ours, item in given.get("columns", {}).items()
        },
    )


@cache
def parts() -> dict[str, Any]:
    """The words that decide parts of a proposal, as `words/parts.yaml` has them."""
    return _read("parts")


@cache
def listed(name: str) -> frozenset[str]:
    """A list of header phrases out of the parts."""
    return frozenset(phrases(parts()[name]))


@cache
def meanings(name: str) -> dict[str, str]:
    """Of `channels`, `events`, `categories` or `sorts_of_sends`: a word of a file, plain -> ours."""
    return {word: ours for ours, words in parts()[name].items() for word in phrases(words)}


def says(outcome: str, word: str) -> bool:
    """Whether a word of a stage means `won`, `lost`, `open` or, of one or the other, `ended`."""
    return re.search("|".join(parts()["outcomes"][outcome]), word, re.I) is not None
