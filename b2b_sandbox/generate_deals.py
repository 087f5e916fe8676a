"""Accounts, opportunities and their way through the stages, in Salesforce and, synced, as HubSpot deals."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from b2b_sandbox.generate_base import (
    DAY,
    MINUTE,
    Record,
    Rows,
    after,
    awake,
    day_in,
    hubspot_time,
    salesforce_id,
)
from b2b_sandbox.generate_base import salesforce_time as sf_time
from b2b_sandbox.generate_fx import LEVELS
from b2b_sandbox.generate_names import USERS
from b2b_sandbox.generate_people import Company

OPEN_STAGES = [  # Salesforce, probability, HubSpot
    ("Prospecting", 10, "appointmentscheduled"),
    ("Qualification", 20, "qualifiedtobuy"),
    ("Needs Analysis", 35, "presentationscheduled"),
    ("Proposal/Price Quote", 60, "decisionmakerboughtin"),
    ("Negotiation/Review", 80, "contractsent"),
]
CLOSED_STAGES = {True: ("Closed Won", 100, "closedwon"), False: ("Closed Lost", 0, "closedlost")}
DEAL_TYPE = {"New Business": "newbusiness", "Existing Business": "existingbusiness", "Renewal": "renewal"}


def user_id(number: int) -> str:
    return salesforce_id("005", number + 1)


def owner_id(number: int) -> str:
    """The same person in HubSpot."""
    return str(51_000_000 + number)


def owner_number(rng: random.Random) -> int:
    return rng.randrange(len(USERS) - 1)


@dataclass
class Crm:
    """One company's records in the making."""

    rng: random.Random
    rows: Rows
    company: Company
    owner: int
    zone: ZoneInfo  # of the Salesforce org
    account: Record | None = None
    opportunities: int = 0
    is_in_hubspot: bool = False  # its company

    def salesforce(self, name: str, prefix: str, number: int, at: int, **fields: Any) -> Record:
        record = Record("salesforce", name, salesforce_id(prefix, number))
        by = user_id(self.owner)
        stamps = {"CreatedDate": sf_time(at), "CreatedById": by, "LastModifiedById": by}
        record.set(at, Id=record.id, IsDeleted=False, **stamps, **fields)
        return record

    def day(self, at: int) -> str:
        """The day that Salesforce says it was."""
        return day_in(self.zone, at).isoformat()

    def account_id(self, at: int) -> str:
        """The account in Salesforce, made when it is first needed."""
        if self.account is None:
            self.account = self.salesforce(
                "Account", "001", self.company.number, at,
                Name=self.company.name, MasterRecordId=None, Website=f"https://www.{self.company.domain}",
                Type="Prospect",
                Industry=self.company.industry, BillingCountry=self.company.country, OwnerId=user_id(self.owner),
            )  # fmt: skip
        return self.account.id

    def company_id(self, at: int) -> str:
        """The company in HubSpot, made when it is first needed, by no dice of the others."""
        company = Record("hubspot", "companies", str(300_000_000 + self.company.number))
        if not self.is_in_hubspot:
            self.is_in_hubspot = True
            company.set(
                at, hs_object_id=company.id, name=self.company.name, domain=self.company.domain,
                industry=self.company.industry, country=self.company.country, createdate=hubspot_time(at),
                hubspot_owner_id=owner_id(self.owner),
            )  # fmt: skip
            company.write(self.rows, random.Random(company.id))
        return company.id

    def role(self, opportunity: Opportunity, number: int, contact: str, at: int, *, primary: bool) -> Record:
        return self.salesforce(
            "OpportunityContactRole", "00K", opportunity.number * 10 + number, at,
            OpportunityId=opportunity.id, ContactId=contact, IsPrimary=primary,
            Role="Decision Maker" if primary else None,
        )  # fmt: skip


@dataclass
class Opportunity:
    id: str
    number: int
    created: int
    closed: int | None  # when it was first closed
    won: int | None  # when it was won in the end


