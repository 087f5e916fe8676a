"""The cells of a dropped file: what a column is, and how its text is read as text, number, day or time."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from zoneinfo import available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

EPOCHS = {"epoch": 1, "epoch_ms": 1000}  # timestamps that count from 1970: units in a second

CATEGORIES = ("ads", "agency", "tools", "salaries_sales", "salaries_marketing", "content", "event")
EVENT_TYPES = ("sent", "delivered", "open", "click", "bounce", "unsubscribe", "spam", "dropped", "other")
# What an e-mail tool counts of a send -> the type of event that its recipients have.
SUMMED = {
    "sends": "sent", "deliveries": "delivered", "opens": "open", "clicks": "click", "bounces": "bounce",
    "unsubscribes": "unsubscribe",
}  # fmt: skip
# Table -> column -> what an empty one lacks.
COUNTED = {
    "spend": {
        "spend": "cost", "impressions": "impressions", "clicks": "clicks", "conversions_platform": "conversions",
        "conv_value_platform": "value of conversions",
    },
    "email_summary": {name: name for name in SUMMED},
    "community_daily": {
        "members": "members", "new_members": "new members", "active_members": "active members", "topics": "topics",
        "posts": "posts", "likes": "likes",
    },
    "content_daily": {
        "impressions": "impressions", "clicks": "clicks", "likes": "likes", "comments": "comments", "shares": "shares",
        "video_views": "video views",
    },
    "pr_mention": {"estimated_reach": "estimated reach"},
}  # fmt: skip
CLICK_IDS = ("gclid", "msclkid", "fbclid", "li_fat_id", "ttclid", "twclid")
DELIMITERS = (",", ";", "\t", "|")


def field_name(header: str) -> str:
    """The name under which a column is landed: dots would read as levels, a leading underscore is ours."""
    return composed(header).strip().lstrip("_").replace(".", "_")


def composed(text: str) -> str:
    """Letters as one character each (NFC), and no invisible ones: names that look the same are the same."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")


def _text(value: Any) -> Any:
    """YAML reads `12` as a number and `2026-01-01` as a date; here they are text. What it made of `no` is not known."""
    if isinstance(value, bool):
        raise ValueError("YAML reads this as true or false: put it in quotes")
    return unicodedata.normalize("NFC", str(value)) if isinstance(value, str | int | float | date) else value


