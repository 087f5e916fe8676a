"""The datasets that measures are made over: of each its grain, what it can be split by, and which rows count."""

from __future__ import annotations

from sqlalchemy import literal

from b2b_pipeline.derived.gone import stands
from b2b_pipeline.metrics.model import Axis, Dataset, Join
from b2b_pipeline.warehouse.tables import (
    cost_ledger,
    credit,
    deal,
    email_recipient,
    email_summary,
    person,
    record_present,
    spend,
    stage_entry,
    support_ticket,
    survey_response,
)

_OF_DEALS = {"owner": deal.c.owner, "product": deal.c.product, "region": deal.c.region}
_OF_PERSONS = {
    "channel": person.c.channel, "campaign": person.c.campaign_id,
    "owner": person.c.owner, "country": person.c.country, "region": person.c.region,
    "source": person.c.lead_source, "status": person.c.status, "company": person.c.company,
    "capture_type": person.c.capture_type,
}  # fmt: skip

ADS = Dataset(spend, {
    "channel": spend.c.channel, "campaign": spend.c.campaign_id, "currency": spend.c.currency,
    "platform": spend.c.source, "ad_account": spend.c.account_id, "campaign_name": spend.c.campaign_name,
})  # fmt: skip
COSTS = Dataset(cost_ledger, {
    "channel": cost_ledger.c.channel, "campaign": cost_ledger.c.campaign_id, "currency": cost_ledger.c.currency,
})  # fmt: skip
PERSONS = Dataset(person, _OF_PERSONS, counts=lambda config: ~person.c.is_excluded)
STAGE_ENTRIES = Dataset(
    stage_entry, _OF_PERSONS, (Join(person, {"person_key": stage_entry.c.person_key}),), PERSONS.counts
)
DEALS = Dataset(deal, {
    "channel": deal.c.channel, "campaign": deal.c.campaign_id, "currency": deal.c.currency, **_OF_DEALS,
    "account": deal.c.account_id, "stage": deal.c.stage, "type": deal.c.opp_type,
})  # fmt: skip
CREDITS = Dataset(
    credit,
    {"channel": credit.c.channel, "campaign": credit.c.campaign_id, "currency": credit.c.currency, **_OF_DEALS},
    (Join(deal, {"source": credit.c.source, "opp_id": credit.c.opp_id}),),
    axis=Axis("model", credit.c.model),
)
PAID_CREDITS = CREDITS.only(lambda config: credit.c.channel.in_(config.channels.paid))
MARKETING_CREDITS = CREDITS.only(
    lambda config: credit.c.channel.is_not(None) & credit.c.channel.not_in(config.channels.not_marketing)
)
RECIPIENTS = Dataset(email_recipient, {
    "channel": literal("email"), "campaign": email_recipient.c.campaign_id, "source": email_recipient.c.source,
})  # fmt: skip
SUMMARIES = Dataset(email_summary, {
    "channel": literal("email"), "campaign": email_summary.c.campaign_id, "source": email_summary.c.source,
})  # fmt: skip
SURVEYS = Dataset(
    survey_response, {"source": survey_response.c.source, "survey": survey_response.c.survey_name},
    counts=lambda config: survey_response.c.is_deleted.is_(False)
    & survey_response.c.is_partial.is_(False)
    & stands(survey_response, "survey_response", survey_response.c.response_id),
    beside=(record_present,),
)  # fmt: skip
TICKETS = Dataset(
    support_ticket,
    {
        "source": support_ticket.c.source, "ticket_priority": support_ticket.c.priority,
        "ticket_channel": support_ticket.c.channel, "ticket_status": support_ticket.c.status,
    },
    counts=lambda config: support_ticket.c.is_deleted.is_(False)
    & stands(support_ticket, "support_ticket", support_ticket.c.ticket_id),
    beside=(record_present,),
)  # fmt: skip