def write_opportunity(
    crm: Crm, created: int, kind: str, *, contact: str | None, with_account: bool = True, chance_won: float = 0.30
) -> Opportunity:
    """Draws an opportunity's whole life, and its deal in HubSpot, associated with the HubSpot contact given."""
    rng = crm.rng
    number = crm.company.number * 10 + crm.opportunities
    crm.opportunities += 1
    currency = crm.company.currency
    amount = min(max(rng.lognormvariate(9.7, 0.75), 3_000), 120_000) * float(LEVELS.get(currency, 1))
    state: dict[str, Any] = {"Amount": None if rng.random() < 0.02 else round(amount, rng.choice([-2, -1, 2]))}
    name = f"{crm.company.name} - {kind}"
    opportunity = crm.salesforce(
        "Opportunity", "006", number, created,
        AccountId=crm.account_id(created) if with_account else None, Name=name, Type=kind, CurrencyIsoCode=currency,
        OwnerId=user_id(crm.owner), Region__c=crm.company.region, LeadSource=None, CampaignId=None,
    )  # fmt: skip
    deal = Record("hubspot", "deals", str(700_000_000 + number))
    synced = awake(created + rng.randrange(60, 300) * 1000)
    deal.set(
        synced, hs_object_id=deal.id, dealname=name, createdate=hubspot_time(created), pipeline="default",
        deal_currency_code=currency, dealtype=DEAL_TYPE[kind], hubspot_owner_id=owner_id(crm.owner),
        hs_primary_associated_company=crm.company_id(synced) if with_account else None,
    )  # fmt: skip
    steps = 0

    def change(at: int, stage: tuple[str, int, str], **fields: Any) -> None:
        """Sets the stage and more at a time, in Salesforce with its history row, then in HubSpot."""
        nonlocal steps
        before = (state.get("Amount") if steps else None, state.get("CloseDate"))
        state.update(fields)
        label, probability, deal_stage = stage
        is_closed, is_won = label.startswith("Closed"), label == "Closed Won"
        expected = None if state["Amount"] is None else round(state["Amount"] * probability / 100, 2)
        opportunity.set(
            at, StageName=label, Probability=probability, Amount=state["Amount"], CloseDate=state["CloseDate"],
            IsClosed=is_closed, IsWon=is_won, ExpectedRevenue=expected,
            ForecastCategory="Closed" if is_won else "Omitted" if is_closed else "Pipeline",
        )  # fmt: skip
        row = Record("salesforce", "OpportunityHistory", salesforce_id("008", number * 40 + steps))
        row.set(
            at, Id=row.id, OpportunityId=opportunity.id, StageName=label, Amount=state["Amount"],
            Probability=probability, CloseDate=state["CloseDate"], ExpectedRevenue=expected,
            PrevAmount=before[0], PrevCloseDate=before[1],
            CreatedDate=sf_time(at),
            CreatedById=user_id(crm.owner), IsDeleted=False,
        )  # fmt: skip
        row.write(crm.rows, rng)
        steps += 1
        shown = None if state["Amount"] is None else f"{state['Amount']:.2f}"
        home = None if state["Amount"] is None else f"{state['Amount'] / float(LEVELS.get(currency, 1)):.2f}"
        later = synced if at == created else awake(at + rng.randrange(60, 300) * 1000)
        deal.set(
            later, amount=shown, amount_in_home_currency=home, closedate=f"{state['CloseDate']}T00:00:00.000Z",
            hs_is_closed=str(is_closed).lower(), hs_is_closed_won=str(is_won).lower(),
        )  # fmt: skip
        deal.track(later, "dealstage", deal_stage, "INTEGRATION")

    planned = day_in(crm.zone, created) + timedelta(days=rng.randrange(30, 100))
    change(created, OPEN_STAGES[0], CloseDate=planned.isoformat())
    outcome = rng.random()
    is_open = outcome > 0.90
    is_won = outcome < 0.90 * chance_won
    cycle = int(max(rng.lognormvariate(3.6 if is_won else 3.4, 0.6), 1.0) * DAY)
    reached = rng.randrange(1, 5) if not is_won else 4
    for step in range(1, reached + 1):
        at = awake(created + cycle * step // (reached + 1))
        new = {}
        if state["Amount"] is not None and rng.random() < 0.12:
            new["Amount"] = round(state["Amount"] * rng.uniform(0.7, 1.25), 2)
        change(at, OPEN_STAGES[step], **new)
    closed: int | None = None
    if not is_open:
        closed = at = awake(created + cycle)
        close(crm, change, closed, created, won=is_won)
        if rng.random() < 0.04:  # reopened, and closed again, perhaps the other way
            at = after(rng, closed, 6)
            change(at, OPEN_STAGES[4], CloseDate=(day_in(crm.zone, at) + timedelta(days=20)).isoformat())
            is_won = rng.random() < 0.4
            at = after(rng, at, 12)
            close(crm, change, at, created, won=is_won)
        if state["Amount"] is not None and rng.random() < 0.05:
            stage = CLOSED_STAGES[is_won]
            change(after(rng, at, 10), stage, Amount=round(state["Amount"] * rng.uniform(0.8, 1.1), 2))
    if rng.random() < 0.02:
        end = after(rng, created, 50)
        opportunity.end(end, "deleted", IsDeleted=True)
        deal.end(awake(end + MINUTE), "deleted")
    opportunity.write(crm.rows, rng)
    deal.write(crm.rows, rng)
    if contact is not None:
        crm.rows["association"].append(
            ("hubspot", "deals", deal.id, "contacts", contact, "deal_to_contact", synced + MINUTE)
        )
    return Opportunity(opportunity.id, number, created, closed, at if closed and is_won else None)


def close(crm: Crm, change: Any, at: int, created: int, *, won: bool) -> None:
    """Closes on the day; now and then the close date is set back, to when it was really signed."""
    day = day_in(crm.zone, at)
    if crm.rng.random() < 0.12:
        day = max(day - timedelta(days=crm.rng.randrange(1, 11)), day_in(crm.zone, created))
    change(at, CLOSED_STAGES[won], CloseDate=day.isoformat())
