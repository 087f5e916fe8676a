"""How each loader lays out a source in a warehouse: one file per loader and source, `presets/<loader>_<source>.yaml`.

A stream of the source is made of the loader's tables, record by record in the vendor's own shape. So the source's own
mappings, checks and metrics go on as they are, and a team that changes from its loader to our connector keeps its ids.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).with_name("presets")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rows(_Part):
    """Rows of another table that belong to a row.

    by: their column -> ours. only: column -> the value that it has. newest: of several, the one with the greatest.
    columns: member of a list -> column.
    """

    table: str
    by: dict[str, str]
    only: dict[str, str] = {}
    newest: str = ""
    columns: dict[str, str] = {}


class StreamTable(_Part):
    """The table that a stream is made of.

    columns: dotted path in the vendor's record -> column, or `joined.column`. What the stream asks for beside them is
    the column of that name, `prefix` in the place of what it begins with; names are the same whatever their case and
    their marks: IsDeleted, is_deleted. needs: the paths without which numbers would be wrong.
    keys, sums: where a row of the stream is made of several (devices, networks, hours): the paths that tell the
    stream's rows apart, and those that are added up; of the others the greatest counts.
    newest: of a table that keeps every version of a row: its id, and the column of which the greatest counts.
    day: of a report, the column of the day. account: of several accounts in one table, the column.
    of_account: path -> what of the account stands there, where rows do not say it.
    joined: name -> a row of another table. lists: path -> rows of another table, as a list; of one column named "",
    its values alone. gone: path -> columns that say, too, that a row was deleted at the vendor: true, or an id.
    grain: the columns that tell the loader's rows apart, where it may append what was restated: the newest counts.
    """

    table: str
    columns: dict[str, str] = {}
    prefix: dict[str, str] = {}
    needs: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    newest: tuple[str, str] | None = None
    day: str = ""
    account: str = ""
    of_account: dict[str, Literal["id", "currency", "time_zone"]] = {}
    joined: dict[str, Rows] = {}
    lists: dict[str, Rows] = {}
    gone: dict[str, tuple[str, ...]] = {}
    grain: tuple[str, ...] = ()


class Swept(_Part):
    """The table with the ids of all that there is of an object, as in `record_present`."""

    object: str
    table: str
    id: str


class AccountsTable(_Part):
    """Where the loader keeps the accounts; `newest` of several rows of one."""

    table: str
    id: str
    name: str = ""
    currency: str = ""
    time_zone: str = ""
    newest: str = ""


class Preset(_Part):
    """A source as a loader lays it out.

    facts: where the layout is known from. synced: the column that says when the loader wrote a row, or, with `loads`,
    its table of finished loads, in which of them. active: the column by which it marks the newest version of a row.
    text: paths that begin so are text, as the vendor gives them. dates: paths of days without a time. split: path ->
    what stands between the parts of what is a list to us. json: paths of lists and objects that may come as text.
    limits: what the loader does not tell, a line each: `b2b doctor` repeats them.
    doubt: why no table is whole but those of `present`, which tell by an id that is there no more that it is gone.
    """

    loader: Literal["fivetran", "airbyte", "dlt"]
    source: str
    facts: str
    synced: str
    loads: str = ""
    active: str = ""
    text: str = ""
    dates: tuple[str, ...] = ()
    split: dict[str, str] = {}
    json_: tuple[str, ...] = Field(default=(), alias="json")
    limits: tuple[str, ...] = ()
    doubt: str = ""
    accounts: AccountsTable | None = None
    streams: dict[str, StreamTable]
    present: tuple[Swept, ...] = ()

    @property
    def provided(self) -> frozenset[str]:
        """Names of the streams that can be had from it."""
        return frozenset({*self.streams, *(["present"] if self.present else [])})


@cache
def presets() -> dict[tuple[str, str], Preset]:
    """Source and loader -> preset."""
    found: dict[tuple[str, str], Preset] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        given: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        preset = Preset(**given)
        found[preset.source, preset.loader] = preset
    return found


def provided(source: str, loader: str) -> frozenset[str]:
    """The streams of a source that can be had from a loader's tables; none where its layout is not known."""
    found = presets().get((source, loader))
    return found.provided if found else frozenset()


def plain(name: str) -> str:
    """A name without case and marks: IsDeleted, is_deleted and `campaign.id` are isdeleted and campaignid."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
