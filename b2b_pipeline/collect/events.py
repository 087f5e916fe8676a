"""What an event may say, and what is kept of it.

Nothing else is taken: a field that is not here is refused, so that no form sends more than it should. Of addresses of
pages the host and path are kept, of those that led there the host, of click ids that there was one, of the browser
whether it is a bot and of which class the device is. Without consent nobody's id is kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from b2b_pipeline.landing.spool import stamp
from b2b_pipeline.privacy import PREFIX

MOST = 50  # events of one request
UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
OF_PEOPLE = ("visitor", "email", "user", "account", "domain")  # what is not kept without consent
BY_SERVER = ("country", "user_agent")  # what only our own server can say of a visitor
_BOT = re.compile(
    r"bot\b|bot[/;-]|crawl|spider|slurp|headless|lighthouse|pagespeed|preview|monitor|uptime|pingdom|scrap|phantom|"
    r"facebookexternalhit|python|curl|wget|java/|okhttp|go-http|axios|node-fetch|httpclient|libwww|electron|prerender",
    re.IGNORECASE,
)
_TABLET = re.compile(r"ipad|tablet|playbook|silk|android(?!.*mobile)", re.IGNORECASE)
_MOBILE = re.compile(r"mobi|iphone|ipod|android|blackberry|opera mini", re.IGNORECASE)


def _web(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web:
        raise ValueError("not the address of a page, such as https://www.example.com/pricing")
    return url


def _plain(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError("control characters")
    return text


def _clear(text: str) -> str:
    """What stands for somebody already would pass for them."""
    if text.startswith(PREFIX):
        raise ValueError("a pseudonym")
    return text


Words = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Url = Annotated[str, Field(max_length=4096), AfterValidator(_plain), AfterValidator(_web)]
Id = Annotated[str, Field(pattern=r"^[\w.:@|/+=-]{1,200}$"), AfterValidator(_clear)]


class Event(BaseModel):
    """One event. `id` is made by the client and stays the same when it sends the event again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["page_view", "ping", "form_submit", "key_event", "identify", "product_event"]
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    at: datetime | None = None  # by the client's clock
    consent: Literal["granted", "denied"] = "denied"
    visitor: Id | None = None
    page: Url | None = None
    referrer: Url | Literal[""] | None = None
    engaged_ms: int | None = Field(None, ge=0, le=60_000)  # since the last one that said so
    form_id: Words | None = None
    form_name: Words | None = None
    capture_type: Words | None = None
    email: str | None = Field(None, max_length=320, pattern=r"^[^@\s:<>\"]+@[^@\s:<>\"]+\.[^@\s:<>\"]+$")
    name: Words | None = None
    user: Id | None = None
    account: Id | None = None
    domain: str | None = Field(None, max_length=253, pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
    country: str | None = Field(None, pattern=r"^[A-Z]{2}$")
    user_agent: str | None = Field(None, max_length=2000)

    @field_validator("at")
    @classmethod
    def _plausible(cls, at: datetime | None) -> datetime | None:
        """What no clock says would pass for a time: a client that counts seconds from its start, for instance."""
        if at is None:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at if 1990 < at.year < 2200 else None

    @model_validator(mode="after")
    def _says_what_it_is(self) -> Event:
        needed = {"page_view": "page", "ping": "engaged_ms", "key_event": "name", "product_event": "name"}.get(
            self.type
        )
        if needed and getattr(self, needed) is None:
            raise ValueError(f"{self.type} without {needed}")
        return self


EVENTS: TypeAdapter[list[Event]] = TypeAdapter(Annotated[list[Event], Field(min_length=1, max_length=MOST)])


def kept(event: Event, user_agent: str, click_ids: Collection[str], *, by_server: bool) -> dict[str, Any]:
    """What is written of an event: see above. Addresses are not replaced yet."""
    page = urlsplit(event.page) if event.page else None
    query = parse_qs(page.query, max_num_fields=200) if page and page.query.count("&") < 200 else {}
    agent = event.user_agent or ("" if by_server else user_agent)
    found: dict[str, Any] = {
        "id": event.id, "type": event.type, "at": stamp(event.at) if event.at else None,
        "via": "server" if by_server else "browser", "consent": event.consent,
        "host": page.hostname if page else None,
        "page": f"{page.hostname}{page.path or '/'}"[:1000] if page else None,
        "referrer": urlsplit(event.referrer).hostname if event.referrer else None,
        **{name: _plainly(query[name][0]) if name in query else None for name in UTM},
        "click_id": next((name for name in click_ids if query.get(name)), None),
        "engaged_ms": event.engaged_ms, "form_id": event.form_id, "form_name": event.form_name,
        "capture_type": event.capture_type, "name": event.name, "country": event.country,
        "device": device(agent), "is_bot": bool(_BOT.search(agent)) or (not agent and not by_server),
    }  # fmt: skip
    if event.consent == "granted":
        found |= {name: getattr(event, name) for name in OF_PEOPLE}
    return {name: value for name, value in found.items() if value is not None}


def device(user_agent: str) -> str | None:
    if not user_agent:
        return None
    return "tablet" if _TABLET.search(user_agent) else "mobile" if _MOBILE.search(user_agent) else "desktop"


def _plainly(text: str) -> str | None:
    """A word of a query, which may hold anything, percent-encoded bytes that are no text too."""
    plain = "".join(letter for letter in text if letter.isprintable()).strip()[:200]
    return plain or None
