"""The datasets that measures are made over: of each its grain, what it can be split by, and which rows count."""

from __future__ import annotations

from sqlalchemy import case, false, func, literal, null

from b2b_pipeline.derived.gone import stands
from b2b_pipeline.metrics.model import Axis, Dataset, Join
from b2b_pipeline.warehouse.dialects import minus_days
from b2b_pipeline.warehouse.tables import (
    community_daily,
    content_daily,
    cost_ledger,
    credit,
    deal,
    email_recipient,
    email_summary,
    form_event,
    invoice,
    person,
    pr_mention,
    record_present,
    search_console_daily,
    spend,
    stage_entry,
    subscription,
    support_ticket,
    survey_response,
    web_behaviour_daily,
    web_session,
    web_traffic_daily,
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
INVOICES = Dataset(
    invoice,
    {"currency": invoice.c.currency, "source": invoice.c.source},
    counts=lambda config: (
        (func.coalesce(invoice.c.status, "") != "void") & ~func.coalesce(invoice.c.is_deleted, false())
    ),
)
SUBSCRIPTIONS = Dataset(
    subscription,
    {"currency": subscription.c.currency, "source": subscription.c.source, "subscription_plan": subscription.c.plan},
    counts=lambda config: subscription.c.started_at.is_not(None) & ~func.coalesce(subscription.c.is_deleted, false()),
)
COMMUNITIES = Dataset(community_daily, {
    "network": community_daily.c.network, "community": community_daily.c.community_id,
}, counts=lambda config: community_daily.c.network == "forum")  # fmt: skip
# Who follows us on two networks is one more on each.
FOLLOWED = Dataset(
    community_daily, {"community": community_daily.c.community_id},
    counts=lambda config: community_daily.c.network != "forum", axis=Axis("network", community_daily.c.network),
)  # fmt: skip
CONTENT = Dataset(content_daily, {
    "network": content_daily.c.network, "account": content_daily.c.account_id,
    "content_type": content_daily.c.content_type, "topic": content_daily.c.topic,
}, counts=lambda config: content_daily.c.counted == "day")  # fmt: skip
# Of what is counted to date, with what it was a day before.
BEFORE = content_daily.alias("content_before")
TO_DATE = Dataset(
    content_daily, CONTENT.dimensions,
    (Join(content_daily, {
        "source": content_daily.c.source, "post_id": content_daily.c.post_id,
        "date_day": minus_days(content_daily.c.date_day, literal(1)),
    }, BEFORE),),
    counts=lambda config: content_daily.c.counted == "to_date",
)  # fmt: skip
MENTIONS = Dataset(pr_mention, {
    "campaign": pr_mention.c.campaign_id, "outlet": pr_mention.c.outlet, "tone": pr_mention.c.tone,
}, counts=lambda config: ~pr_mention.c.is_deleted)  # fmt: skip
_OF_SITES = {"property": web_traffic_daily.c.property_id}
# Words in brackets stand where there is no campaign, and a dash where it is of another level.
_NO_CAMPAIGN = web_traffic_daily.c.campaign_id.like("(%)") | (web_traffic_daily.c.campaign_id == "-")
VISITED = Dataset(web_traffic_daily, {
    "channel": web_traffic_daily.c.channel, "campaign": case((_NO_CAMPAIGN, null()),
    else_=web_traffic_daily.c.campaign_id), "utm_source": web_traffic_daily.c.utm_source,
    "utm_medium": web_traffic_daily.c.utm_medium, **_OF_SITES,
})  # fmt: skip
SITES_VISITED = Dataset(web_traffic_daily, {
    **dict.fromkeys(("channel", "campaign", "utm_source", "utm_medium"), null()), **_OF_SITES,
})  # fmt: skip
PAGES_VISITED = Dataset(web_traffic_daily, {"landing_page": web_traffic_daily.c.landing_page, **_OF_SITES})
SEARCHES = Dataset(search_console_daily, {
    "channel": literal("organic_search"), "site": search_console_daily.c.site,
    "search_type": search_console_daily.c.search_type,
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
FORM_EVENTS = Dataset(form_event, {
    "channel": form_event.c.channel, "campaign": form_event.c.campaign_id, "source": form_event.c.source,
    "capture_type": form_event.c.capture_type, "form": form_event.c.form_name, "page": form_event.c.page,
}, counts=lambda config: func.coalesce(form_event.c.is_deleted, false()).is_(False))  # fmt: skip
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