def _list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Str = Annotated[str, BeforeValidator(_text)]
Words = Annotated[list[Str], BeforeValidator(_list)]
Header = Annotated[str, BeforeValidator(_text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


# -- how one column of a core table is filled


class Cell(_Section):
    """From a column of the file (`from`), or the same for all rows (`value`). A plain text means `from`."""

    source: Header | None = Field(None, alias="from")
    value: Str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"from": str(value)} if isinstance(value, str | int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Cell:
        given = [self.source is not None, self.value is not None, len(self.parts) > 1]
        if sum(given) != 1 and not getattr(self, "symbols", None):
            raise ValueError("give either `from` (a column of the file) or `value` (the same for all rows)")
        return self

    @property
    def parts(self) -> list[str]:
        """Several columns that are one cell together."""
        return [*getattr(self, "join", []), *getattr(self, "multiply", []), *getattr(self, "add", [])]

    @property
    def sources(self) -> list[str]:
        """The columns of the file that it is made of."""
        return self.parts if self.source is None else [self.source]

    @property
    def title(self) -> str | None:
        """How to call it to people."""
        return " and ".join(self.sources) or None

    @property
    def field(self) -> str | None:
        return None if self.source is None else field_name(self.source)


class Text(Cell):
    """Text. `aliases`: other spellings -> the one that counts; upper and lower case are the same.

    `{join: [First name, Last name], with: " "}` puts several columns together, those that are filled.
    """

    join: list[Header] = []
    between: str = Field(" ", alias="with")
    aliases: dict[Str, Str] = {}


class Id(Text):
    """What identifies something. One that a spreadsheet has turned into a number (`4.71E+14`) is none."""


class Choice(Text):
    """One of a few words of ours; `aliases` translates the file's words into them."""

    allowed: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _known(self) -> Choice:
        for word in (*self.aliases.values(), *([] if self.value is None else [self.value])):
            if word not in self.allowed:
                raise ValueError(f"{word!r} is none of {', '.join(self.allowed)}")
        return self


class Category(Choice):
    allowed = CATEGORIES


class EventType(Choice):
    allowed = EVENT_TYPES


class Flag(Choice):
    """Yes or no: true, yes, y, 1, x; false, no, n, 0, empty."""

    allowed = ("true", "false")


class Channel(Text):
    """A channel, or what stands for one: `aliases: {Google Ads: paid_search}`."""


class Email(Cell):
    """An e-mail address; it is replaced by a keyed hash before it reaches the disk."""


class Number(Cell):
    """A number in the file's decimal style; `12 %` is 0.12, `1.2K` is 1200.

    `scale`: what it is multiplied by, `0.000001` for micros. `{multiply: [Price, Quantity]}` multiplies columns,
    `{add: [Hard bounces, Soft bounces]}` adds them.
    """

    multiply: list[Header] = []
    add: list[Header] = []
    scale: Annotated[Decimal, Field(gt=0)] = Decimal(1)

    @model_validator(mode="after")
    def _one_way(self) -> Number:
        if self.multiply and self.add:
            raise ValueError("give either `multiply` or `add`")
        return self


class Money(Number):
    """An amount such as `$22,700.00`, `1.234,56 €`, `(12.50)` or `1.5M`, in the file's decimal style."""


class Currency(Text):
    """ISO 4217. `symbols: {"$": USD}` instead of `from`: by the sign in the amount, which means what is said here."""

    symbols: dict[Str, Str] = {}

    @property
    def by_sign(self) -> bool:
        return self.source is None and self.value is None


def _formats(formats: list[str], about: ValidationInfo) -> list[str]:
    for item in formats:
        if item in EPOCHS and about.field_name == "date":
            raise ValueError(f"{item!r} is a point in time: write `timestamp: {item}`")
        if "%" not in item and item not in EPOCHS:
            raise ValueError(
                f"{item!r} is no date format: write it like %d.%m.%Y, %m/%d/%Y, %Y-%m-%d, %d %b %Y; seconds or "
                "milliseconds since 1970 are `timestamp: epoch` or `timestamp: epoch_ms`"
            )
    return formats


Formats = Annotated[Words, BeforeValidator(_list)]


def _known_zone(value: str | None) -> str | None:
    if value is not None and value not in available_timezones():
        raise ValueError(f"unknown time zone {value!r}: use an IANA name such as Europe/Berlin")
    return value


def _zoned(formats: Iterable[str], zone: str | None) -> None:
    if zone is None and any("%z" not in item and item not in EPOCHS for item in formats):
        raise ValueError("a timestamp needs its time zone: add `zone: Europe/Berlin` (or %z where the text says it)")


class Day(Cell):
    """A calendar day. `date`: one format or several. Of several the one that reads the whole column, without a day in
    the future, is taken; where that leaves two, a cell that they read differently is refused.

    `timestamp` formats with their `zone` (or `%z` in them): the day is then that in the reporting time zone.
    """

    date: Formats = ["%Y-%m-%d"]
    timestamp: Formats = []
    zone: str | None = None

    _check = field_validator("date", "timestamp")(_formats)
    _check_zone = field_validator("zone")(_known_zone)

    @model_validator(mode="after")
    def _has_zone(self) -> Day:
        _zoned(self.timestamp, self.zone)
        return self


class Month(Day):
    """A calendar month."""

    date: Formats = ["%Y-%m"]


class Moment(Cell):
    """A point in time: `timestamp` formats with their `zone` (or `%z` in them), or `date` formats.

    Seconds since 1970 are `timestamp: epoch`, milliseconds `timestamp: epoch_ms`; they need no zone. A day without
    a time is that day in the reporting time zone.
    """

    date: Formats = []
    timestamp: Formats = []
    zone: str | None = None

    _check = field_validator("date", "timestamp")(_formats)
    _check_zone = field_validator("zone")(_known_zone)

    @model_validator(mode="after")
    def _declared(self) -> Moment:
        if bool(self.date) == bool(self.timestamp):
            raise ValueError(
                'declare how it is written: `date: "%d.%m.%Y"`, or `timestamp: "%d.%m.%Y %H:%M"` with `zone`'
            )
        _zoned(self.timestamp, self.zone)
        return self


class Occurred(Moment):
    """When something happened to a recipient; or with `flag: true` whether, and then it is dated by the send.

    A flag is a yes or no, or a count: 0 and empty are no.
    """

    flag: bool = False

    @model_validator(mode="after")
    def _declared(self) -> Occurred:
        if not self.flag:
            Moment._declared(self)  # type: ignore[operator]
        elif self.date or self.timestamp:
            raise ValueError("a flag has no date format: it is dated by the send")
        return self


# -- the tables that files feed


class When(_Section):
    """Which rows of the file belong to a table: those where `column` is not empty, or has one of `values`."""

    column: Header
    values: Words = []

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value
