"""The same numbers in SQL as somebody would write it for one engine, knowing nothing of the registry; for `kpis.py`."""

from __future__ import annotations

_ROW = """select {day} as date_day, '{family}' as family, '{component}' as component, {channel} as channel,
    {campaign} as campaign_id, {currency} as currency, cast({value} as numeric(20, 6)) as value, count(*) as n_rows,
    count({valued}) as n_values
from {table} where {where} group by {keys}"""


def _people(family: str, component: str, day: str, where: str) -> str:
    return _ROW.format(
        family=family, component=component, day=day, channel="channel", campaign="campaign_id",
        currency="cast(null as text)", value="count(*)", valued="*", table="person",
        where=f"not is_excluded and {where}", keys=f"{day}, channel, campaign_id",
    )  # fmt: skip


def _costs(component: str, table: str, where: str) -> str:
    return _ROW.format(
        family="lead_generation", component=component, day="date_day", channel="channel", campaign="campaign_id",
        currency="currency", value="sum(amount_reporting)", valued="amount_reporting", table=table, where=where,
        keys="date_day, channel, campaign_id, currency",
    )  # fmt: skip


def _credit(component: str, touch: str, where: str = "true") -> str:
    channel, campaign = f"{touch}_touch_channel", f"{touch}_touch_campaign_id"
    return _ROW.format(
        family="attribution", component=component, day="close_date", channel=channel, campaign=campaign,
        currency="currency", value="sum(amount_reporting)", valued="amount_reporting", table="deal",
        where=f"is_won and {where}", keys=f"close_date, {channel}, {campaign}, currency",
    )  # fmt: skip


_MARKETING = """(
    select date_day, channel, campaign_id, currency, spend_reporting as amount_reporting from spend
    union all
    select date_day, channel, campaign_id, currency, amount_reporting from cost_ledger
    where category in ('ads', 'agency', 'tools', 'salaries_marketing', 'content', 'event')) as marketing"""

_FAMILIES = {
    "lead_generation": [
        _people("lead_generation", "leads", "date_day", "true"),
        _people("lead_generation", "mqls", "mql_day", "mql_day is not null"),
        _people("lead_generation", "sqls", "sql_day", "sql_day is not null"),
        _costs("marketing_cost", _MARKETING, "true"),
        _costs("sales_cost", "cost_ledger", "category = 'salaries_sales'"),
    ],
    "funnel_conversion": [
        _people("funnel_conversion", "leads_reached_mql", "date_day", "stage_rank >= 1"),
        _people("funnel_conversion", "mqls_reached_sql", "mql_day", "mql_day is not null and stage_rank >= 3"),
        _people("funnel_conversion", "sqls_with_opportunity", "sql_day", "sql_day is not null and has_opportunity"),
        _people("funnel_conversion", "leads_with_won", "date_day", "has_won"),
    ],
    "attribution": [
        _credit("revenue_first_touch", "first"),
        _credit("revenue_last_touch", "last"),
        _credit("paid_revenue", "last", "last_touch_channel in ('paid_search', 'paid_social', 'display', 'video')"),
        _credit("marketing_revenue", "last", "last_touch_channel not in ('direct', 'offline', 'unknown')"),
    ],
}

_COUNTING = """counting as (
    select c.person_key, l.record_key, l.lead_id, l.source, l.created_at, l.date_day, l.owner, l.country, l.region,
        l.source_original, l.status, l.company, l.capture_type, l.dimensions,
        l.excluded_by is not null or l.email_domain is not distinct from 'ourcompany.example' as excluded
    from lead l join identity_cluster c on c.record_key = l.record_key
    where l.is_deleted is not true and l.merged_into is null and not exists (
        select 1 from identity_link m
        where m.rule = 'merge' and m.from_key = l.record_key and m.is_deleted is not true))"""
_STAGES = """stages as (
    select c.person_key, min(s.date_day) filter (where s.to_stage = 'mql') as mql_day,
        min(s.date_day) filter (where s.to_stage = 'sql') as sql_day,
        max(case s.to_stage when 'lead' then 0 when 'mql' then 1 when 'sal' then 2 when 'sql' then 3
            when 'opportunity' then 4 when 'customer' then 5 else -1 end) as stage_rank
    from stage_event s join counting c on s.object_id = c.lead_id and s.source = c.source
    where s.object = 'lead' and s.is_deleted is not true group by c.person_key)"""
_STANDING = """standing as (
    select * from opportunity
    where source = 'salesforce' and is_deleted is not true and opp_type is distinct from 'Renewal')"""
_CANDIDATES = """candidates as (
    select converted_opp_id as opp_id, record_key, 0 as priority, converted_at as happened, lead_id as tie from lead
    where source = 'salesforce' and converted_opp_id is not null and is_deleted is not true
    union all
    select opp_id, 'salesforce:lead:' || lead_id, 0, created_at, lead_id from opportunity
    where source = 'salesforce' and lead_id is not null
    union all
    select opp_id, 'salesforce:contact:' || contact_id, case when is_primary then 1 else 2 end, created_at, role_id
    from opp_contact_role where source = 'salesforce' and is_deleted is not true)"""
