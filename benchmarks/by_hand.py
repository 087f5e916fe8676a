"""The same numbers in SQL as somebody would write it for one engine, knowing nothing of the registry; for `kpis.py`."""

from __future__ import annotations

_ROW = """select {day} as date_day, '{family}' as family, '{component}' as component, {axis} as axis,
    cast({age} as bigint) as age, {channel} as channel, {campaign} as campaign_id, {currency} as currency,
    cast({value} as numeric(20, 6)) as value, count(*) as n_rows, count({valued}) as n_values
from {table} where {where} group by {keys}"""
_NO = {"axis": "cast(null as text)", "age": "null"}


def _people(family: str, component: str, entered: str, reached: str = "") -> str:
    """Those who entered (a stage, or became a lead); of them those who also are in `reached`, with their age."""
    of = "p" if entered == "lead" else "e"
    table = "person p"
    where = "not p.is_excluded"
    if entered != "lead":
        table += " join stage_entry e on e.person_key = p.person_key"
        where += f" and e.stage = '{entered}' and e.nth = 1 and not e.is_implied"
    if reached:
        table += f" join ({reached}) r on r.person_key = p.person_key"
    age = f"r.date_day - {of}.date_day" if reached else "null"
    keys = f"{of}.date_day, p.channel, p.campaign_id" + (", r.date_day" if reached else "")
    return _ROW.format(
        family=family, component=component, day=f"{of}.date_day", channel="p.channel", campaign="p.campaign_id",
        currency="cast(null as text)", value="count(*)", valued="*", table=table, where=where, keys=keys,
        axis=_NO["axis"], age=age,
    )  # fmt: skip


def _costs(component: str, table: str, where: str) -> str:
    return _ROW.format(
        family="lead_generation", component=component, day="date_day", channel="channel", campaign="campaign_id",
        currency="currency", value="sum(amount_reporting)", valued="amount_reporting", table=table, where=where,
        keys="date_day, channel, campaign_id, currency", **_NO,
    )  # fmt: skip


def _credit(component: str, where: str = "true") -> str:
    return _ROW.format(
        family="attribution", component=component, day="date_day", channel="channel", campaign="campaign_id",
        currency="currency", value="sum(amount_reporting)", valued="amount_reporting", table="credit",
        where=where, keys="date_day, channel, campaign_id, currency, model", axis="model", age="null",
    )  # fmt: skip


_LATE = ("sql", "opportunity", "customer")


def _at_least(*stages: str) -> str:
    named = ", ".join(f"'{stage}'" for stage in stages)
    first = "select person_key, min(date_day) as date_day from stage_entry"
    return f"{first} where stage in ({named}) group by person_key"


_WITH_DEAL = "select person_key, min(date_day) as date_day from deal group by person_key"
_WITH_WON = "select person_key, min(close_date) as date_day from deal where is_won group by person_key"
_MARKETING = """(
    select date_day, channel, campaign_id, currency, spend_reporting as amount_reporting from spend
    union all
    select date_day, channel, campaign_id, currency, amount_reporting from cost_ledger
    where category in ('ads', 'agency', 'tools', 'salaries_marketing', 'content', 'event')) as marketing"""

