"""What counts by sources that the demo does not read: their metrics, and the facts of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from zoneinfo import ZoneInfo

from b2b_sandbox import (
    truth_behaviour,
    truth_billing,
    truth_community,
    truth_customer_voice,
    truth_email,
    truth_forms,
    truth_organic_search,
    truth_web,
    truth_web_traffic,
)
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric
from b2b_sandbox.world import World

MONEY: set[str] = {*truth_billing.MONEY}  # components of money
METRICS: dict[str, Metric] = {
    **truth_billing.METRICS,
    **truth_community.METRICS,
    **truth_web_traffic.METRICS,
    **truth_organic_search.METRICS,
    **truth_customer_voice.METRICS,
    **truth_forms.METRICS,
    **truth_web.METRICS,
    **truth_behaviour.METRICS,
}
# Metric -> the component of which it is a quantile, and which.
QUANTILES: dict[str, tuple[str, Fraction]] = {**truth_customer_voice.QUANTILES}
# Source -> its facts, as they could be known at a moment (ms), on days of a time zone.
FACTS: dict[str, Callable[[World, sqlite3.Connection, int, ZoneInfo, Money], Iterable[Fact]]] = {
    "mailchimp": truth_email.mailchimp_facts,
    "klaviyo": truth_email.klaviyo_facts,
    **{vendor: partial(truth_billing.facts, vendor) for vendor in truth_billing.VENDORS},
    "discourse": truth_community.forum_facts,
    "linkedin_pages": truth_community.page_facts,
    "x": truth_community.x_facts,
    "ga4": truth_web_traffic.facts,
    "search_console": truth_organic_search.facts,
    "typeform": truth_customer_voice.surveys,
    "zendesk": truth_customer_voice.zendesk,
    "intercom": truth_customer_voice.support("intercom"),
    "hubspot": truth_forms.hubspot,
    "linkedin_ads/lead": truth_forms.lead_ads("linkedin_ads"),  # a stream that is read only where it is named
    "meta_ads/lead": truth_forms.lead_ads("meta_ads"),
    "collector": truth_web.facts,
    "clarity": truth_behaviour.facts,
}
