"""`pipeline.yaml`: what to read, and what its words mean. Secrets are never in it; they come from the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from b2b_pipeline.configuration.currencies import FIXED_DAILY, KNOWN, Given
from b2b_pipeline.configuration.file_mapping import FILES, FileMapping
from b2b_pipeline.configuration.targets import Target
from b2b_pipeline.configuration.words import nearest, words_of_sources

if TYPE_CHECKING:
    pass

FIRST_FIXING = date(1999, 1, 4)
# What numbers can be split by everywhere, and the keys of an answer.
TAKEN = {
    "account", "ad_account", "campaign", "campaign_name", "capture_type", "channel", "company", "complete", "country",
    "currency", "date", "day", "denominator", "metric", "model", "month", "numerator", "owner", "platform", "product",
    "quarter", "region", "source", "stage", "status", "type", "value", "week", "year",
    # of further sources
    "community", "content_type", "form", "landing_page", "network", "outlet", "page", "property", "search_type", "site",
    "subscription_plan", "survey", "ticket_channel", "ticket_priority", "ticket_status", "tone", "topic", "utm_medium",
    "utm_source", "device",
    # the columns of the queries themselves
    "age", "axis", "component", "date_day", "n_entered", "n_mature", "n_rows", "n_values", "of_axis", "period", "seen",
    "sign", "which",
    # what a number is held against
    "attainment", "because", "before", "before_complete", "change", "change_rate", "difference", "target",
}  # fmt: skip
Location = tuple[int | str, ...]
Complaint = tuple[Location, str]  # where it stands, and what is wrong


def inconsistent(wrong: Iterable[Complaint]) -> list[InitErrorDetails]:
    """What only shows when all of the file is looked at, as pydantic tells what it finds itself."""
    return [
        InitErrorDetails(type=PydanticCustomError("inconsistent", "{why}", {"why": why}), loc=location, input=None)
        for location, why in wrong
    ]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, given: Any) -> Any:
        """`hubspot:` with nothing behind it switches HubSpot on as it comes."""
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if value is not None or name not in cls.model_fields}
        return {} if given is None else given


class Landed(_Section):
    """Where a loader has landed a source. `url`: the environment variable with the warehouse's SQLAlchemy URL."""

    loader: Literal["fivetran", "airbyte", "dlt"]
    in_schema: str = Field(alias="schema", description="its schema; in BigQuery its dataset")
    url: str = "WAREHOUSE_SOURCE_URL"


class SourceConfig(_Section):
    """One source. `accounts` and `streams` empty mean all; `fields` maps our columns to custom fields.

    `ended`: account -> the last day that it was used; days after it are whole without it.
    `warehouse`: it is not asked itself, but read from where a loader has landed it.
    """

    accounts: list[str] = []
    streams: list[str] = []
    ended: dict[str, date] = {}
    fields: dict[str, str] = {}
    options: dict[str, str] = {}
    warehouse: Landed | None = None


class Stages(_Section):
    """The stage list, in order, and what each source calls them."""

    order: list[str] = ["lead", "mql", "sal", "sql", "opportunity", "customer"]

    @field_validator("order")
    @classmethod
    def _usable(cls, order: list[str]) -> list[str]:
        if len(set(order)) < len(order):
            raise ValueError("a stage is named twice")
        for stage in ("mql", "sql"):
            if stage not in order:
                raise ValueError(f"{stage} is missing, which metrics count; map your own stage to it under its source")
        return order

    def rank(self, stage: str) -> int:
        return self.order.index(stage)

    def of(self, source: str) -> dict[str, str]:
        """A source's own words -> our stages."""
        words: dict[str, str] = getattr(self, source)
        return words


class Exclude(_Section):
    """What does not count. It is stored and counted, but in no metric."""

    email_domains: list[str] = []
    email_patterns: list[str] = []
    opportunity_types: list[str] = ["Renewal"]

    @field_validator("email_domains")
    @classmethod
    def _domains(cls, given: list[str]) -> list[str]:
        domains = [domain.strip().lower().removeprefix("@") for domain in given]
        for domain in domains:
            if not domain or set(domain) & set("@*/ "):
                raise ValueError(f"{domain!r} is not a domain such as example.com")
        return domains

    @field_validator("email_patterns")
    @classmethod
    def _patterns(cls, given: list[str]) -> list[str]:
        patterns = [pattern.strip().lower() for pattern in given]
        for pattern in patterns:
            if "@" not in pattern and "*" not in pattern:
                raise ValueError(f"{pattern!r} matches no address: write test@* or *@example.com")
        return patterns


