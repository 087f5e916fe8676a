"""Small vectorised helpers that mappings share. A cell that does not fit stays: the contract quarantines it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pandas as pd

from b2b_pipeline.configuration.config import Channels, Config, dimension_fields
from b2b_pipeline.privacy import EXCLUDED_BY, PREFIX

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

NO_ACCOUNT = dict.fromkeys(("account_id", "account_domain", "asset"))  # of a touch of a person
NOT_AT_THIS_LEVEL = "-"  # of what is part of a key and has nothing at this level: a key is never empty


def column(records: pd.DataFrame, path: str) -> pd.Series:
    """The column at a dotted path, or nulls when no record has it; empty text is null."""
    if path not in records.columns:
        return pd.Series(None, index=records.index, dtype=object)
    values = records[path]
    blank = values.to_numpy() == ""
    return values.mask(blank, None) if blank.any() else values


def core_rows(records: pd.DataFrame, context: MappingContext, source_id: pd.Series, **columns: Any) -> pd.DataFrame:
    """Rows of a core table, one per record, with the columns that every one of them has."""
    origin = {"source": context.source, "source_account": context.account.id, "source_id": source_id}
    return pd.DataFrame({**origin, **columns}, index=records.index)


def followed_rows(
    records: pd.DataFrame, context: MappingContext, followers: pd.Series, network: str, name: Any, is_public: Any
) -> pd.DataFrame:
    """`community_daily` of an account of a social network, of which only is told how many follow it."""
    untold = dict.fromkeys(("new_members", "active_members", "topics", "posts", "likes", "pageviews"))
    day = column(records, "day")
    return core_rows(
        records, context, day, date_day=day, community_id=context.account.id, community_name=name, network=network,
        is_public=is_public, members=followers, **untold,
    )  # fmt: skip


def member(values: pd.Series, name: str) -> pd.Series:
    """The member of that name of each cell that is an object, else null."""
    return values.map(lambda cell: cell.get(name) if isinstance(cell, dict) else None).astype(object)


def email_links(
    records: pd.DataFrame, context: MappingContext, source_id: pd.Series, record_key: pd.Series, addresses: pd.Series,
    updated: pd.Series,
) -> pd.DataFrame:  # fmt: skip
    """`identity_link`: one row per record and address of it (a pseudonym, or a list of them), so often as it may stand.

    A record that is deleted still belongs to its person.
    """
    known = records.assign(id=source_id, key=record_key, address=addresses, at=utc(updated)).explode("address")
    key = email_key(known["address"])
    rows = core_rows(
        known, context, known["id"], from_key=known["key"], to_key=key, rule="email", updated_at=known["at"],
        date_day=local_day(known["at"], context.config.zone), is_deleted=False,
    )  # fmt: skip
    return rows[key.notna()].drop_duplicates(["from_key", "to_key"])


def record_key(source: str, kind: str, ids: pd.Series) -> pd.Series:
    """`salesforce:contact:<id>`, null where there is no id."""
    keys = ids.map(f"{source}:{kind}:{{}}".format, na_action="ignore").astype(object)
    return keys.where(keys.notna(), None)


def addresses(records: pd.DataFrame, *names: str) -> pd.Series:
    """A list of the addresses of each record, that of the first field first."""
    cells = zip(*(column(records, name) for name in names), strict=True)
    return pd.Series([[word for word in row if isinstance(word, str)] for row in cells], records.index, dtype=object)


def meant(values: pd.Series, words: Mapping[Any, bool], what: str) -> pd.Series:
    """What each value means; one that is not known, or not there, becomes text, which the contract refuses."""
    found = values.map(words).astype(object)
    return found.where(found.notna(), f"{what} " + values.astype("string").fillna("unknown"))


def stage_entries(
    records: pd.DataFrame, context: MappingContext, ids: pd.Series, at: pd.Series, stage: Any,
    updated: pd.Series | None, **columns: Any,
) -> pd.DataFrame:  # fmt: skip
    """`stage_event`: one row per record, that entered a stage then; `columns`: `object`, `vendor_stage`, and others."""
    entered = utc(at)
    given = {
        "object_id": ids, "entered_at": entered, "changed_at": entered, "date_day": local_day(at, context.config.zone),
        "from_stage": None, "to_stage": stage, "updated_at": None if updated is None else utc(updated),
        "is_deleted": False, **columns,
    }  # fmt: skip
    return core_rows(records, context, given.pop("source_id", ids), **given)


def staged(statuses: pd.Series, context: MappingContext) -> pd.Series:
    """The stage that each status stands for, null where it is none."""
    found = statuses.map(context.stages).astype(object)
    return found.where(found.notna(), None)


# Where changes of a lead's status are told, but not the status that it was created with: that is the one that its first
# change left, or the one that it still has. No single record says which change was the first, so each gives evidence,
# and the earliest counts: a change that left a stage says the lead was in it before, one that entered it says it was
# not (`is_deleted`). In the table the greatest version wins, so the version of evidence counts back from the lead's
# creation; the status that a lead has now is the weakest and has none.


def status_at_creation(
    records: pd.DataFrame, context: MappingContext, ids: pd.Series, created: pd.Series, status: pd.Series
) -> pd.DataFrame:
    """`stage_event`: leads in the stage of their present status since their creation, unless a change disproves it."""
    stage = staged(status, context)
    rows = stage_entries(records, context, ids, created, stage, None, object="lead", vendor_stage=status)
    return rows[stage.notna()]


def status_changes(
    records: pd.DataFrame, context: MappingContext, ids: pd.Series, created: pd.Series, at: pd.Series, old: pd.Series,
    new: pd.Series, source_id: pd.Series,
) -> pd.DataFrame:  # fmt: skip
    """`stage_event`: each change of a lead's status into a stage, and what each tells about the status at creation."""
    before, after = staged(old, context), staged(new, context)
    enters = after.notna() & after.ne(before)
    since, changed = (
        pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601").rename("at") for times in (created, at)
    )

    def rows(when: pd.Series, stage: pd.Series, word: pd.Series, updated: pd.Series, **more: Any) -> pd.DataFrame:
        told = {"object": "lead", "vendor_stage": word, "source_id": source_id, **more}
        return stage_entries(records, context, ids, when, stage, updated, **told)

    evidence = since - (changed - since)
    entries = rows(at, after, new, at, from_stage=before)[enters]
    was = rows(created, before, old, evidence)[before.notna() & (changed >= since)]
    was_not = rows(created, after, new, evidence, is_deleted=True)[enters & (changed > since)]
    return pd.concat([entries, was, was_not])


