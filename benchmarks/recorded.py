"""What seven vendors of different kinds answer: a record of each, how it is paged, and how each way asks for it.

Shapes are those of the connectors' contracts and of the sandbox. Nothing but the standard library is needed here: dlt's
environment reads it, too.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]

FIRST = date(2025, 9, 1)
EACH = 10_000_000  # more than a question has records: a record's number tells of which question it is
HOST = "http://static"  # in recorded answers, in the place of where they are served
TOKEN = {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}


class Drawn(NamedTuple):
    """What a record is made of: its number, `nth` of its day, which kind of the vendor's it is of."""

    chance: random.Random
    number: int
    at: datetime
    nth: int
    kind: str

    def some(self, *words: str) -> str:
        return words[self.number % len(words)]

    def seconds(self) -> int:
        return int(self.at.timestamp())

    def iso(self, later: int = 0, end: str = "Z") -> str:
        return f"{self.at + timedelta(minutes=later):%Y-%m-%dT%H:%M:%S}{end}"


class Asked(NamedTuple):
    """A request."""

    path: str
    query: Mapping[str, str]
    body: Any


class Page(NamedTuple):
    """Which page of a question an answer is: `number` of `pages`, whose `total` records begin with number `first`."""

    question: int
    number: int
    pages: int
    total: int

    @property
    def is_last(self) -> bool:
        return self.number + 1 == self.pages

    @property
    def following(self) -> str:
        """The next page, as a cursor."""
        return f"{self.question}-{self.number + 1}"


At = tuple[int, int]  # a question, and a page of it


@dataclass(frozen=True)
class Recorded:
    """One stream of one source, and the core table that `read_json` fills with it.

    window: days that the connector asks for at once; kinds: what it asks for one by one; size: records of a page.
    record, answer: as the vendor writes them. asked: which page a request is for, or what else is answered; it is given
    the records of each question. endpoint: dlt's configuration of the same, by kind and days. select: the table's
    columns, of the files at `?`.
    """

    stream: str
    table: str
    window: int
    size: int
    record: Callable[[Drawn], Record]
    answer: Callable[[list[Record], Page], Record]
    asked: Callable[[Asked, Mapping[str, int]], At | Record]
    endpoint: Callable[[str, date, date], Record]
    select: str
    kinds: tuple[str, ...] = ("",)
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    indent: int | None = None

    def questions(self, days: int) -> Iterator[tuple[str, date, date]]:
        """Kind, first and last day of each."""
        for start in range(0, days, self.window):
            last = FIRST + timedelta(days=min(start + self.window, days) - 1)
            yield from ((kind, FIRST + timedelta(days=start), last) for kind in self.kinds)

    def count(self, rows: int, days: int) -> int:
        """How many records there are: as many of each kind and day."""
        return rows // days // len(self.kinds) * len(self.kinds) * days

    def records(self, rows: int, days: int) -> Iterator[list[Drawn]]:
        """What the records of each question are made of."""
        chance, each = random.Random(1), rows // days // len(self.kinds)
        for question, (kind, first, last) in enumerate(self.questions(days)):
            places = ((first + timedelta(days=n), nth) for n in range((last - first).days + 1) for nth in range(each))
            yield [
                Drawn(chance, question * EACH + number, _moment(day, nth / each), nth, kind)
                for number, (day, nth) in enumerate(places, 1)
            ]


def _moment(day: date, share: float) -> datetime:
    """A moment of a day, wherever in Europe it is."""
    return datetime(day.year, day.month, day.day, 3, tzinfo=UTC) + timedelta(seconds=int(share * 64_800))


