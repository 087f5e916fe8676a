"""The datasets that measures are made over: of each its grain, what it can be split by, and which rows count."""

from __future__ import annotations

from sqlalchemy import literal

from b2b_pipeline.metrics.model import Axis, Dataset, Join
from b2b_pipeline.warehouse.tables import (
    cost_ledger,
    credit,
    deal,
    email_recipient,
    email_summary,
    form_event,
    person,
    spend,
    stage_entry,
    web_behaviour_daily,
    web_session,
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
VISITS = Dataset(web_session, {
    "channel": web_session.c.channel, "campaign": web_session.c.campaign_id, "country": web_session.c.country,
    "landing_page": web_session.c.landing_page, "device": web_session.c.device, "utm_source": web_session.c.utm_source,
    "utm_medium": web_session.c.utm_medium,
}, counts=lambda config: web_session.c.is_bot.is_not(True) & web_session.c.is_deleted.is_not(True))  # fmt: skip
VISIT_FORMS = Dataset(form_event, {
    "channel": form_event.c.channel, "campaign": form_event.c.campaign_id, "form": form_event.c.form_name,
}, counts=lambda config: form_event.c.session_id.is_not(None) & form_event.c.is_deleted.is_not(True))  # fmt: skip
SITE_BEHAVIOUR = Dataset(
    web_behaviour_daily, {"property": web_behaviour_daily.c.property_id},
    counts=lambda config: web_behaviour_daily.c.level == "property",
)  # fmt: skip