def record_links(
    records: pd.DataFrame, context: MappingContext, source_id: pd.Series, from_key: pd.Series, to_key: pd.Series,
    rule: str, updated: pd.Series,
) -> pd.DataFrame:  # fmt: skip
    """`identity_link`: one row per record that has a `to_key`, by a merge or a conversion."""
    at = utc(updated)
    rows = core_rows(
        records, context, source_id, from_key=from_key, to_key=to_key, rule=rule, updated_at=at,
        date_day=local_day(at, context.config.zone), is_deleted=False,
    )  # fmt: skip
    return rows[to_key.notna()]


def touches_of_fields(
    records: pd.DataFrame, context: MappingContext, source_id: pd.Series, record_key: pd.Series, created: pd.Series,
    updated: pd.Series, field: Callable[[str], pd.Series],
) -> pd.DataFrame:  # fmt: skip
    """`touchpoint`: one row per record whose custom fields (by our names for them) tell by which click or medium it
    came, when it was created."""
    rules = context.config.channels
    medium = field("utm_medium")
    clicks = {name: field(name) for name in rules.click_ids}
    evidence = ("utm_medium=" + medium.astype("string")).astype(object).where(medium.notna(), None)
    for name, values in clicks.items():
        evidence = evidence.where(values.isna(), name)
    channel = channel_of(
        rules, click_ids=clicks, utm_medium=medium, vendor_source=None, vendor_rules={}, index=records.index
    )
    rows = core_rows(
        records, context, source_id,
        touch_id=record_key + ":original", record_key=record_key, touched_at=utc(created),
        date_day=local_day(created, context.config.zone), channel=channel, campaign_id=field("utm_campaign"),
        touch_type="original", evidence=evidence, is_deleted=False, updated_at=utc(updated), **NO_ACCOUNT,
    )  # fmt: skip
    return rows[evidence.notna()]


