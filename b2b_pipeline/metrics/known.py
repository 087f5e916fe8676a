"""What of a metric is known: by what its inputs state, and by the channels and campaigns for which anything was bought.

A channel that is paid for, but whose ad spend nothing feeds, has unknown spend. Ratios between money and what it
brought leave it out on both sides, so that both cover the same channels; in the channel itself they are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sqlalchemy import Connection, case, func, literal, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.given import Facts, Need
from b2b_pipeline.derived.gone import unread_before
from b2b_pipeline.derived.made_of import BEHIND, Loads
from b2b_pipeline.derived.registry import DERIVED
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.metrics.kinds import Cohort
from b2b_pipeline.metrics.model import Aggregate, Family, Leg, Metric
from b2b_pipeline.metrics.registry import COMPONENTS, HOME
from b2b_pipeline.warehouse.tables import cost_ledger, coverage, deal, kpi_component_daily, metric_def

BOUGHT = sorted(name for name, component in COMPONENTS.items() if component.bought)
LOCATED = ("channel", "campaign")  # the dimensions in which what was bought is known only where a row tells it
MARGIN = "gross_margin"
NOTHING_YET = "nothing was derived yet: run `b2b backfill`, or the pipeline in the Dagster UI"

Place = tuple[str | None, str | None]  # channel, campaign


class Known:
    """Asked of one open connection; what it has found it keeps."""

    def __init__(self, connection: Connection, config: Config) -> None:
        self._connection, self._config = connection, config
        self._facts = Facts(connection, config)

    def lacking(self, metric: Metric, *, dated: bool) -> dict[str, str]:
        """Term -> why nothing is known of it. `dated`: also of its days; a cohort has no number without them."""
        found = {
            term.label: why
            for term in metric.terms
            if (why := self._of_legs(term.measure, COMPONENTS[term.measure].legs, metric, dated))
        }
        if metric.takes_margin and self._config.gross_margin is None:
            found[MARGIN] = "gross_margin is not given in pipeline.yaml"
        if not self._is_derived:
            return dict.fromkeys(found or [term.label for term in metric.terms], NOTHING_YET)
        return found

    def partly(self, metric: Metric) -> list[str]:
        """Why the metric covers only part of what is fed: mappings that do not state what others do; before the
        first derive it covers nothing, and after a load that of before."""
        if not self._is_derived:
            return [NOTHING_YET]
        # Families that nothing feeds are not derived: what is lacking is a feed, and `lacking` says which.
        families = self._families
        made = {HOME[name]: families[HOME[name]].tables for name in metric.components if HOME[name] in families}
        live = [COMPONENTS[name] for name in metric.components if not COMPONENTS[name].is_stored]
        made |= {table: {table} for measure in live for table in measure.tables & DERIVED.keys()}
        if self._loads.behind(made):
            return [BEHIND]
        legs = [leg for term in metric.terms for leg in COMPONENTS[term.measure].legs]
        needs = {need: None for leg in legs for need in (*leg.needs, *leg.dated)}
        silent = [f"{name}: {need.hint}" for need in needs for name in self._facts.silent(need)]
        of_deals = (COMPONENTS[name] for name in metric.components if deal.name in COMPONENTS[name].tables)
        is_level = any(measure.aggregate is Aggregate.LEVEL for measure in of_deals)
        return [
            *silent,
            *(self._of_levels if is_level else []),
            *dict.fromkeys(why for _, why in self._one_sided(metric).values()),
        ]

    def _one_sided(self, metric: Metric) -> dict[str, tuple[str, str]]:
        """Channel -> the term that does not count it, and why: the money that was spent on it does count."""
        places = {channel: name for name in _PAID if name in metric.components for channel in self._paid_for[name]}
        return {
            channel: (term.label, f"the {_PAID[places[channel]]} of {channel} counts, its revenue does not: {cure}")
            for channel in sorted(places)
            for term in metric.terms
            if (rule := COMPONENTS[term.measure].left_out) and (cure := rule(self._config.channels, channel))
        }

    def unfed(self, metric: Metric) -> tuple[str, ...]:
        """Paid channels whose ad spend, or what else the metric needs of the ads, nothing feeds.

        Where there is spend without a channel it may be theirs, so that none can be told.
        """
        bought = metric.components & {*BOUGHT} - {"sales_cost"}
        if not bought:
            return ()
        fed = {channel for channel, _ in self._places.get("spend", ())}
        if "marketing_cost" in bought:
            fed |= self._ads_in_ledger
        return () if None in fed else tuple(name for name in self._config.channels.paid if name not in fed)

    def missing_at(
        self, metric: Metric, channel: str | None, campaign: str | None, by: Sequence[str]
    ) -> dict[str, str]:
        """Term -> why it is unknown in a channel, a campaign, or a campaign's part of a channel."""
        split = [name in by for name in LOCATED]
        if not any(split):
            return {}
        unfed = split[0] and channel in self.unfed(metric)
        where = ", ".join(
            str(key) if key is not None else f"no {name}"
            for key, name, asked in zip((channel, campaign), LOCATED, split, strict=True)
            if asked
        )
        not_fed = f"nothing feeds the ad spend of {channel}"
        one_sided = self._one_sided(metric).get(channel) if split[0] and channel is not None else None
        return dict([one_sided] if one_sided else []) | {
            term.label: not_fed if unfed else f"nothing gives {_WORDS[name]} of {where}"
            for term in sorted(metric.terms, key=lambda term: term.measure)
            for name in [term.measure]
            if name in BOUGHT
            and ((unfed and name != "sales_cost") or not self._is_told(name, channel, campaign, split))
        }

    # -- what was found

    def _is_told(self, name: str, channel: str | None, campaign: str | None, split: Sequence[bool]) -> bool:
        wanted = tuple(key for key, asked in zip((channel, campaign), split, strict=True) if asked)
        return wanted in self._told[name, split[0], split[1]]

    @cached_property
    def _told(self) -> dict[tuple[str, bool, bool], set[tuple[str | None, ...]]]:
        """Component, whether by channel, whether by campaign -> the keys of which rows were ever given."""
        return {
            (name, *split): {tuple(k for k, asked in zip(place, split, strict=True) if asked) for place in places}
            for name in BOUGHT
            for places in [self._places.get(name, set())]
            for split in ((True, False), (False, True), (True, True))
        }

    @cached_property
    def _places(self) -> dict[str, set[Place]]:
        stored, found = kpi_component_daily.c, dict[str, set[Place]]()
        query = select(stored.component, stored.channel, stored.campaign_id).where(stored.component.in_(BOUGHT))
        for component, channel, campaign in self._connection.execute(query.distinct()):
            found.setdefault(component, set()).add((channel, campaign))
        return found

    @cached_property
    def _paid_for(self) -> dict[str, set[str]]:
        return {name: {channel for channel, _ in self._places.get(name, ()) if channel} for name in _PAID}

    @cached_property
    def _ads_in_ledger(self) -> set[str | None]:
        ads = select(cost_ledger.c.channel).where(cost_ledger.c.category == "ads").distinct()
        return set(self._connection.execute(ads).scalars())

    @cached_property
    def _families(self) -> dict[str, Family]:
        return families_of(self._config)

    @cached_property
    def _loads(self) -> Loads:
        return Loads(self._connection, self._config)

    @cached_property
    def _is_derived(self) -> bool:
        """By any of what a derive writes, in whatever order: a family may have no rows, and a warehouse no streams."""
        written = (kpi_component_daily, coverage, metric_def)
        rows = (select(literal(1)).select_from(table).limit(1) for table in written)
        return any(self._connection.execute(query).first() is not None for query in rows)

    @cached_property
    def _of_levels(self) -> list[str]:
        """Why a level lacks some of what there is: deals that do not say when, and those of before what is read."""
        closed = deal.c.is_won | deal.c.is_lost
        without = {"opening day": deal.c.date_day.is_(None), "close date": closed & deal.c.close_date.is_(None)}
        counts = (func.count(case((which, 1))) for which in without.values())
        found = zip(self._connection.execute(select(*counts)).one(), without, strict=True)
        reasons = [f"{n} opportunit{'y has' if n == 1 else 'ies have'} no {what}" for n, what in found if n]
        if self._config.system_of_record not in self._config.sources:
            return reasons
        unread, start = unread_before(self._connection, self._config), self._config.start_date
        if unread is None:
            return [*reasons, f"opportunities of before start_date {start} are read only where they have changed since"]
        many = (
            f"{unread} opportunities were never read: they have"
            if unread > 1
            else "1 opportunity was never read: it has"
        )
        why = f"{many} not changed since start_date {start}"
        return [*reasons, why] if unread else reasons

    def _of_legs(self, name: str, legs: tuple[Leg, ...], metric: Metric, dated: bool) -> str:
        """A sum of several legs is known with any of them, a level with all of them alone."""
        is_level = COMPONENTS[name].aggregate is Aggregate.LEVEL
        days = dated or is_level or isinstance(metric.kind, Cohort)
        reasons = [self._of_needs(name, leg.needs + (leg.dated if days else ())) for leg in legs]
        unknown = any(reasons) if is_level else all(reasons)
        return next(filter(None, reasons)) if unknown else ""

    def _of_needs(self, name: str, needs: tuple[Need, ...]) -> str:
        if needs and (why := self._facts.why_not(rows := Need(needs[0].table))):
            return f"nothing that is switched on gives {name.replace('_', ' ')}" if why == rows.hint else why
        return next((why for need in needs if (why := self._facts.why_not(need))), "")


_WORDS = {
    "spend": "the ad spend", "impressions": "impressions", "clicks": "clicks on ads",
    "marketing_cost": "a marketing cost", "sales_cost": "a sales cost",
}  # fmt: skip
_PAID = {"spend": "ad spend", "marketing_cost": "marketing cost"}