def record(source: Recorded, folder: Path, rows: int, days: int) -> None:
    """The answers to each question, a file a page, and of how many records each has."""
    folder.mkdir()
    totals: dict[str, int] = {}
    for question, drawn in enumerate(source.records(rows, days)):
        totals[str(question)] = len(drawn)
        each, pages = iter(drawn), max(1, -(-len(drawn) // source.size))
        for number in range(pages):
            found = [source.record(one) for one in islice(each, source.size)]
            answer = source.answer(found, Page(question, number, pages, len(drawn)))
            text = json.dumps(answer, indent=source.indent, separators=None if source.indent else (",", ":"))
            (folder / f"page-{question}-{number}.json").write_text(text, encoding="utf-8")
    (folder / "totals.json").write_text(json.dumps(totals))


def _since(moment: datetime, window: int) -> int:
    """Which window begins with a midnight in Europe, or somewhat before."""
    return max(0, ((moment + timedelta(hours=12)).date() - FIRST).days // window)


def _cursor(text: str) -> At:
    question, _, number = text.partition("-")
    return int(question), int(number)


def _after(number: int, size: int) -> At:
    """The page after a record."""
    question, place = divmod(number, EACH)
    return question, place // size


# -- Google Ads: a report, pages by a token in the body of the question

CUSTOMER = "1234567890"


def _campaign_day(drawn: Drawn) -> Record:
    chance, campaign = drawn.chance, 20_000_000_000 + drawn.nth
    return {
        "customer": {
            "resourceName": f"customers/{CUSTOMER}", "id": CUSTOMER, "currencyCode": "EUR", "timeZone": "Europe/Berlin",
        },
        "campaign": {
            "resourceName": f"customers/{CUSTOMER}/campaigns/{campaign}", "status": "ENABLED",
            "advertisingChannelType": "SEARCH", "name": f"DE | Brand | Search {drawn.nth}", "id": str(campaign),
        },
        "metrics": {
            "clicks": str(chance.randrange(300)), "videoTrueviewViews": "0", "engagements": "0",
            "conversionsValue": chance.randrange(100_000) / 100, "conversions": chance.randrange(900) / 100,
            "costMicros": str(chance.randrange(10**9)), "allConversions": chance.randrange(900) / 100,
            "impressions": str(chance.randrange(9_000)), "interactions": "3", "viewThroughConversions": "0",
        },
        "segments": {"date": f"{drawn.at:%Y-%m-%d}"},
    }  # fmt: skip


def _google_answer(found: list[Record], page: Page) -> Record:
    more = {} if page.is_last else {"nextPageToken": page.following}
    return {"results": found, "totalResultsCount": str(page.total), "fieldMask": "", **more}


_GOOGLE: Mapping[str, Record] = {  # of the account itself, which a connector asks for first
    "FROM customer_client": {
        "customerClient": {"id": CUSTOMER, "status": "ENABLED", "currencyCode": "EUR", "timeZone": "Europe/Berlin"},
    },
    "FROM conversion_action": {"customer": {"id": CUSTOMER}, "conversionAction": {"id": "1", "status": "REMOVED"}},
    "conversion_tracking_setting": {"customer": {"id": CUSTOMER}},
}  # fmt: skip


def _google_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path == "/token":
        return TOKEN
    query = asked.body["query"]
    if small := next((row for words, row in _GOOGLE.items() if words in query), None):
        return {"results": [small], "totalResultsCount": "1", "fieldMask": ""}
    if token := asked.body.get("pageToken"):
        return _cursor(token)
    first = re.search(r"BETWEEN '([0-9-]+)'", query)
    return (date.fromisoformat(first[1] if first else "") - FIRST).days // GOOGLE_ADS.window, 0


GOOGLE_ADS = Recorded(
    "campaign_daily", "spend", 31, 10_000, _campaign_day, _google_answer, _google_asked,
    lambda kind, first, last: {
        "path": f"v26/customers/{CUSTOMER}/googleAds:search", "method": "POST", "data_selector": "results",
        "json": {"query": f"SELECT campaign.id FROM campaign WHERE segments.date BETWEEN '{first}' AND '{last}'"},  # noqa: S608
        "paginator": {"type": "cursor", "cursor_path": "nextPageToken", "cursor_body_path": "pageToken"},
    },
    """
    select r.campaign.id as source_id, r.segments.date::date as date_day, r.customer.id as account_id,
        r.campaign.id as campaign_id, r.campaign.advertisingChannelType as channel, r.campaign.name as campaign_name,
        r.metrics.impressions::bigint as impressions, r.metrics.clicks::bigint as clicks,
        r.metrics.conversions::decimal(20, 6) as conversions_platform,
        r.metrics.conversionsValue::decimal(20, 6) as conv_value_platform,
        (r.metrics.costMicros::decimal(38, 0) / 1000000)::decimal(20, 6) as spend,
        r.customer.currencyCode as currency, r.customer.timeZone as account_tz
    from (select unnest(results) as r from read_json(?, maximum_object_size=100000000))""",
    environment={
        "CLIENT_ID": "client", "CLIENT_SECRET": "secret", "REFRESH_TOKEN": "token", "LOGIN_CUSTOMER_ID": CUSTOMER,
    },
    indent=2,
)  # fmt: skip


# -- Google Analytics: a report of values without names, pages by an offset in the body

PROPERTY = "properties/412233445"
DIMENSIONS = ("date", "sessionSource", "sessionMedium", "sessionCampaignName")
METRICS = ("sessions", "engagedSessions", "newUsers", "screenPageViews", "keyEvents", "userEngagementDuration")


def _visits(drawn: Drawn) -> Record:
    sessions = drawn.chance.randrange(1, 900)
    cells = (f"{drawn.at:%Y%m%d}", drawn.some("google", "linkedin", "bing"), drawn.some("cpc", "social", "organic"),
             f"DE | Brand | {drawn.nth}")  # fmt: skip
    counts = (sessions, sessions // 2, sessions // 3, sessions * 3, sessions // 20, sessions * 41)
    return {
        "dimensionValues": [{"value": cell} for cell in cells],
        "metricValues": [{"value": str(count)} for count in counts],
    }


def _ga4_answer(found: list[Record], page: Page) -> Record:
    return {
        "dimensionHeaders": [{"name": name} for name in DIMENSIONS],
        "metricHeaders": [{"name": name, "type": "TYPE_INTEGER"} for name in METRICS],
        "rows": found, "rowCount": page.total, "kind": "analyticsData#runReport",
        "metadata": {"currencyCode": "EUR", "timeZone": "Europe/Berlin"},
    }  # fmt: skip


def _ga4_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path == "/token":
        return TOKEN
    if asked.path.endswith("/accountSummaries"):
        return {"accountSummaries": [{"propertySummaries": [{"property": PROPERTY}]}]}
    if not asked.path.endswith(":runReport"):
        return {"timeZone": "Europe/Berlin", "currencyCode": "EUR", "createTime": "2024-02-01T09:30:00.123Z"}
    first = date.fromisoformat(asked.body["dateRanges"][0]["startDate"])
    return (first - FIRST).days // GA4.window, int(asked.body.get("offset", 0)) // GA4.size


GA4 = Recorded(
    "source_daily", "web_traffic_daily", 31, 10_000, _visits, _ga4_answer, _ga4_asked,
    lambda kind, first, last: {
        "path": f"v1beta/{PROPERTY}:runReport", "method": "POST", "data_selector": "rows",
        "json": {
            "dateRanges": [{"startDate": str(first), "endDate": str(last)}],
            "dimensions": [{"name": name} for name in DIMENSIONS], "metrics": [{"name": name} for name in METRICS],
        },
        "paginator": {
            "type": "offset", "limit": GA4.size, "limit_body_path": "limit", "offset_body_path": "offset",
            "total_path": "rowCount",
        },
    },
    """
    select d[1].value as source_id, strptime(d[1].value, '%Y%m%d')::date as date_day, d[2].value as utm_source,
        d[3].value as utm_medium, d[4].value as campaign_id, m[1].value::bigint as sessions,
        m[2].value::bigint as engaged_sessions, m[3].value::bigint as new_users, m[4].value::bigint as pageviews,
        m[5].value::decimal(20, 6) as key_events, m[6].value::decimal(20, 6) as engagement_seconds
    from (
        select r.dimensionValues as d, r.metricValues as m
        from (select unnest(rows) as r from read_json(?, maximum_object_size=100000000))
    )""",
    environment={"CLIENT_ID": "client", "CLIENT_SECRET": "secret", "REFRESH_TOKEN": "token"},
    indent=2,
)  # fmt: skip


# -- HubSpot: objects, found by a search for their ids and then read, with history; or listed, by a cursor

HUBSPOT_READ, HUBSPOT_SEARCHED = 50, 200
CONTACT = """company country createdate email hs_additional_emails hs_analytics_first_timestamp hs_analytics_source
    hs_analytics_source_data_1 hs_analytics_source_data_2 hs_bing_click_id hs_calculated_merged_vids
    hs_facebook_click_id hs_google_click_id hs_latest_source hs_latest_source_data_1 hs_latest_source_data_2
    hs_latest_source_timestamp hs_lead_status hs_linkedin_click_id hs_merged_object_ids hs_object_id
    hs_tiktok_click_id hubspot_owner_id lastmodifieddate lifecyclestage state utm_campaign utm_medium"""


def _contact(drawn: Drawn) -> Record:
    made, changed = drawn.iso(end=".120Z"), drawn.iso(30, ".120Z")
    source, stage = drawn.some("PAID_SEARCH", "ORGANIC_SEARCH", "DIRECT_TRAFFIC"), drawn.some("lead", "customer")
    told = {
        "company": f"Company {drawn.number % 5000}", "country": "Germany", "createdate": made,
        "email": f"person.{drawn.number}@company-{drawn.number % 5000}.example", "hs_analytics_source": source,
        "hs_analytics_first_timestamp": made, "hs_latest_source": source, "hs_latest_source_timestamp": changed,
        "hs_analytics_source_data_1": drawn.some("Auto-tagged PPC", "newsletter"), "hs_object_id": str(drawn.number),
        "hs_lead_status": drawn.some("NEW", "OPEN", "CONNECTED"), "hubspot_owner_id": str(drawn.number % 40),
        "lastmodifieddate": changed, "lifecyclestage": stage, "state": "Bavaria",
    }  # fmt: skip
    entered = [
        {"value": stage, "timestamp": changed, "sourceType": "AUTOMATION_PLATFORM", "sourceId": "enrollmentId:77"},
        {"value": "subscriber", "timestamp": made, "sourceType": "FORM"},
    ]
    return {
        "id": str(drawn.number), "properties": {name: told.get(name) for name in CONTACT.split()},
        "propertiesWithHistory": {"lifecyclestage": entered}, "createdAt": made, "updatedAt": changed,
        "archived": False,
    }  # fmt: skip


def _hubspot_answer(found: list[Record], page: Page) -> Record:
    more = {} if page.is_last else {"paging": {"next": {"after": page.following, "link": HOST}}}
    return {"results": found, **more}


def _hubspot_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path.endswith("/details"):
        return {"portalId": 2519445, "timeZone": "Europe/Berlin", "companyCurrency": "EUR", "uiDomain": "app"}
    if asked.path.endswith("/batch/read"):
        return _after(int(asked.body["inputs"][0]["id"]) - 1, HUBSPOT_READ)
    if not asked.path.endswith("/search"):
        return {"results": []} if asked.query.get("archived") == "true" else _cursor(asked.query.get("after", "0-0"))
    since, _, last = (each["value"] for each in asked.body["filterGroups"][0]["filters"])
    question = _since(datetime.fromtimestamp(int(since) / 1000, UTC), HUBSPOT.window)
    at, total = int(last) % EACH, totals[str(question)]
    ids = range(at + 1, min(at + HUBSPOT_SEARCHED, total) + 1)
    found = [{"id": str(question * EACH + number), "properties": {}, "archived": False} for number in ids]
    more = {"paging": {"next": {"after": str(HUBSPOT_SEARCHED)}}} if ids.stop <= total else {}
    return {"total": total - at, "results": found, **more}


HUBSPOT = Recorded(
    "contact", "lead", 120, HUBSPOT_READ, _contact, _hubspot_answer, _hubspot_asked,
    lambda kind, first, last: {
        "path": "crm/objects/2026-03/contacts", "data_selector": "results",
        "params": {
            "limit": HUBSPOT_READ, "properties": ",".join(CONTACT.split()), "propertiesWithHistory": "lifecyclestage",
        },
        "paginator": {"type": "cursor", "cursor_path": "paging.next.after", "cursor_param": "after"},
    },
    """
    select r.id as lead_id, r.properties.createdate::timestamptz as created_at,
        r.properties.lastmodifieddate::timestamptz as updated_at, r.properties.email as email_hash,
        r.properties.company as company, r.properties.country as country, r.properties.state as region,
        r.properties.hubspot_owner_id as owner, r.properties.hs_lead_status as status,
        r.properties.lifecyclestage as lifecycle_stage, r.properties.hs_analytics_source as source_original,
        r.properties.hs_latest_source as source_latest, r.archived as is_deleted
    from (select unnest(results) as r from read_json(?))""",
    environment={"ACCESS_TOKEN": "token"},
)  # fmt: skip


# -- Salesforce: a query, pages by the address of the next one

QUERY = "/services/data/v67.0/queryAll"
LEAD = """Id IsDeleted MasterRecordId Email CreatedDate SystemModstamp Status IsConverted ConvertedDate
    ConvertedAccountId ConvertedContactId ConvertedOpportunityId Company Country LeadSource OwnerId"""


def _lead(drawn: Drawn) -> Record:
    identifier, is_won = f"00Q{drawn.number:012d}AAA", drawn.number % 10 == 0
    told = {
        "Id": identifier, "IsDeleted": False, "Email": f"person.{drawn.number}@company-{drawn.number % 5000}.example",
        "CreatedDate": drawn.iso(end=".000+0000"), "SystemModstamp": drawn.iso(30, ".000+0000"),
        "Status": "Closed - Converted" if is_won else drawn.some("Open - Not Contacted", "Working - Contacted"),
        "IsConverted": is_won, "ConvertedDate": f"{drawn.at:%Y-%m-%d}" if is_won else None,
        "ConvertedContactId": f"003{drawn.number:012d}AAA" if is_won else None, "OwnerId": "005000000000001AAA",
        "Company": f"Company {drawn.number % 5000}", "Country": "Germany", "LeadSource": drawn.some("Web", "Event"),
    }  # fmt: skip
    about = {"type": "Lead", "url": f"/services/data/v67.0/sobjects/Lead/{identifier}"}
    return {"attributes": about, **{name: told.get(name) for name in LEAD.split()}}


def _salesforce_answer(found: list[Record], page: Page) -> Record:
    more = {} if page.is_last else {"nextRecordsUrl": f"{QUERY}/{page.following}"}
    return {"totalSize": page.total, "done": page.is_last, **more, "records": found}


def _salesforce_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path.endswith("/token"):
        return {**TOKEN, "instance_url": HOST, "id": f"{HOST}/id/00D000000000001AAA/005000000000001AAA"}
    if asked.path.endswith("/describe"):
        return {"fields": [{"name": name} for name in LEAD.split()]}
    if cursor := asked.path.partition(f"{QUERY}/")[2]:
        return _cursor(cursor)
    since = re.search(r"SystemModstamp >= (\S+)", asked.query["q"])
    question = _since(datetime.fromisoformat(since[1]), SALESFORCE.window) if since else 0
    if "COUNT()" in asked.query["q"]:
        return {"totalSize": totals[str(question)], "done": True, "records": []}
    return question, 0


SALESFORCE = Recorded(
    "lead", "lead", 120, 2000, _lead, _salesforce_answer, _salesforce_asked,
    lambda kind, first, last: {
        "path": QUERY.removeprefix("/"), "data_selector": "records",
        "params": {"q": f"SELECT {', '.join(LEAD.split())} FROM Lead WHERE SystemModstamp >= {first}T00:00:00Z"},  # noqa: S608
        "paginator": {"type": "json_link", "next_url_path": "nextRecordsUrl"},
    },
    """
    select r.Id as lead_id, r.CreatedDate::timestamptz as created_at, r.SystemModstamp::timestamptz as updated_at,
        r.Email as email_hash, r.Company as company, r.Country as country, r.OwnerId as owner, r.Status as status,
        r.LeadSource as source_original, r.IsConverted as is_converted, r.IsDeleted as is_deleted,
        r.ConvertedContactId as converted_contact_id, r.ConvertedDate::date as converted_at
    from (select unnest(records) as r from read_json(?, maximum_object_size=100000000))""",
    environment={"CLIENT_ID": "client", "CLIENT_SECRET": "secret"},
    options={"bulk_threshold": "1000000000"},  # else a window of more than 50,000 is read by a job
)  # fmt: skip


# -- Stripe: a list, pages by the id of the last object; invoices with their lines

TAX = {"tax_behavior": "exclusive", "tax_rate_details": {"tax_rate": "txr_1Vat"}, "type": "tax_rate_details"}


def _invoice(drawn: Drawn) -> Record:
    identifier, at = f"in_1MtHbELkdIwHu7ix{drawn.number:08d}", drawn.seconds()
    net = drawn.chance.randrange(1000, 90_000)
    tax, subscription = net * 19 // 100, f"sub_1{drawn.number % 9000:06d}"
    return {
        "id": identifier, "object": "invoice", "account_country": "DE", "account_name": "Our Company",
        "amount_due": net + tax, "amount_paid": net + tax, "amount_remaining": 0, "attempt_count": 1,
        "attempted": True, "billing_reason": "subscription_cycle", "collection_method": "charge_automatically",
        "created": at, "currency": "eur", "customer": f"cus_1{drawn.number % 9000:06d}",
        "customer_email": f"billing@company-{drawn.number % 9000}.example", "customer_name": "Company",
        "customer_address": None, "description": "Thank you", "discounts": [], "due_date": None, "effective_at": at,
        "ending_balance": 0, "footer": None,
        "lines": {
            "object": "list", "data": [_invoice_line(drawn, identifier, n, net // 2, subscription) for n in range(2)],
            "has_more": False, "url": f"/v1/invoices/{identifier}/lines",
        },
        "livemode": True, "metadata": {}, "number": f"{drawn.number:08X}-0001",
        "parent": {"type": "subscription_details", "quote_details": None,
                   "subscription_details": {"metadata": {}, "subscription": subscription}},
        "starting_balance": 0, "status": "paid",
        "status_transitions": {
            "finalized_at": at, "marked_uncollectible_at": None, "paid_at": at + 60, "voided_at": None,
        },
        "subtotal": net, "subtotal_excluding_tax": net, "total": net + tax, "total_excluding_tax": net,
        "total_taxes": [{"amount": tax, "taxability_reason": "standard_rated", "taxable_amount": net, **TAX}],
        "total_discount_amounts": [], "total_pretax_credit_amounts": [],
    }  # fmt: skip


def _invoice_line(drawn: Drawn, invoice: str, nth: int, amount: int, subscription: str) -> Record:
    at = drawn.seconds()
    details = {"proration": False, "invoice_item": None, "subscription": subscription, "proration_details": None}
    return {
        "id": f"il_1MtHbELkdIwHu7ix{drawn.number:08d}{nth}", "object": "line_item", "amount": amount, "currency": "eur",
        "description": "1 x Team", "discount_amounts": [], "discountable": True, "discounts": [], "invoice": invoice,
        "livemode": True, "metadata": {}, "period": {"start": at, "end": at + 2_592_000},
        "parent": {"type": "subscription_item_details", "subscription_item_details": details},
        "pretax_credit_amounts": [], "quantity": 1, "subtotal": amount,
        "pricing": {"type": "price_details", "unit_amount_decimal": str(amount),
                    "price_details": {"price": "price_1Team", "product": "prod_Team"}},
        "taxes": [{"amount": amount * 19 // 100, "taxability_reason": "standard_rated", "taxable_amount": amount,
                   **TAX}],
    }  # fmt: skip


def _stripe_answer(found: list[Record], page: Page) -> Record:
    return {"object": "list", "url": "/v1/invoices", "has_more": not page.is_last, "data": found}


def _stripe_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path == "/v1/account":
        return {"id": "acct_1", "object": "account", "default_currency": "eur"}
    if asked.path != "/v1/invoices":
        return {"object": "list", "data": [], "has_more": False}
    after = asked.query.get("starting_after", "")
    return _after(int(after[-8:]), STRIPE.size) if after else (0, 0)


STRIPE = Recorded(
    "invoice", "invoice", 36_500, 100, _invoice, _stripe_answer, _stripe_asked,
    lambda kind, first, last: {
        "path": "v1/invoices", "params": {"limit": 100}, "data_selector": "data",
        "paginator": {
            "type": "cursor", "cursor_path": "data[-1].id", "cursor_param": "starting_after",
            "has_more_path": "has_more",
        },
    },
    """
    select r.id as invoice_id, 'invoice' as kind, r.customer as customer_id,
        r.parent.subscription_details.subscription as subscription_id, r.status as status,
        to_timestamp(r.effective_at) as issued_at, to_timestamp(r.status_transitions.paid_at) as paid_at,
        (r.total_excluding_tax / 100)::decimal(20, 6) as amount, (r.amount_paid / 100)::decimal(20, 6) as amount_paid,
        ((r.total - r.total_excluding_tax) / 100)::decimal(20, 6) as tax, upper(r.currency) as currency
    from (select unnest(data) as r from read_json(?))""",
    environment={"API_KEY": "rk_live_key"},
)  # fmt: skip


# -- Klaviyo: events of each metric, pages by the address of the next one; JSON:API, with who they are of beside

KLAVIYO_METRICS = ("Received Email", "Opened Email")


def _event(drawn: Drawn) -> Record:
    identifier, message = f"4{drawn.number:010d}", f"01H7QW5TBZ{drawn.nth % 40:016d}"
    profile = f"01J9ZK5WQG{drawn.number % 20_000:016d}"
    here = f"https://a.klaviyo.com/api/events/{identifier}/"
    address = f"person.{drawn.number % 20_000}@company-{drawn.number % 5000}.example"
    properties = {
        "Subject": "News", "Email Domain": address.partition("@")[2], "$message": message,
        "Campaign Name": "Newsletter", "$_cohort$message_send_cohort": f"{drawn.seconds() - 60}:{message}",
        "$event_id": f"{message}:1", "Recipient Email Address": address,
    }  # fmt: skip
    if drawn.kind == "Opened Email":
        properties |= {"machine_open": False, "Client OS": "iOS", "IP": "203.0.113.4", "Apple Privacy Open": False}
    return {
        "type": "event", "id": identifier,
        "attributes": {
            "timestamp": drawn.seconds(), "datetime": drawn.iso(end="+00:00"), "event_properties": properties,
            "uuid": f"0190a4c2-7f1e-11ef-{drawn.number:012d}",
        },
        "relationships": {
            "profile": {
                "data": {"type": "profile", "id": profile},
                "links": {"self": f"{here}relationships/profile/", "related": f"{here}profile/"},
            },
            "metric": {
                "data": {"type": "metric", "id": _metric(drawn.kind)},
                "links": {"self": f"{here}relationships/metric/", "related": f"{here}metric/"},
            },
        },
        "links": {"self": here},
    }  # fmt: skip


def _metric(name: str) -> str:
    return f"Vm{KLAVIYO_METRICS.index(name)}"


def _klaviyo_answer(found: list[Record], page: Page) -> Record:
    people = {each["relationships"]["profile"]["data"]["id"]: each["attributes"]["event_properties"] for each in found}
    included = [
        {"type": "profile", "id": name, "attributes": {"email": of["Recipient Email Address"]},
         "links": {"self": f"https://a.klaviyo.com/api/profiles/{name}/"}}
        for name, of in people.items()
    ]  # fmt: skip
    following = None if page.is_last else f"{HOST}/api/events?page%5Bcursor%5D={page.following}"
    return {"data": found, "included": included, "links": {"self": HOST, "next": following, "prev": None}}


def _klaviyo_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path == "/api/accounts":
        return {"data": [{"type": "account", "id": "AbC123", "attributes": {}}]}
    if asked.path == "/api/metrics":
        told = [{"name": name, "integration": {"name": "Klaviyo"}} for name in KLAVIYO_METRICS]
        listed = [{"type": "metric", "id": _metric(str(each["name"])), "attributes": each} for each in told]
        return {"data": listed, "links": {"next": None}}
    if cursor := asked.query.get("page[cursor]"):
        return _cursor(cursor)
    found = re.search(r'metric_id,"Vm(\d)".*greater-or-equal\(datetime,([^)]+)\)', asked.query["filter"])
    metric, since = (int(found[1]), datetime.fromisoformat(found[2])) if found else (0, datetime.now(UTC))
    return _since(since, KLAVIYO.window) * len(KLAVIYO_METRICS) + metric, 0


KLAVIYO = Recorded(
    "event", "email_event", 30, 1000, _event, _klaviyo_answer, _klaviyo_asked,
    lambda kind, first, last: {
        "path": "api/events", "data_selector": "data",
        "params": {
            "filter": f'equals(metric_id,"{_metric(kind)}"),greater-or-equal(datetime,{first}T00:00:00Z)',
            "sort": "datetime", "include": "profile", "page[size]": 1000,
        },
        "paginator": {"type": "json_link", "next_url_path": "links.next"},
    },
    """
    select r.id as event_id, p."$message" as send_id, p."Recipient Email Address" as recipient_hash,
        r.relationships.metric.data.id as event_type, r.attributes.datetime::timestamptz as event_at,
        to_timestamp(split_part(p."$_cohort$message_send_cohort", ':', 1)::bigint) as sent_at,
        coalesce(p.machine_open, false) as is_machine
    from (
        select r, r.attributes.event_properties as p
        from (select unnest(data) as r from read_json(?, maximum_object_size=100000000))
    )""",
    kinds=KLAVIYO_METRICS,
    environment={"API_KEY": "key"},
)  # fmt: skip


# -- Zendesk: an export, pages by a cursor; people beside the tickets


def _ticket(drawn: Drawn) -> Record:
    made, solved, text = drawn.iso(), drawn.iso(30), "My name is Jo, call 555 0100 or jo@private.example"
    took = {"calendar": 30, "business": 10}
    return {
        "id": drawn.number, "url": f"https://ourcompany.zendesk.com/api/v2/tickets/{drawn.number}.json",
        "subject": text, "raw_subject": text, "description": text, "status": drawn.some("solved", "closed"),
        "priority": drawn.some("normal", "high", "low"), "type": None, "created_at": made, "updated_at": solved,
        "generated_timestamp": drawn.seconds() + 1807, "requester_id": 10_000 + drawn.number % 20_000,
        "submitter_id": 10_000 + drawn.number % 20_000, "organization_id": drawn.number % 5000, "assignee_id": 35436,
        "via": {
            "channel": drawn.some("email", "web"),
            "source": {"from": {"address": "jo@x.example", "name": "Jo"}, "to": {}},
        },
        "recipient": "support@ourcompany.example", "tags": ["a"], "custom_fields": [{"id": 1, "value": text}],
        "satisfaction_rating": {"score": drawn.some("good", "offered", "bad")},
        "metric_set": {
            "id": drawn.number + 1, "ticket_id": drawn.number, "created_at": made, "updated_at": solved, "replies": 2,
            "reopens": 0, "group_stations": 1, "assignee_stations": 1, "solved_at": solved,
            "reply_time_in_minutes": {"calendar": 12, "business": 4}, "full_resolution_time_in_minutes": took,
            "first_resolution_time_in_minutes": took,
            "agent_wait_time_in_minutes": {"calendar": None, "business": None},
        },
    }  # fmt: skip


def _zendesk_answer(found: list[Record], page: Page) -> Record:
    people = [
        {"id": number, "name": "Jo", "email": f"person.{number}@company-{number % 5000}.example", "phone": None,
         "role": "end-user", "organization_id": None, "active": True}
        for number in dict.fromkeys(each["requester_id"] for each in found)
    ]  # fmt: skip
    return {
        "tickets": found, "users": people, "after_cursor": page.following, "before_cursor": None, "before_url": None,
        "after_url": HOST, "end_of_stream": page.is_last,
    }  # fmt: skip


def _zendesk_asked(asked: Asked, totals: Mapping[str, int]) -> At | Record:
    if asked.path == "/oauth/tokens":
        return TOKEN
    if cursor := asked.query.get("cursor"):
        return _cursor(cursor)
    return _since(datetime.fromtimestamp(int(asked.query["start_time"]), UTC), ZENDESK.window), 0


ZENDESK = Recorded(
    "ticket", "support_ticket", 120, 500, _ticket, _zendesk_answer, _zendesk_asked,
    lambda kind, first, last: {
        "path": "api/v2/incremental/tickets/cursor.json", "data_selector": "tickets",
        "params": {"start_time": int(_moment(first, 0).timestamp()), "include": "metric_sets,users", "per_page": 500},
        "paginator": {
            "type": "cursor", "cursor_path": "after_cursor", "cursor_param": "cursor", "stop_after_empty_page": True,
        },
    },
    """
    select r.id::varchar as ticket_id, r.organization_id::varchar as account_id,
        r.created_at::timestamptz as created_at, to_timestamp(r.generated_timestamp) as updated_at,
        r.metric_set.solved_at::timestamptz as resolved_at,
        r.metric_set.reply_time_in_minutes.calendar::bigint as first_response_minutes,
        r.metric_set.full_resolution_time_in_minutes.calendar::bigint as resolution_minutes,
        r.metric_set.replies::bigint as replies, r.metric_set.reopens::bigint as reopens, r.status as status,
        r.priority as priority, r.via.channel as channel, r.satisfaction_rating.score as csat
    from (select unnest(tickets) as r from read_json(?, maximum_object_size=100000000))""",
    environment={"SUBDOMAIN": "ourcompany", "CLIENT_ID": "client", "CLIENT_SECRET": "secret"},
)  # fmt: skip


SOURCES: Mapping[str, Recorded] = {
    "google_ads": GOOGLE_ADS, "ga4": GA4, "hubspot": HUBSPOT, "salesforce": SALESFORCE, "stripe": STRIPE,
    "klaviyo": KLAVIYO, "zendesk": ZENDESK,
}  # fmt: skip