_KNOWN = """known as (
    select k.*, c.person_key from candidates k join identity_cluster c on c.record_key = k.record_key)"""
_WON = """seen as (
    select s.opp_id, t.touch_id, t.touched_at, t.channel, t.campaign_id
    from standing s join owner o on o.opp_id = s.opp_id join touch t on t.person_key = o.person_key
    where s.is_won and t.date_day between s.close_date - 365 and s.close_date)"""
_PERSON = """select p.person_key, p.date_day, t.channel, t.campaign_id, t.touch_id as first_touch_id,
    p.owner, p.country, p.region, s.mql_day, s.sql_day, coalesce(s.stage_rank, -1) as stage_rank,
    d.person_key is not null as has_opportunity,
    coalesce(d.won, false) as has_won, x.is_excluded, p.source_original as lead_source, p.status, p.company,
    p.capture_type, p.dimensions
from first_lead p
join excluded x on x.person_key = p.person_key
left join first_touch t on t.person_key = p.person_key
left join stages s on s.person_key = p.person_key
left join person_deals d on d.person_key = p.person_key"""
_EXCLUDED = "excluded as (select person_key, bool_or(excluded) as is_excluded from counting group by person_key)"
_PERSON_DEALS = """person_deals as (
    select o.person_key, bool_or(coalesce(s.is_won, false)) as won from owner o join standing s on s.opp_id = o.opp_id
    group by o.person_key)"""
_TOUCH = """touch as (
    select t.*, c.person_key from touchpoint t join identity_cluster c on c.record_key = t.record_key
    where t.is_deleted is not true)"""
_DEAL = """select s.source, s.opp_id, o.person_key, s.date_day, s.close_date, t.channel,
    coalesce(s.campaign_id, t.campaign_id) as campaign_id,
    s.account_id, s.opp_type, s.stage, s.owner, s.product, s.region, s.currency, s.amount_reporting,
    coalesce(s.is_won, false) as is_won,
    coalesce(s.is_closed, false) and not coalesce(s.is_won, false) as is_lost, n.opp_id is not null as is_new_customer,
    case when s.is_won then s.close_date - s.date_day end as cycle_days,
    f.touch_id as first_touch_id, f.channel as first_touch_channel, f.campaign_id as first_touch_campaign_id,
    l.touch_id as last_touch_id, l.channel as last_touch_channel, l.campaign_id as last_touch_campaign_id, s.dimensions
from standing s
left join owner o on o.opp_id = s.opp_id
left join first_touch t on t.person_key = o.person_key
left join first_seen f on f.opp_id = s.opp_id
left join last_seen l on l.opp_id = s.opp_id
left join new_customer n on n.opp_id = s.opp_id"""


def _duckdb(name: str, source: str, key: str, order: str, where: str = "true") -> str:
    """The first row of each `key`; QUALIFY is DuckDB's."""
    rank = f"row_number() over (partition by {key} order by {order})"
    return f"{name} as (select * from {source} where {where} qualify {rank} = 1)"  # noqa: S608


def _postgresql(name: str, source: str, key: str, order: str, where: str = "true") -> str:
    """The first row of each `key`; DISTINCT ON is PostgreSQL's."""
    return f"{name} as (select distinct on ({key}) * from {source} where {where} order by {key}, {order})"  # noqa: S608


def _written(engine: str) -> dict[str, str]:
    first = _duckdb if engine == "duckdb" else _postgresql
    owner = [_STANDING, _CANDIDATES, _KNOWN, first("owner", "known", "opp_id", "priority, happened, tie")]
    first_touch = first("first_touch", "touch", "person_key", "touched_at, touch_id")
    person = [
        _COUNTING, first("first_lead", "counting", "person_key", "created_at, record_key"), _EXCLUDED, _STAGES,
        _TOUCH, first_touch, *owner, _PERSON_DEALS,
    ]  # fmt: skip
    deal = [
        *owner, _TOUCH, first_touch, _WON, first("first_seen", "seen", "opp_id", "touched_at, touch_id"),
        first("last_seen", "seen", "opp_id", "touched_at desc, touch_id desc"),
        first("new_customer", "standing", "account_id", "close_date, opp_id", "is_won and account_id is not null"),
    ]  # fmt: skip
    return {
        **{name: "\nunion all\n".join(parts) for name, parts in _FAMILIES.items()},
        "person": f"with {', '.join(person)}\n{_PERSON}",
        "deal": f"with {', '.join(deal)}\n{_DEAL}",
    }


SQL = {engine: _written(engine) for engine in ("duckdb", "postgresql")}
