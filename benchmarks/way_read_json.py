"""Recorded answers of Google Ads into the columns of `spend`, by DuckDB alone: from files, with no promise kept."""

from __future__ import annotations

import resource
import sys

import duckdb

LOAD = """
create table spend as select
    r.campaign.id as source_id, r.segments.date::date as date_day, r.customer.id as account_id,
    r.campaign.id as campaign_id, r.campaign.advertisingChannelType as channel, r.campaign.name as campaign_name,
    r.metrics.impressions::bigint as impressions, r.metrics.clicks::bigint as clicks,
    r.metrics.conversions::decimal(20, 6) as conversions_platform,
    r.metrics.conversionsValue::decimal(20, 6) as conv_value_platform,
    (r.metrics.costMicros::decimal(38, 0) / 1000000)::decimal(20, 6) as spend,
    r.customer.currencyCode as currency, r.customer.timeZone as account_tz
from (select unnest(results) as r from read_json(?, maximum_object_size=100000000))"""


def main(folder: str, file: str) -> int:
    with duckdb.connect(file) as connection:
        connection.execute(LOAD, [f"{folder}/page-*.json"])
        rows = connection.execute("select count(*) from spend").fetchone()
    return int(rows[0]) if rows else 0


if __name__ == "__main__":
    print(main(*sys.argv[1:3]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