_FAMILIES = {
    "lead_generation": [
        _people("lead_generation", "leads", "lead"),
        _people("lead_generation", "mqls", "mql"),
        _people("lead_generation", "sqls", "sql"),
        _costs("marketing_cost", _MARKETING, "true"),
        _costs("sales_cost", "cost_ledger", "category = 'salaries_sales'"),
    ],
    "funnel_conversion": [
        _people("funnel_conversion", "leads_reached_mql", "lead", _at_least("mql", "sal", *_LATE)),
        _people("funnel_conversion", "mqls_reached_sql", "mql", _at_least(*_LATE)),
        _people("funnel_conversion", "sqls_with_opportunity", "sql", _WITH_DEAL),
        _people("funnel_conversion", "leads_with_won", "lead", _WITH_WON),
    ],
    "attribution": [
        _credit("attributed_revenue"),
        _credit("paid_revenue", "channel in ('paid_search', 'paid_social', 'display', 'video')"),
        _credit("marketing_revenue", "channel not in ('direct', 'offline', 'unknown')"),
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
_ENTERED = """ranked as (
    select *, case to_stage when 'lead' then 0 when 'mql' then 1 when 'sal' then 2 when 'sql' then 3
        when 'opportunity' then 4 when 'customer' then 5 else -1 end as rank
    from stage_event where object = 'lead' and is_deleted is not true),
entered as (
    select c.person_key, s.to_stage as stage, s.entered_at, s.changed_at, s.date_day, s.rank,
        lead(s.entered_at) over (partition by s.source, s.object_id
            order by s.entered_at, s.changed_at, s.rank, s.to_stage) as left_at,
        s.source || ':' || s.object_id as tie
    from ranked s join counting c on s.object_id = c.lead_id and s.source = c.source)"""
_STAGE_ENTRY = """select person_key, stage,
    row_number() over (partition by person_key, stage order by date_day, entered_at, tie) as nth,
    entered_at, left_at, changed_at as recorded_at, date_day, false as is_implied
from entered
union all
select e.person_key, o.stage, 1, min(e.entered_at), null, min(e.changed_at), min(e.date_day), true
from entered e
join (values ('lead', 0), ('mql', 1), ('sal', 2), ('sql', 3), ('opportunity', 4), ('customer', 5)) as o (stage, rank)
    on e.rank > o.rank
where not exists (select 1 from entered x where x.person_key = e.person_key and x.stage = o.stage)
group by e.person_key, o.stage"""
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
    select d.source, d.opp_id, t.touch_id, t.touched_at, t.channel, t.campaign_id
    from deal d join touch t on t.person_key = d.person_key
    where d.is_won and t.date_day between d.close_date - 365 and d.close_date)"""
_CREDIT = """select d.source, d.opp_id, m.model, m.touch_id, 365 as window_days, d.close_date as date_day, m.channel,
    m.campaign_id, cast(1 as numeric(20, 10)) as weight, d.currency, d.amount_reporting
from deal d join (
    select w.opp_id, 'first' as model, f.touch_id, f.channel, f.campaign_id
    from deal w left join first_seen f on f.opp_id = w.opp_id
    union all
    select w.opp_id, 'last', l.touch_id, l.channel, l.campaign_id
    from deal w left join last_seen l on l.opp_id = w.opp_id
) m on m.opp_id = d.opp_id
where d.is_won"""
_PERSON = """select p.person_key, p.date_day, t.channel, t.campaign_id, t.touch_id as first_touch_id,
    p.owner, p.country, p.region, x.is_excluded, p.source_original as lead_source, p.status, p.company,
    p.capture_type, p.dimensions
from first_lead p
join excluded x on x.person_key = p.person_key
left join first_touch t on t.person_key = p.person_key"""
_EXCLUDED = "excluded as (select person_key, bool_or(excluded) as is_excluded from counting group by person_key)"
_TOUCH = """touch as (
    select t.*, c.person_key from touchpoint t join identity_cluster c on c.record_key = t.record_key
    where t.is_deleted is not true)"""
_DEAL = """select s.source, s.opp_id, o.person_key, s.date_day, s.close_date, t.channel,
    coalesce(s.campaign_id, t.campaign_id) as campaign_id,
    s.account_id, s.opp_type, s.stage, s.owner, s.product, s.region, s.currency, s.amount_reporting,
    coalesce(s.is_won, false) as is_won,
    coalesce(s.is_closed, false) and not coalesce(s.is_won, false) as is_lost, n.opp_id is not null as is_new_customer,
    case when s.is_won then s.close_date - s.date_day end as cycle_days,
    s.dimensions
from standing s
left join owner o on o.opp_id = s.opp_id
left join first_touch t on t.person_key = o.person_key
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
        _COUNTING, first("first_lead", "counting", "person_key", "created_at, record_key"), _EXCLUDED, _TOUCH,
        first_touch,
    ]  # fmt: skip
    credit = [
        _TOUCH, _WON, first("first_seen", "seen", "opp_id", "touched_at, touch_id"),
        first("last_seen", "seen", "opp_id", "touched_at desc, touch_id desc"),
    ]  # fmt: skip
    deal = [
        *owner, _TOUCH, first_touch,
        first("new_customer", "standing", "account_id", "close_date, opp_id", "is_won and account_id is not null"),
    ]  # fmt: skip
    return {
        **{name: "\nunion all\n".join(parts) for name, parts in _FAMILIES.items()},
        "person": f"with {', '.join(person)}\n{_PERSON}",
        "stage_entry": f"with {', '.join((_COUNTING, _ENTERED))}\n{_STAGE_ENTRY}",
        "deal": f"with {', '.join(deal)}\n{_DEAL}",
        "credit": f"with {', '.join(credit)}\n{_CREDIT}",
    }


SQL = {engine: _written(engine) for engine in ("duckdb", "postgresql")}