def own_fields(config: Config, source: str, table: str, standard: Mapping[str, str]) -> list[str]:
    """The fields that may be missing at an account: those that a table's columns (our name -> the field, unless the
    configuration names another), the channels of leads and dimensions are taken from."""
    named = {**standard, **config.sources[source].fields}
    clicks = ("utm_medium", "utm_campaign", *config.channels.click_ids) if table == "lead" else ()
    found = [named.get(name, "") for name in (*standard, *clicks)]
    return [*filter(None, [*found, *dimension_fields(config, source, table).values()])]


def tells_channel(source: str) -> Callable[[Config], Iterable[str]]:
    """What touches of `touches_of_fields` can state: nothing where no custom field is named."""

    def stated(config: Config) -> list[str]:
        named = {name for name, key in config.sources[source].fields.items() if key}
        return ["channel"] if named & {"utm_medium", *config.channels.click_ids} else []

    return stated


def of_one_channel(config: Config) -> Iterable[str]:
    """What touches of persons state that are all of one channel: which touch was whose first, but no channel, which
    would be that of everybody who came by another one that nobody reads."""
    return ("touch_type",)


def host_of(addresses: pd.Series) -> pd.Series:
    """The host of each web address, without `www`."""
    clean = addresses.astype("string").str.strip().str.lower()
    return clean.str.extract(r"^(?:https?://)?(?:www\.)?([^/:?#\s]+)", expand=False).astype(object)


def text(values: pd.Series) -> pd.Series:
    """Ids as text, also where a missing neighbour made a column of numbers float."""
    return values.map(lambda value: f"{value:.0f}" if isinstance(value, float) else str(value), na_action="ignore")


def decimal_text(values: pd.Series) -> pd.Series:
    """Numbers as decimal text, without an exponent (1.0E7); what is none stays as it is."""
    return values.map(_decimal, na_action="ignore")


def _decimal(value: Any) -> Any:
    try:
        return format(Decimal(str(value)), "f")
    except InvalidOperation:
        return value


def units(micros: pd.Series) -> pd.Series:
    """Micros (whole numbers, or text of them) -> units as exact decimal text. What is none will fail as an amount."""
    text = micros.astype("string")
    parts = text.str.extract(r"^(-?)(\d+)$")
    digits = parts[1].str.zfill(7)
    units = parts[0] + digits.str[:-6] + "." + digits.str[-6:]
    return units.fillna(text + " micros").astype(object).where(micros.notna(), None)


def major_units(amounts: pd.Series, currency: pd.Series, digits: Mapping[str, int]) -> pd.Series:
    """Whole numbers of a currency's smallest unit -> units as exact decimal text; two digits where `digits` has none.

    What is none will fail as an amount.
    """
    places = currency.astype("string").str.upper().map(digits).fillna(2).astype(int)
    return pd.Series(
        [_major(amount, places_) for amount, places_ in zip(amounts, places, strict=True)],
        index=amounts.index, dtype=object,
    )  # fmt: skip


def _major(amount: Any, places: int) -> Any:
    if amount is None or amount != amount:  # NaN
        return None
    if isinstance(amount, bool) or not (isinstance(amount, int) or (isinstance(amount, float) and amount.is_integer())):
        return f"{amount} of the smallest unit"
    return format(Decimal(int(amount)).scaleb(-places), "f")


def require(records: pd.DataFrame, *paths: str) -> None:
    """Raises KeyError for a field that no record has, though it decides what counts: that would say something."""
    for path in paths:
        if path not in records.columns:
            raise KeyError(path)


def utc_from_seconds(values: pd.Series) -> pd.Series:
    """Epoch seconds -> UTC timestamps; anything else stays as it is."""
    numbers = pd.to_numeric(values, errors="coerce")
    stamps = pd.to_datetime(numbers, unit="s", utc=True, errors="coerce").astype(object)
    return stamps.where(stamps.notna(), values)


def utc_from_ms(values: pd.Series) -> pd.Series:
    """Epoch milliseconds (numbers or text) -> UTC timestamps; anything else stays as it is."""
    numbers = pd.to_numeric(values, errors="coerce")
    stamps = pd.to_datetime(numbers, unit="ms", utc=True, errors="coerce").astype(object)
    return stamps.where(stamps.notna(), values)


