"""`credit`: to which touches of its person a won opportunity is credited, by each attribution model."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Select, Table, cast, literal, select, union_all

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, first_by, text_order
from b2b_pipeline.derived.campaigns import NAMED
from b2b_pipeline.derived.deal import of_deals
from b2b_pipeline.derived.records import by_campaign, prepared_from, rows_of, touches_of
from b2b_pipeline.warehouse.dialects import minus_days
from b2b_pipeline.warehouse.tables import RATE, credit, deal, touchpoint

WINDOW_DAYS = 365  # before the close, both included
MODELS = ("first", "last")


def credits(config: Config, named: Table) -> Select[Any]:
    """Rows of `credit`: the whole amount to the first touch, and by the other model to the last."""
    won = select(deal).where(deal.c.is_won).cte("won")
    touches = touches_of(select(won.c.person_key).where(won.c.person_key.is_not(None)))
    near = (
        select(won.c.source, won.c.opp_id, touches.c.touch_id, touches.c.touched_at, touches.c.channel,
               touches.c.campaign_id)
        .join(touches, touches.c.person_key == won.c.person_key)
        .where(touches.c.date_day.between(minus_days(won.c.close_date, WINDOW_DAYS), won.c.close_date))
        .cte("near")
    )  # fmt: skip
    seen = by_campaign(near, named).cte("seen")
    in_order = (seen.c.touched_at, text_order(seen.c.touch_id))
    chosen = {
        "first": first_by(select(seen), seen.c.opp_id, *in_order, name="first_seen"),
        "last": first_by(select(seen), seen.c.opp_id, *(part.desc() for part in in_order), name="last_seen"),
    }
    parts = [
        select(
            won.c.source, won.c.opp_id, literal(model).label("model"), touch.c.touch_id,
            cast(literal(WINDOW_DAYS), BigInteger).label("window_days"), won.c.close_date.label("date_day"),
            touch.c.channel, touch.c.campaign_id, cast(literal(1), RATE).label("weight"), won.c.currency,
            won.c.amount_reporting,
        ).outerjoin(touch, touch.c.opp_id == won.c.opp_id)
        for model, touch in chosen.items()
    ]  # fmt: skip
    return select(union_all(*parts).subquery("credited"))


def _trace(config: Config, rows: list[Row]) -> Trace:
    """The opportunities, the records that tie persons to them, and the touches."""
    yield from of_deals(config, sorted({row["opp_id"] for row in rows}))
    yield touchpoint, touchpoint.c.touch_id.in_(sorted({row["touch_id"] for row in rows if row["touch_id"]}))


CREDIT = Derived(credit, rows_of(credits), lambda config: [credits(config, NAMED)], prepared_from, _trace)