class Identity(_Section):
    """Who is who. `shared_emails`: pseudonyms of addresses that many people share, as `b2b doctor` shows them."""

    shared_emails: list[str] = []

    @field_validator("shared_emails")
    @classmethod
    def _pseudonyms(cls, given: list[str]) -> list[str]:
        for word in given:
            if not re.fullmatch(r"h1:[0-9a-f]{32}(@\S+)?", word):
                raise ValueError(
                    "a shared address is given as `b2b doctor` shows it: h1:… and its domain, never in clear"
                )
        return given

    @property
    def shared_keys(self) -> list[str]:
        """Their keys in `identity_link`."""
        return ["email:" + word.removeprefix("h1:").partition("@")[0] for word in self.shared_emails]


class Channels(_Section):
    """Channel rules, first match wins: click id, UTM medium, the vendor's own source. See docs/semantics.md."""

    click_ids: dict[str, str] = {
        "gclid": "paid_search", "msclkid": "paid_search", "fbclid": "paid_social", "li_fat_id": "paid_social",
        "ttclid": "paid_social", "twclid": "paid_social",
    }  # fmt: skip
    utm_medium: dict[str, str] = {
        "cpc": "paid_search", "ppc": "paid_search", "paidsearch": "paid_search",
        "paid_social": "paid_social", "paidsocial": "paid_social", "social_paid": "paid_social",
        "display": "display", "banner": "display", "cpm": "display", "email": "email", "newsletter": "email",
        "organic": "organic_search", "social": "organic_social", "referral": "referral",
        "affiliate": "partner", "partner": "partner", "event": "events", "webinar": "events",
    }  # fmt: skip
    paid: list[str] = ["paid_search", "paid_social", "display", "video"]
    not_marketing: list[str] = ["direct", "offline", "unknown"]

    @cached_property
    def known(self) -> frozenset[str]:
        """Every channel that the rules can give, and the lists name."""
        rules = [getattr(self, name) for name in type(self).model_fields if name not in ("paid", "not_marketing")]
        return frozenset(
            {*self.paid, *self.not_marketing, "other", *(name for rule in rules for name in rule.values())}
        )


if not TYPE_CHECKING:  # with the words of each source, which its own folder defines
    Stages = create_model("Stages", __base__=Stages, __doc__=Stages.__doc__, **words_of_sources("stages"))
    Channels = create_model("Channels", __base__=Channels, __doc__=Channels.__doc__, **words_of_sources("channels"))


class Dimensions(_Section):
    """What leads and deals can be split by beside our own dimensions: words of yours, such as `industry`.

    Each is filled from the source's field of that name, or from the one that `fields` of the source names; from a file
    by `dimensions` of its table.
    """

    lead: list[str] = []
    opportunity: list[str] = []

    @field_validator("lead", "opportunity")
    @classmethod
    def _names(cls, given: list[str]) -> list[str]:
        for name in given:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
                raise ValueError(f"{name!r} is no name such as industry: small letters, digits and _")
        return given

    def complaints(self) -> Iterator[tuple[Location, str]]:
        for kind in type(self).model_fields:
            named = getattr(self, kind)
            for number, name in enumerate(named):
                if name in TAKEN or name in named[:number]:
                    yield ("dimensions", kind, number), f"{name!r} is there already: take another name"


class Limits(_Section):
    """`max_quarantined`: share of a slice's rows above which all of it fails. `backfill_days`: days per run.

    `max_file_mb`: the largest dropped file that is read, and what it may unpack to.
    """

    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    backfill_days: int = Field(default=120, ge=1)
    row_drop: float = Field(default=0.5, ge=0, le=1)
    max_file_mb: int = Field(default=200, ge=1)


class Alerts(_Section):
    """Where state changes are told. The webhook's URL is a secret: name the environment variable that holds it."""

    webhook_env: str = "B2B_ALERT_WEBHOOK"


