"""What people call a metric: its own name, a plural, the words of its abbreviation; else the nearest names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# One meaning each in B2B marketing. Where a word has two (`conversion rate`, `revenue`), the nearest names are told.
MEANT = {
    "cpl": "cost_per_lead", "cost_per_lead_total": "cost_per_lead", "cost_per_mqls": "cost_per_mql",
    "cpmql": "cost_per_mql", "cpsql": "cost_per_sql", "cost_per_acquisition": "cpa", "cost_per_action": "cpa",
    "cost_per_customer": "cpa", "customer_acquisition_cost": "cac", "cost_per_click": "cpc", "cost_per_mille": "cpm",
    "cost_per_thousand": "cpm", "cost_per_1000_impressions": "cpm", "click_through_rate": "ctr",
    "clickthrough_rate": "ctr", "return_on_ad_spend": "roas", "return_on_investment": "roi",
    "marketing_efficiency_ratio": "mer", "marketing_qualified_leads": "mqls", "marketing_qualified_lead": "mqls",
    "sales_qualified_leads": "sqls", "sales_qualified_lead": "sqls", "acv": "average_deal_size",
    "aov": "average_deal_size", "deal_size": "average_deal_size", "avg_deal_size": "average_deal_size",
    "ad_spend": "spend", "opps": "opportunities", "opp": "opportunities", "deals": "opportunities",
    "won_deals": "won", "closed_won": "won", "lost_deals": "lost", "customers": "new_customers",
    "open_rate": "email_open_rate", "bounce_rate": "email_bounce_rate", "unsubscribe_rate": "email_unsubscribe_rate",
    "sales_cycle": "cycle_days_median", "cycle": "cycle_days_median", "impr": "impressions",
}  # fmt: skip
TOPICS = {
    "revenue": ("bookings", "revenue_first_touch", "revenue_last_touch"),
    "conversion_rate": ("lead_to_mql_rate", "lead_to_customer_rate", "opportunity_to_won_rate"),
    "cost": ("spend", "cost_per_lead", "cac"), "cvr": ("lead_to_mql_rate", "lead_to_customer_rate"),
}  # fmt: skip


def resolve(name: str, known: Iterable[str]) -> str | None:
    """The metric that `name` means beyond doubt, if one: `Cost per lead`, `CPL`, `MQL`."""
    known = set(known)
    word = _word(name)
    candidates = (word, MEANT.get(word, ""), f"{word}s", word.removesuffix("s"), MEANT.get(word.removesuffix("s"), ""))
    return next((candidate for candidate in candidates if candidate in known), None)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three metrics that `name` may mean."""
    known, word = list(known), _word(name)
    same = [metric for metric in known if word and (word in metric or set(word.split("_")) <= set(metric.split("_")))]
    close = get_close_matches(word, [*known, *MEANT], 3, 0.6)
    found = [*TOPICS.get(word, ()), *same, *(MEANT.get(item, item) for item in close)]
    return [metric for metric in dict.fromkeys(found) if metric in known][:3]


def _word(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
