"""`pipeline.yaml`: what to read, and what its words mean. Secrets are never in it; they come from the environment."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from b2b_pipeline.configuration.currencies import FIXED_DAILY, KNOWN, Given
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.files.mapping import FileMapping

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FIRST_FIXING = date(1999, 1, 4)
Location = tuple[int | str, ...]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, given: Any) -> Any:
        """`hubspot:` with nothing behind it switches HubSpot on as it comes."""
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if value is not None or name not in cls.model_fields}
        return {} if given is None else given


class SourceConfig(_Section):
    """One source. `accounts` and `streams` empty mean all; `fields` maps our columns to custom fields.

    `ended`: account -> the last day that it was used; days after it are whole without it.
    """

    accounts: list[str] = []
    streams: list[str] = []
    ended: dict[str, date] = {}
    fields: dict[str, str] = {}
    options: dict[str, str] = {}


class Stages(_Section):
    """The stage list, in order, and what each source calls them."""

    order: list[str] = ["lead", "mql", "sal", "sql", "opportunity", "customer"]
    hubspot: dict[str, str] = {
        "subscriber": "lead", "lead": "lead", "marketingqualifiedlead": "mql", "salesqualifiedlead": "sql",
        "opportunity": "opportunity", "customer": "customer",
    }  # fmt: skip
    salesforce: dict[str, str] = {"Working - Contacted": "mql"}

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
        "ttclid": "paid_social",
    }  # fmt: skip
    utm_medium: dict[str, str] = {
        "cpc": "paid_search", "ppc": "paid_search", "paidsearch": "paid_search",
        "paid_social": "paid_social", "paidsocial": "paid_social", "social_paid": "paid_social",
        "display": "display", "banner": "display", "cpm": "display", "email": "email", "newsletter": "email",
        "organic": "organic_search", "social": "organic_social", "referral": "referral",
        "affiliate": "partner", "partner": "partner", "event": "events", "webinar": "events",
    }  # fmt: skip
    hubspot_source: dict[str, str] = {
        "ORGANIC_SEARCH": "organic_search", "PAID_SEARCH": "paid_search", "PAID_SOCIAL": "paid_social",
        "SOCIAL_MEDIA": "organic_social", "EMAIL_MARKETING": "email", "REFERRALS": "referral",
        "AI_REFERRALS": "referral", "DIRECT_TRAFFIC": "direct", "OFFLINE": "offline", "OTHER_CAMPAIGNS": "other",
    }  # fmt: skip
    salesforce_campaign_type: dict[str, str] = {
        "Email": "email", "Webinar": "events", "Conference": "events", "Trade Show": "events",
        "Advertisement": "display", "Partners": "partner", "Referral Program": "referral",
    }  # fmt: skip
    google_ads_type: dict[str, str] = {
        "SEARCH": "paid_search", "SHOPPING": "paid_search", "PERFORMANCE_MAX": "paid_search", "SMART": "paid_search",
        "LOCAL": "paid_search", "LOCAL_SERVICES": "paid_search", "HOTEL": "paid_search", "TRAVEL": "paid_search",
        "MULTI_CHANNEL": "paid_search",
        "DISPLAY": "display", "DEMAND_GEN": "display", "DISCOVERY": "display", "VIDEO": "video",
    }  # fmt: skip
    paid: list[str] = ["paid_search", "paid_social", "display", "video"]
    not_marketing: list[str] = ["direct", "offline", "unknown"]

    @cached_property
    def known(self) -> frozenset[str]:
        """Every channel that the rules can give, and the lists name."""
        rules = (
            self.click_ids, self.utm_medium, self.hubspot_source, self.salesforce_campaign_type, self.google_ads_type,
        )  # fmt: skip
        return frozenset(
            {*self.paid, *self.not_marketing, "other", *(name for rule in rules for name in rule.values())}
        )


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
        from b2b_pipeline.metrics.query import TAKEN

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
    limits: Limits = Limits()
    alerts: Alerts = Alerts()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}: {_nearest(value, available_timezones(), 'Europe/Berlin')}")
        return value

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in KNOWN:
            raise ValueError(f"unknown currency {value!r}: {_nearest(value, KNOWN, 'EUR or USD, fixed by the ECB')}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        wrong = [
            InitErrorDetails(type=PydanticCustomError("inconsistent", "{why}", {"why": why}), loc=location, input=None)
            for location, why in self._complaints()
        ]
        if wrong:
            raise ValidationError.from_exception_data("Config", wrong)
        return self

    def _complaints(self) -> Iterator[tuple[Location, str]]:
        """What only shows when all of the file is looked at: where it stands, and what is wrong."""
        from b2b_pipeline.connectors import SOURCES

        if self.start_date > datetime.now(self.zone).date():
            yield ("start_date",), f"{self.start_date} is in the future: there is nothing to read yet"
        if self.start_date < FIRST_FIXING:
            yield ("start_date",), f"{self.start_date} is before the first exchange rates of the ECB ({FIRST_FIXING})"
        if self.currency not in {"EUR", *FIXED_DAILY, *self.currencies}:
            yield ("currency",), f"the ECB does not fix {self.currency}: give a peg or rates under `currencies`"
        for code in self.currencies:
            if code not in KNOWN - {"EUR"}:
                yield ("currencies", code), f"unknown currency {code!r}: {_nearest(code, KNOWN, 'AED')}"
        for name in self.sources:
            if name not in SOURCES:
                yield ("sources", name), f"unknown source: {_nearest(name, SOURCES)}"
                continue
            streams = [stream.name for stream in SOURCES[name].streams]
            for number, stream in enumerate(self.sources[name].streams):
                if stream not in streams:
                    yield ("sources", name, "streams", number), f"unknown stream: {_nearest(stream, streams)}"
        choices = [*self.sources, "files"]
        if self.system_of_record not in choices:
            why = f"{self.system_of_record!r} is not switched on: choose one of {', '.join(sorted(choices))}"
            yield ("system_of_record",), why
        elif self.system_of_record in SOURCES and self.sources[self.system_of_record].streams:
            on = SOURCES[self.system_of_record].switched_on(self)
            if not any("opportunity" in stream.feeds for stream in on):
                yield ("system_of_record",), f"no stream of {self.system_of_record} under `streams` gives opportunities"
        for vendor in ("hubspot", "salesforce"):
            for word, stage in getattr(self.stages, vendor).items():
                if stage not in self.stages.order:
                    why = f"stage {stage!r} is not in stages.order: {', '.join(self.stages.order)}"
                    yield ("stages", vendor, word), why
        if self.dimensions != Dimensions():
            yield from self.dimensions.complaints()
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
    """An account id without what people leave out or put in: dashes (Google Ads), a checksum (Salesforce: 15 of 18)."""
    return re.sub(r"\W", "", account)[:15]


class _Words(yaml.SafeLoader):
    """YAML whose scalars are text or nothing. What expects a number or a day makes it one and complains in its place;
    an account id keeps its zeros and `no` stays a word."""


_Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


COMPONENT = "B2BPipelineComponent"


def load_config(path: Path | None = None) -> Config:
    """Read and validate `pipeline.yaml` (default: `B2B_CONFIG`, else ./pipeline.yaml), or a component's `defs.yaml`.

    Raises ConfigError with file, line, what is wrong and what would be right, a line for each mistake.
    """
    path = path or Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml")
    node, data = _read(path)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        found = sorted(
            (_line(node, item["loc"]), ".".join(map(str, item["loc"])), _why(item)) for item in error.errors()
        )
        raise ConfigError("\n".join(f"{path}:{line}: {place}: {why}" for line, place, why in found)) from None


def _read(path: Path) -> tuple[yaml.Node, Any]:
    """The file as YAML nodes, which know their lines, and as data."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; `make setup` writes one, B2B_CONFIG names another")
    try:
        raw = path.read_bytes()
        text = unicodedata.normalize("NFC", raw.decode("utf-8-sig"))
        loader = _Words(text)
        node = loader.get_single_node()
        repeated = sorted(_repeated(node)) if node else []
        if repeated:
            raise ConfigError("\n".join(f"{path}:{line}: {why}" for line, why in repeated))
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                f"{path}:1: expected settings such as `timezone: Europe/Berlin`; `make setup` writes them"
            )
        node = _of_component(node)
        return node, loader.construct_document(node)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:{raw.count(10, 0, error.start) + 1}: not UTF-8: save the file as UTF-8") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{path}:{text.count(chr(10), 0, error.position) + 1}: an unprintable character") from None
    except yaml.MarkedYAMLError as error:
        why = str(error.problem)
        mark = error.context_mark if "expected ':'" in why else error.problem_mark  # where the key is, not what follows
        hint = ": indent with spaces" if "\\t" in why else ""
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {why}{hint}") from None