class Config(_Section):
    """The whole of `pipeline.yaml`."""

    timezone: str = "UTC"
    currency: str = "EUR"
    start_date: date = Field(description="the first day of the history, such as 2026-01-31")
    system_of_record: str = Field(description="the source whose opportunities count, such as salesforce or files")
    currencies: dict[str, Given] = {}
    gross_margin: Decimal | None = Field(default=None, ge=0, le=1, decimal_places=6)
    sources: dict[str, SourceConfig] = {}
    stages: Stages = Stages()
    channels: Channels = Channels()
    exclude: Exclude = Exclude()
    identity: Identity = Identity()
    dimensions: Dimensions = Dimensions()
    inbox: str = "inbox"
    files: dict[str, FileMapping] = {}
    targets: list[Target] = []
    limits: Limits = Limits()
    alerts: Alerts = Alerts()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}: {nearest(value, available_timezones(), 'Europe/Berlin')}")
        return value

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in KNOWN:
            raise ValueError(f"unknown currency {value!r}: {nearest(value, KNOWN, 'EUR or USD, fixed by the ECB')}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if wrong := [*self._complaints()]:
            raise ValidationError.from_exception_data("Config", inconsistent(wrong))
        return self

    def _complaints(self) -> Iterator[tuple[Location, str]]:
        """What only shows when all of the file is looked at: where it stands, and what is wrong."""
        if self.start_date > datetime.now(self.zone).date():
            yield ("start_date",), f"{self.start_date} is in the future: there is nothing to read yet"
        if self.start_date < FIRST_FIXING:
            yield ("start_date",), f"{self.start_date} is before the first exchange rates of the ECB ({FIRST_FIXING})"
        if self.currency not in {"EUR", *FIXED_DAILY, *self.currencies}:
            yield ("currency",), f"the ECB does not fix {self.currency}: give a peg or rates under `currencies`"
        for code in self.currencies:
            if code not in KNOWN - {"EUR"}:
                yield ("currencies", code), f"unknown currency {code!r}: {nearest(code, KNOWN, 'AED')}"
        choices = [*self.sources, FILES]
        if self.system_of_record not in choices:
            why = f"{self.system_of_record!r} is not switched on: choose one of {', '.join(sorted(choices))}"
            yield ("system_of_record",), why
        for vendor in type(self.stages).model_fields.keys() - {"order"}:
            for word, stage in getattr(self.stages, vendor).items():
                if stage not in self.stages.order:
                    why = f"stage {stage!r} is not in stages.order: {', '.join(self.stages.order)}"
                    yield ("stages", vendor, word), why
        if self.dimensions != Dimensions():
            yield from self.dimensions.complaints()
        for number, target in enumerate(self.targets):
            for part, why in target.complaints():
                yield ("targets", number, *part), why
        for name, mapping in self.files.items():
            for table, given in mapping.tables.given().items():
                known = getattr(self.dimensions, table, [])
                for dimension in sorted({*getattr(given, "dimensions", ())} - {*known}):
                    why = f"it is not under dimensions.{table}: add it there"
                    yield ("files", name, "tables", table, "dimensions", dimension), why
            for complaint in mapping.unknown_names(self.stages.order, KNOWN):
                place, _, why = complaint.partition(": ")
                yield ("files", name, *place.split(".")), why

    @cached_property
    def zone(self) -> ZoneInfo:
        """The reporting time zone."""
        return ZoneInfo(self.timezone)

    def last_day(self, source: str, account: str) -> date | None:
        """The last day of an account that has ended, by the configuration."""
        ended = self.sources[source].ended if source in self.sources else {}
        return next((day for name, day in ended.items() if plain_id(name) == plain_id(account)), None)


def dimension_fields(config: Config, source: str, table: str) -> dict[str, str]:
    """Each further dimension of a core table -> the field of a source that fills it."""
    own = config.sources[source].fields
    return {name: own.get(name, name) for name in getattr(config.dimensions, table, ())}


def plain_id(account: str) -> str:
    """An account id without what people leave out or put in: dashes (Google Ads), `act_` (Meta Ads), a checksum
    (Salesforce: 15 of 18)."""
    plain = re.sub(r"\W", "", account).removeprefix("act_")
    return plain[:15] if len(plain) == 18 and not plain.isdigit() else plain
