"""`pipeline.yaml`: what to read, and what its words mean. Secrets are never in it; they come from the environment."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from b2b_pipeline.errors import ConfigError
from b2b_pipeline.files.mapping import FileMapping

# ISO 4217 codes that the ECB fixes or has fixed against the euro, and the euro.
CURRENCIES = frozenset(
    "EUR USD JPY BGN CZK DKK GBP HUF PLN RON SEK CHF ISK NOK TRY AUD BRL CAD CNY HKD IDR ILS INR KRW MXN MYR NZD PHP "
    "SGD THB ZAR".split()
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(_Section):
    """One source. `accounts` empty means all that the credentials reach; `fields` maps our columns to custom fields."""

    accounts: list[str] = []
    fields: dict[str, str] = {}
    options: dict[str, str] = {}

    @field_validator("accounts", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return [str(item) for item in value] if isinstance(value, list) else value


class Stages(_Section):
    """The stage list, in order, and what each source calls them."""

    order: list[str] = ["lead", "mql", "sal", "sql", "opportunity", "customer"]
    hubspot: dict[str, str] = {
        "subscriber": "lead", "lead": "lead", "marketingqualifiedlead": "mql", "salesqualifiedlead": "sql",
        "opportunity": "opportunity", "customer": "customer",
    }  # fmt: skip
    salesforce: dict[str, str] = {"Working - Contacted": "mql"}

    def rank(self, stage: str) -> int:
        return self.order.index(stage)


class Exclude(_Section):
    """What does not count. It is stored and counted, but in no metric."""

    email_domains: list[str] = []
    email_patterns: list[str] = []
    opportunity_types: list[str] = ["Renewal"]


class Channels(_Section):
    """Channel rules, first match wins: click id, then UTM medium, then the vendor's own source. See docs/semantics.md."""

    click_ids: dict[str, str] = {
        "gclid": "paid_search", "msclkid": "paid_search", "fbclid": "paid_social", "li_fat_id": "paid_social",
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
        "SEARCH": "paid_search", "SHOPPING": "paid_search", "PERFORMANCE_MAX": "paid_search",
        "DISPLAY": "display", "DEMAND_GEN": "display", "VIDEO": "video",
    }  # fmt: skip
    paid: list[str] = ["paid_search", "paid_social", "display", "video"]
    not_marketing: list[str] = ["direct", "offline", "unknown"]


class Limits(_Section):
    """`max_quarantined`: share of a slice's rows above which the slice fails as a whole. `backfill_days`: days per run."""

    max_quarantined: float = Field(0.05, ge=0, le=1)
    backfill_days: int = Field(120, ge=1)
    row_drop: float = Field(0.5, ge=0, le=1)


class Alerts(_Section):
    """Where state changes are told. The webhook's URL is a secret: name the environment variable that holds it."""

    webhook_env: str = "B2B_ALERT_WEBHOOK"


class Config(_Section):
    """The whole of `pipeline.yaml`."""

    timezone: str = "UTC"
    currency: str = "EUR"
    start_date: date
    system_of_record: str
    gross_margin: Decimal | None = Field(None, ge=0, le=1)
    sources: dict[str, SourceConfig] = {}
    stages: Stages = Stages()
    channels: Channels = Channels()
    exclude: Exclude = Exclude()
    inbox: str = "inbox"
    files: dict[str, FileMapping] = {}
    limits: Limits = Limits()
    alerts: Alerts = Alerts()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}: use an IANA name such as Europe/Berlin")
        return value

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in CURRENCIES:
            raise ValueError(f"unknown currency {value!r}: use an ISO 4217 code that the ECB fixes, such as EUR or USD")
        return value

    @model_validator(mode="after")
    def _known_names(self) -> Config:
        from b2b_pipeline.connectors import SOURCES

        for name in self.sources:
            if name not in SOURCES:
                raise ValueError(f"unknown source {name!r}: known are {', '.join(sorted(SOURCES))}")
        if self.system_of_record not in {*self.sources, "files"}:
            raise ValueError(
                f"system_of_record {self.system_of_record!r} is not switched on: choose one of "
                f"{', '.join(sorted([*self.sources, 'files']))}"
            )
        for vendor in (self.stages.hubspot, self.stages.salesforce):
            for stage in vendor.values():
                if stage not in self.stages.order:
                    raise ValueError(f"stage {stage!r} is not in stages.order: {', '.join(self.stages.order)}")
        for name, mapping in self.files.items():
            for complaint in mapping.unknown_names(self.stages.order, CURRENCIES):
                raise ValueError(f"files.{name}.{complaint}")
        return self

    @cached_property
    def zone(self) -> ZoneInfo:
        """The reporting time zone."""
        return ZoneInfo(self.timezone)


def load_config(path: Path | None = None) -> Config:
    """Read and validate `pipeline.yaml` (default: `B2B_CONFIG`, else ./pipeline.yaml).

    Raises ConfigError with file, line, what is wrong and what would be right.
    """
    path = path or Path(os.environ.get("B2B_CONFIG", "pipeline.yaml"))
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; `make setup` writes one, B2B_CONFIG names another")
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: expected a mapping of settings")
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [
            f"{path}:{_line(node, item['loc'])}: {'.'.join(str(part) for part in item['loc']) or 'pipeline.yaml'}: "
            f"{item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False)
        ]
        raise ConfigError("\n".join(lines)) from None


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that is written in the file."""
    line = node.start_mark.line + 1 if node else 1
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