def email_domain(hashes: pd.Series) -> pd.Series:
    """`h1:…@example.com` -> `example.com`; null where there is no address."""
    domain = hashes.astype("string").str.extract(rf"^{PREFIX}[0-9a-f]+@(.+)$", expand=False)
    return domain.astype(object).where(domain.notna(), None)


def email_key(hashes: pd.Series) -> pd.Series:
    """The identity key of an e-mail pseudonym: `email:<hash>`, null where there is none."""
    digest = hashes.astype("string").str.extract(rf"^{PREFIX}([0-9a-f]+)(?:@.*)?$", expand=False)
    return ("email:" + digest).astype(object).where(digest.notna(), None)


def excluded_by(records: pd.DataFrame) -> pd.Series:
    """The exclusion pattern that landing found on the record, if any."""
    return column(records, EXCLUDED_BY)


def described(given: Mapping[str, pd.Series], index: pd.Index) -> pd.Series:
    """The column `dimensions`: a JSON object of the dimensions (name -> values) that a record has; null without any."""
    if not given:
        return pd.Series([None] * len(index), index=index, dtype=object)
    rows = (dict(zip(given, map(_words, cells), strict=True)) for cells in zip(*given.values(), strict=True))
    said = [{name: text for name, text in row.items() if text} for row in rows]
    texts = [json.dumps(row, ensure_ascii=False, sort_keys=True) if row else None for row in said]
    return pd.Series(texts, index=index, dtype=object)


def _words(cell: Any) -> str:
    """A cell as text, flags in JSON's words as every API writes them; without NUL, which PostgreSQL's JSON refuses."""
    if cell is None or cell != cell:  # NaN
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell).replace("\x00", "\ufffd").strip()


def channel_of(
    rules: Channels,
    *,
    click_ids: Mapping[str, pd.Series],
    utm_medium: pd.Series | None,
    vendor_source: pd.Series | None,
    vendor_rules: Mapping[str, str],
    index: pd.Index,
) -> pd.Series:
    """The channel of each touch by the channel rules: click id, UTM medium, vendor source, else `unknown`."""
    channel = pd.Series(None, index=index, dtype=object)
    for name, values in click_ids.items():
        if name in rules.click_ids:
            channel = channel.where(channel.notna() | values.isna(), rules.click_ids[name])
    if utm_medium is not None:
        channel = channel.fillna(
            utm_medium.astype("string").str.strip().str.lower().astype(object).map(rules.utm_medium)
        )
    if vendor_source is not None:
        channel = channel.fillna(vendor_source.map(vendor_rules))
    return channel.astype(object).where(channel.notna(), "unknown")


def utc(values: pd.Series) -> pd.Series:
    """ISO timestamps or dates (text; without zone: UTC), or timestamps -> UTC timestamps; what does not parse stays."""
    stamps = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601").astype(object)
    return stamps.where(stamps.notna(), values)


def start_of_day(days: pd.Series, zone: ZoneInfo, not_before: pd.Series) -> pd.Series:
    """Calendar days (ISO text) -> the UTC timestamp at which each begins in `zone`, or `not_before`, the later of both.

    A vendor's date without a time is a day, not an instant: its column `date_day` is the date as given.
    """
    starts = pd.to_datetime(days, errors="coerce", format="%Y-%m-%d")
    # Where midnight does not exist the day begins an hour later; where it comes twice, with the first.
    starts = starts.dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward").dt.tz_convert("UTC")
    earliest = pd.to_datetime(not_before, utc=True, errors="coerce", format="ISO8601")
    later = starts.where(~(earliest > starts), earliest).astype(object)
    return later.where(starts.notna(), days)


def present(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per id that a sweep found: `{"object", "id", "swept_at"}`, the table's columns."""
    return pd.DataFrame(
        {
            "source": context.source, "source_account": context.account.id, "source_id": records["id"],
            "object": records["object"], "object_id": records["id"], "swept_at": utc(records["swept_at"]),
            "date_day": local_day(records["swept_at"], context.config.zone),
        },
        index=records.index,
    )  # fmt: skip


def local_day(values: pd.Series, zone: ZoneInfo) -> pd.Series:
    """The calendar day in `zone` of each timestamp (as `utc` reads them), as ISO text; null where there is none."""
    stamps = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    days = stamps.dt.tz_convert(zone).dt.strftime("%Y-%m-%d")
    return days.astype(object).where(stamps.notna(), None)
