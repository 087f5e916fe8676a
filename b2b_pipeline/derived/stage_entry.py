"""`stage_entry`: every entry of a person into a stage, and those into stages that they must have passed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    exists,
    false,
    func,
    literal,
    null,
    select,
    true,
    union_all,
    values,
)

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, text_order
from b2b_pipeline.derived.gone import deleted, gone, gone_records
from b2b_pipeline.derived.person import of_persons, stages_of
from b2b_pipeline.derived.records import counting_leads
from b2b_pipeline.warehouse.tables import stage_entry, stage_event


def entries(config: Config) -> Select[Any]:
    """Rows of `stage_entry`.

    Of a person with several records, each record's entries are theirs; a record leaves a stage when it enters another.
    """
    leads, event = counting_leads(), stage_event.c
    rank = case({stage: rank for rank, stage in enumerate(config.stages.order)}, value=event.to_stage, else_=-1)
    following = func.lead(event.entered_at).over(
        partition_by=(event.source, event.object_id),
        order_by=(event.entered_at, event.changed_at, rank, text_order(event.to_stage)),
    )
    recorded = (
        select(
            leads.c.person_key, event.to_stage.label("stage"), event.entered_at, event.date_day,
            following.label("left_at"), event.changed_at.label("recorded_at"),
            event.source.concat(":").concat(event.object_id).label("tie"),
            rank.label("rank"),
        )
        .join(leads, and_(event.source == leads.c.source, event.object_id == leads.c.lead_id))
        .where(event.object == "lead", ~deleted(stage_event))
        .cte("recorded")
    )  # fmt: skip
    order = (recorded.c.date_day, recorded.c.entered_at, text_order(recorded.c.tie))
    nth = func.row_number().over(partition_by=(recorded.c.person_key, recorded.c.stage), order_by=order)
    told = select(
        recorded.c.person_key, recorded.c.stage, cast(nth, BigInteger).label("nth"), recorded.c.entered_at,
        recorded.c.left_at, recorded.c.recorded_at, recorded.c.date_day, false().label("is_implied"),
    )  # fmt: skip
    stages = values(column("stage", Text), column("rank", BigInteger), name="stage_order").data(
        [(stage, rank) for rank, stage in enumerate(config.stages.order)]
    )
    own = recorded.alias("own")
    is_told = exists(
        select(1).where(own.c.person_key == recorded.c.person_key, own.c.stage == cast(stages.c.stage, Text))
    )
    passed = (
        select(
            recorded.c.person_key, cast(stages.c.stage, Text).label("stage"), cast(literal(1), BigInteger).label("nth"),
            func.min(recorded.c.entered_at), cast(null(), DateTime), func.min(recorded.c.recorded_at),
            func.min(recorded.c.date_day), true().label("is_implied"),
        )
        .join(stages, recorded.c.rank > stages.c.rank)
        .where(~is_told)
        .group_by(recorded.c.person_key, stages.c.stage)
    )  # fmt: skip
    found = union_all(told, passed).subquery("entry")
    return select(found)


def _trace(config: Config, rows: list[Row]) -> Trace:
    """The lead records of the persons, their stages and first touches."""
    keys = sorted({row["person_key"] for row in rows})
    yield from of_persons(keys)
    yield stage_event, stages_of(keys)


@contextmanager
def _rows(connection: Connection, config: Config) -> Iterator[Select[Any]]:
    with gone(connection, config):
        yield entries(config)


STAGE_ENTRY = Derived(
    stage_entry, _rows, lambda config: [entries(config)], lambda config: [gone_records(config)], _trace
)