def _of_component(node: yaml.MappingNode) -> yaml.Node:
    """The settings in the `defs.yaml` of the Dagster component, else the file's own."""
    parts = {key.value: value for key, value in node.value}
    kind = parts.get("type")
    return parts.get("attributes", node) if kind and str(kind.value).endswith(COMPONENT) else node


def _repeated(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Keys that a mapping has twice, of which YAML would silently take the last."""
    waiting, seen = [node], {id(node)}  # an alias may lead back to where it is
    while waiting:
        node = waiting.pop()
        below = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, _ in node.value:
                line, word = key.start_mark.line + 1, str(key.value)
                if word in first:
                    yield line, f"{word} stands on line {first[word]} already: leave one of them out"
                first.setdefault(word, line)
            below = [value for _, value in node.value]
        waiting += [item for item in below if id(item) not in seen]
        seen |= set(map(id, below))


def _why(item: ErrorDetails) -> str:
    match item["type"], item["input"]:
        case "extra_forbidden", _:
            return f"unknown key: {_nearest(str(item['loc'][-1]), _keys(item['loc']))}"
        case "missing", _:
            return f"is missing: {_keys(item['loc'])[str(item['loc'][-1])] or 'it must be given'}"
        case "value_error" | "inconsistent", _:
            return item["msg"].removeprefix("Value error, ")
        case _, str(given):
            return f"{item['msg']}, not {given[:40]!r}"
    return item["msg"]


def _keys(location: Location) -> dict[str, str | None]:
    """The keys that may stand where the last part of `location` does, with what they are."""
    models: set[type[BaseModel]] = {Config}
    for part in location[:-1]:
        fields = [field for model in models for name, field in model.model_fields.items() if name == part]
        models = {model for field in fields for model in _models(field.annotation)} or models
    fields_by_name = [item for model in models for item in model.model_fields.items()]
    return {field.alias or name: field.description for name, field in fields_by_name}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _nearest(word: str, known: Iterable[str], example: str = "") -> str:
    """What was probably meant; else an example, or all that is known."""
    by_lower = {name.lower(): name for name in sorted(known)}
    near = get_close_matches(word.lower(), by_lower, 1)
    if near:
        return f"did you mean {by_lower[near[0]]}?"
    return f"use one such as {example}" if example else f"known are {', '.join(by_lower.values())}"


def _line(node: yaml.Node, location: Location) -> int:
    """The line of the deepest part of `location` that is written in the file."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
