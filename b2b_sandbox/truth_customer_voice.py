"""What surveys and support come to: facts of what people said and asked (voices.py), by docs/semantics.md."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from b2b_sandbox import voices
from b2b_sandbox.truth_facts import CENT_OF_CENT, Fact, Money
from b2b_sandbox.truth_metrics import metric
from b2b_sandbox.truth_people import day_in
from b2b_sandbox.world import World

METRICS = {
    "survey_responses": metric("count", "survey_responses"),
    "nps": metric("rate", "100*nps_promoters -100*nps_detractors", "nps_responses"),
    "csat": metric("rate", "csat_sum", "csat_responses"),
    "tickets": metric("count", "tickets"),
    "ticket_answered_rate": metric("rate", "tickets_answered", "tickets"),
    "ticket_resolved_rate": metric("rate", "tickets_resolved", "tickets"),
    "ticket_reopened_rate": metric("rate", "tickets_reopened", "tickets"),
    "ticket_csat": metric("rate", "ticket_csat_sum", "ticket_csat_responses"),
}
QUANTILES = {
    "first_response_time_median": ("first_response_times", Fraction(1, 2)),
    "first_response_time_p90": ("first_response_times", Fraction(9, 10)),
    "resolution_time_median": ("resolution_times", Fraction(1, 2)),
    "resolution_time_p90": ("resolution_times", Fraction(9, 10)),
}
LEAD_FORMS = {"demo"}
FIRST = {"onboarding": 1, "effort": 0}  # of a scale
STEPS = {"onboarding": 5, "effort": 6}
STARS = {"intercom"}  # help desks that are rated with stars, not good or bad
MINUTE = 60_000


def surveys(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    """Of Typeform: responses that were submitted, by the day they were."""
    one = Decimal(1)
    for said in voices.answers(connection, now):
        if said.submitted is None or said.form in LEAD_FORMS:
            continue
        day = day_in(zone, said.submitted // 1000)
        yield Fact("survey_responses", day, None, one)
        if said.score is not None:
            yield Fact("nps_responses", day, None, one)
            yield Fact("nps_promoters", day, None, one if said.score > 8 else Decimal(0))
            yield Fact("nps_detractors", day, None, one if said.score < 7 else Decimal(0))
        if said.rating is not None:
            yield Fact("csat_responses", day, None, one)
            yield Fact("csat_sum", day, None, share(said.rating - FIRST[said.form], STEPS[said.form] - 1))


def desk_surveys(
    world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money
) -> Iterator[Fact]:
    """Of Zendesk: who rated a ticket by a survey, by the day they did; the nearest step of its version."""
    for asked in voices.tickets(connection, now, "zendesk"):
        if asked.survey and asked.rated is not None and asked.stars is not None:
            day = day_in(zone, asked.rated // 1000)
            yield Fact("survey_responses", day, None, Decimal(1))
            yield Fact("csat_responses", day, None, Decimal(1))
            of_three = share((asked.stars - 1) // 2, 2)
            yield Fact("csat_sum", day, None, of_three if asked.survey == 2 else share(asked.stars - 1, 4))


def zendesk(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    yield from support("zendesk")(world, connection, now, zone, money)
    yield from desk_surveys(world, connection, now, zone, money)


def share(part: int, whole: int) -> Decimal:
    return (Decimal(part) / whole).quantize(CENT_OF_CENT, ROUND_HALF_EVEN)


def support(desk: str) -> Callable[[World, sqlite3.Connection, int, ZoneInfo, Money], Iterator[Fact]]:
    """Of a help desk: tickets that are not deleted, by the day they were made, as they are now."""

    def facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
        one = Decimal(1)
        for asked in voices.tickets(connection, now, desk):
            if asked.is_deleted:
                continue
            day = day_in(zone, asked.created // 1000)
            yield Fact("tickets", day, None, one)
            yield Fact("tickets_reopened", day, None, one if asked.reopens else Decimal(0))
            if asked.replied is not None:
                yield Fact("tickets_answered", day, None, one)
                yield Fact("first_response_times", day, None, Decimal((asked.replied - asked.created) // MINUTE))
            if asked.solved is not None:
                yield Fact("tickets_resolved", day, None, one)
                yield Fact("resolution_times", day, None, Decimal((asked.solved - asked.created) // MINUTE))
            if asked.is_good is not None and asked.stars is not None:
                yield Fact("ticket_csat_responses", day, None, one)
                given = (asked.stars - 1, 4) if desk in STARS else (int(asked.is_good), 1)
                yield Fact("ticket_csat_sum", day, None, share(*given))

    return facts
