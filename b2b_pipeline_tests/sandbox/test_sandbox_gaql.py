"""The Google Ads Query Language: what it refuses, with which of Google's codes, and what its date ranges mean."""

from __future__ import annotations

from datetime import date

import pytest

from b2b_sandbox import gaql

WEDNESDAY = date(2026, 3, 11)
BASE = "SELECT campaign.id FROM campaign "


def refusal(query: str) -> str:
    with pytest.raises(gaql.QueryError) as refused:
        gaql.parse(query, WEDNESDAY)
    return refused.value.code


@pytest.fixture(scope="module")
def codes() -> set[str]:
    """Every code that Google has for a query."""
    from google.ads.googleads.v26.errors.types.query_error import QueryErrorEnum

    return set(QueryErrorEnum.QueryError.__members__)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "EXPECTED_SELECT"),
        ("SELECT", "UNEXPECTED_END_OF_QUERY"),
        ("SELECT campaign.id", "EXPECTED_FROM"),
        ("SELECT campaign.id FROM campaigns", "BAD_RESOURCE_TYPE_IN_FROM_CLAUSE"),
        ("SELECT * FROM campaign", "UNEXPECTED_INPUT"),
        ("SELECT campaign.start_date FROM campaign", "UNRECOGNIZED_FIELD"),
        ("SELECT metrics.video_views FROM campaign", "UNRECOGNIZED_FIELD"),
        ("SELECT campaign.network_settings FROM campaign", "PROHIBITED_FIELD_IN_SELECT_CLAUSE"),
        ("SELECT ad_group.id FROM campaign", "PROHIBITED_RESOURCE_TYPE_IN_SELECT_CLAUSE"),
        ("SELECT metrics.clicks FROM customer_client", "PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE"),
        ("SELECT segments.date FROM conversion_action", "PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE"),
        (
            "SELECT metrics.cost_micros, segments.conversion_action FROM campaign",
            "PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
        ),
        ("SELECT segments.date, metrics.clicks FROM campaign", "EXPECTED_FILTERS_ON_DATE_RANGE"),
        ("SELECT metrics.clicks FROM campaign WHERE segments.date > '2026-01-01'", "EXPECTED_FILTERS_ON_DATE_RANGE"),
        ("SELECT campaign.id § FROM campaign", "BAD_SYMBOL"),
    ],
)
def test_a_bad_query_is_refused_with_googles_own_code(codes: set[str], query: str, code: str) -> None:
    assert refusal(query) == code
    assert code in codes


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ("WHERE ad_group.id = 1", "PROHIBITED_RESOURCE_TYPE_IN_WHERE_CLAUSE"),
        ("WHERE segments.date BETWEEN '2026-02-01' AND '2026-01-01'", "DATE_RANGE_TOO_NARROW"),
        ("WHERE segments.date = '2026-02-30'", "INVALID_DATE_FORMAT"),
        ("WHERE segments.date BETWEEN '2026-02-01' AND 'x'", "INVALID_VALUE_WITH_BETWEEN_OPERATOR"),
        ("WHERE segments.date BETWEEN '2026-02-01', '2026-02-02'", "EXPECTED_AND"),
        ("WHERE segments.date DURING LAST_99_DAYS", "INVALID_VALUE_WITH_DURING_OPERATOR"),
        ("WHERE segments.conversion_action_name = 'a'", "EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE"),
        ("ORDER BY metrics.clicks", "EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE"),
        ("ORDER campaign.id", "EXPECTED_BY"),
        ("WHERE campaign.status = 'ACTIVE'", "BAD_ENUM_CONSTANT"),
        ("WHERE campaign.status > 'ENABLED'", "OPERATOR_FIELD_MISMATCH"),
        ("WHERE campaign.name LIKE 'B%'", "BAD_OPERATOR"),
        ("WHERE campaign.name = Brand", "INVALID_STRING_VALUE"),
        ("WHERE campaign.id = eleven", "BAD_NUMBER"),
        ("WHERE campaign.id IN 11", "EXPECTED_LIST"),
        ("WHERE campaign.id IN ()", "PROHIBITED_EMPTY_LIST_IN_CONDITION"),
        ("WHERE campaign.id = (11)", "EXPECTED_SINGLE_VALUE"),
        ("WHERE campaign.name = 'Brand", "STRING_NOT_TERMINATED"),
        ("WHERE campaign.name = 'Br\nand'", "PROHIBITED_NEWLINE_IN_STRING"),
        ("WHERE campaign.id = 11 OR campaign.id = 12", "UNEXPECTED_INPUT"),
        ("LIMIT ten", "BAD_LIMIT_VALUE"),
        ("LIMIT 0", "LIMIT_VALUE_TOO_LOW"),
        ("PARAMETERS include_drafts=true", "BAD_PARAMETER_NAME"),
    ],
)
def test_a_bad_clause_is_refused_with_googles_own_code(codes: set[str], clause: str, code: str) -> None:
    assert refusal(BASE + clause) == code
    assert code in codes


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("TODAY", ("2026-03-11", "2026-03-11")),
        ("YESTERDAY", ("2026-03-10", "2026-03-10")),
        ("LAST_7_DAYS", ("2026-03-04", "2026-03-10")),
        ("LAST_14_DAYS", ("2026-02-25", "2026-03-10")),
        ("LAST_30_DAYS", ("2026-02-09", "2026-03-10")),
        ("LAST_BUSINESS_WEEK", ("2026-03-02", "2026-03-06")),
        ("THIS_MONTH", ("2026-03-01", "2026-03-31")),
        ("LAST_MONTH", ("2026-02-01", "2026-02-28")),
        ("THIS_WEEK_SUN_TODAY", ("2026-03-08", "2026-03-11")),
        ("THIS_WEEK_MON_TODAY", ("2026-03-09", "2026-03-11")),
        ("LAST_WEEK_SUN_SAT", ("2026-03-01", "2026-03-07")),
        ("LAST_WEEK_MON_SUN", ("2026-03-02", "2026-03-08")),
    ],
)
def test_a_named_range_has_its_first_and_last_day(name: str, days: tuple[str, str]) -> None:
    query = gaql.parse(BASE + "WHERE segments.date DURING " + name, WEDNESDAY)
    assert query.days() == days


def test_several_conditions_narrow_the_days() -> None:
    where = "WHERE segments.date >= '2026-02-01' AND segments.date IN ('2026-02-09', '2026-01-03')"
    assert gaql.parse(BASE + where, WEDNESDAY).days() == ("2026-02-01", "2026-02-09")
