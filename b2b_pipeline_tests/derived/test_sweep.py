"""What a CRM purged, or deleted for privacy, is found by the list of ids that it still has, and by nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.sweep import SWEPT
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.derived.gone import gone, sweeps
from b2b_pipeline.derived.records import person_touches
from b2b_pipeline.metrics.known import Known
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import (
    account,
    deal,
    identity_cluster,
    identity_link,
    kpi_component_daily,
    lead,
    opp_contact_role,
    opportunity,
    person,
    record_present,
    touchpoint,
)
from b2b_pipeline.warehouse.write import merge_newest
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import UNTIL, served
from b2b_pipeline_tests.warehouse.test_write import CONFIG, DAY, at, put, warehouse

__all__ = ["warehouse"]  # the fixture: on both engines


def records(warehouse: Warehouse) -> None:
    """Leads 1 to 4 and deals 1 and 2 of one account, changed at hour 1; lead 4 and deal 2 changed at hour 9."""
    origin = {"source": "hubspot", "source_account": "p"}
    for number, changed in ((1, 1), (2, 1), (3, 1), (4, 9)):
        key = f"hubspot:contact:{number}"
        put(warehouse, identity_cluster, {"record_key": key, "person_key": key})
        row = {"lead_id": str(number), "record_key": key, "created_at": at(1), "date_day": DAY}
        put(warehouse, lead, {**origin, **row, "updated_at": at(changed)})
    for number, changed in ((1, 1), (2, 9)):
        put(warehouse, opportunity, {**origin, "opp_id": str(number), "date_day": DAY, "updated_at": at(changed)})


def standing(warehouse: Warehouse) -> tuple[list[str], list[str]]:
    for table in (person, deal):
        derive_table(warehouse, CONFIG, table)
    people = warehouse.rows(select(person.c.person_key).order_by(person.c.person_key))
    deals = warehouse.rows(select(deal.c.opp_id).order_by(deal.c.opp_id))
    return [row["person_key"][-1] for row in people], [row["opp_id"] for row in deals]


def swept(warehouse: Warehouse, account: str, object_: str, *ids: str, source: str = "hubspot", hour: int = 5) -> None:
    """As a load does: of an older sweep the rows stay of what a newer one did not find."""
    row = {"source": source, "source_account": account, "object": object_, "swept_at": at(hour)}
    rows = pa.Table.from_pylist([{**row, "object_id": id_} for id_ in ids], schema=arrow_schema(record_present))
    with warehouse.write() as connection:
        merge_newest(connection, record_present, rows)


def test_what_a_sweep_no_longer_finds_is_gone_unless_it_changed_since(warehouse: Warehouse) -> None:
    records(warehouse)
    assert standing(warehouse) == (["1", "2", "3", "4"], ["1", "2"])  # nobody has swept
    swept(warehouse, "p", "lead", "1", "3")
    assert standing(warehouse) == (["1", "3", "4"], ["1", "2"])  # the deals were not swept
    swept(warehouse, "p", "opportunity", "7")
    assert standing(warehouse) == (["1", "3", "4"], ["2"])


def test_of_each_object_the_newest_sweep_that_could_list_it_counts(warehouse: Warehouse) -> None:
    records(warehouse)
    swept(warehouse, "p", "lead", "*", "2", hour=5)
    swept(warehouse, "p", "opportunity", "*", hour=5)
    assert standing(warehouse) == (["2", "4"], ["2"])
    swept(warehouse, "p", "lead", "*", "1", "3", hour=7)  # the deals may not be listed any more
    assert standing(warehouse) == (["1", "3", "4"], ["2"])
    with warehouse.read() as connection:
        found = sweeps(connection, CONFIG)
    assert {object_: (sweep.at, sweep.there, sorted(sweep.gone)) for (_, object_), sweep in found.items()} == {
        "lead": (at(7), 2, ["2"]),
        "opportunity": (at(5), 0, ["1"]),
    }


def test_the_sweep_of_one_account_says_nothing_of_another(warehouse: Warehouse) -> None:
    records(warehouse)
    swept(warehouse, "another", "lead", "*", "9")
    assert standing(warehouse)[0] == ["1", "2", "3", "4"]
    swept(warehouse, "p", "lead", "*", hour=6)
    swept(warehouse, "another", "lead", "*", "1", "9", hour=7)
    assert standing(warehouse)[0] == ["4"]


def test_who_is_registered_no_more_is_gone_where_their_webinar_is_still_told(warehouse: Warehouse) -> None:
    """Of webinar 6, which was long ago, Zoom tells nothing any more: that proves nothing of who registered for it."""
    origin = {"source": "zoom_webinars", "source_account": "z"}
    for webinar, name in ((5, "a"), (5, "b"), (6, "c")):
        who = f"{webinar}:{name}"
        key = f"zoom_webinars:contact:{who}"
        put(warehouse, identity_cluster, {"record_key": key, "person_key": name})
        row = {"lead_id": who, "record_key": key, "created_at": at(1), "date_day": DAY, "updated_at": at(1)}
        put(warehouse, lead, {**origin, **row})
        touch = {"source_id": who, "touch_id": who, "record_key": key, "channel": "events", "campaign_id": f"{webinar}"}
        more = {"touch_type": "webinar_registration", "touched_at": at(1), "date_day": DAY, "updated_at": at(1)}
        put(warehouse, touchpoint, {**origin, **touch, **more})
    came = {"source_id": "uuid:b", "touch_id": "uuid:b", "record_key": "zoom_webinars:contact:5:b", "channel": "events"}
    more = {"touch_type": "webinar", "touched_at": at(2), "date_day": DAY, "updated_at": at(2), "campaign_id": "5"}
    put(warehouse, touchpoint, {**origin, **came, **more})
    assert standing(warehouse)[0] == ["a", "b", "c"]
    swept(warehouse, "z", "registrant", "*", "5:*", "5:a", source="zoom_webinars")
    assert standing(warehouse)[0] == ["a", "c"]
    with warehouse.read() as connection, gone(connection, CONFIG):
        touches = connection.execute(select(person_touches().c.touch_id)).scalars().all()
        found = sweeps(connection, CONFIG)["zoom_webinars", "registrant"]
    assert sorted(touches) == ["5:a", "6:c", "uuid:b"], "who came has come, though they registered no more"
    assert (found.there, found.gone) == (1, {"5:b"})


SALESFORCE = CONFIG.model_copy(update={"system_of_record": "salesforce"})
ORG = {"source": "salesforce", "source_account": "o"}


def won(warehouse: Warehouse) -> None:
    """Two won deals of an account each, known by contact 1 and, merged into 3, by contact 2; each touched once."""
    for number in ("1", "2"):
        deal_row = {"opp_id": number, "account_id": f"A{number}", "is_won": True, "is_closed": True}
        put(warehouse, opportunity, {**ORG, **deal_row, "date_day": DAY, "close_date": DAY, "updated_at": at(1)})
        role = {"role_id": f"R{number}", "opp_id": number, "contact_id": number, "created_at": at(1)}
        put(warehouse, opp_contact_role, {**ORG, **role, "updated_at": at(1)})
        key = f"salesforce:contact:{number}"
        put(warehouse, identity_cluster, {"record_key": key, "person_key": f"p{number}"})
        link = {"source_id": number, "from_key": key, "to_key": f"email:{number}", "rule": "email"}
        put(warehouse, identity_link, {**ORG, **link, "updated_at": at(1)})
        touch = {"source_id": f"M{number}", "touch_id": f"t{number}", "record_key": key, "channel": "events"}
        put(warehouse, touchpoint, {**ORG, **touch, "touched_at": at(1), "date_day": DAY, "updated_at": at(1)})
    merge = {"source_id": "2", "from_key": "salesforce:contact:2", "to_key": "salesforce:contact:3", "rule": "merge"}
    put(warehouse, identity_link, {**ORG, **merge, "updated_at": at(1)})


def shown(warehouse: Warehouse, *columns: str, config: Config = SALESFORCE) -> dict[str, list[object]]:
    """Deal -> some of its columns."""
    derive_table(warehouse, config, deal)
    rows = warehouse.rows(select(deal).order_by(deal.c.opp_id))
    return {row["opp_id"]: [row[name] for name in columns] for row in rows}


def test_a_role_or_a_touch_that_is_gone_no_longer_ties_a_deal_to_a_person_or_a_channel(warehouse: Warehouse) -> None:
    won(warehouse)
    assert shown(warehouse, "person_key", "channel") == {"1": ["p1", "events"], "2": ["p2", "events"]}
    swept(warehouse, "o", "campaign_member", "M2", source="salesforce")
    assert shown(warehouse, "person_key", "channel") == {"1": ["p1", None], "2": ["p2", "events"]}
    swept(warehouse, "o", "opp_contact_role", "R1", source="salesforce")
    assert shown(warehouse, "person_key", "channel") == {"1": ["p1", None], "2": [None, None]}


def test_a_contact_that_is_gone_has_no_deal_but_one_that_was_merged_away_lives_on(warehouse: Warehouse) -> None:
    won(warehouse)
    swept(warehouse, "o", "contact", "3", source="salesforce")
    assert shown(warehouse, "person_key") == {"1": [None], "2": ["p2"]}


def test_an_account_that_is_gone_is_no_customer_but_one_that_nobody_could_read_may_be_there(
    warehouse: Warehouse,
) -> None:
    won(warehouse)
    put(warehouse, account, {**ORG, "account_id": "A1", "updated_at": at(1)})
    swept(warehouse, "o", "account", "A7", source="salesforce")
    assert shown(warehouse, "account_id", "is_new_customer") == {"1": [None, False], "2": ["A2", True]}


def test_a_company_that_hubspot_deleted_is_no_customer_though_companies_are_only_swept(warehouse: Warehouse) -> None:
    origin = {"source": "hubspot", "source_account": "p", "is_won": True, "date_day": DAY, "close_date": DAY}
    put(warehouse, opportunity, *({**origin, "opp_id": n, "account_id": f"A{n}", "updated_at": at(1)} for n in "12"))
    swept(warehouse, "p", "account", "A2")
    assert shown(warehouse, "account_id", "is_new_customer", config=CONFIG) == {"1": [None, False], "2": ["A2", True]}


def test_an_account_id_of_ones_own_is_no_company_that_could_be_missed(warehouse: Warehouse) -> None:
    own = CONFIG.model_dump() | {"sources": {"hubspot": {"fields": {"account_id": "customer_number"}}}}
    origin = {"source": "hubspot", "source_account": "p", "is_won": True, "date_day": DAY, "close_date": DAY}
    put(warehouse, opportunity, {**origin, "opp_id": "1", "account_id": "C-17", "updated_at": at(1)})
    swept(warehouse, "p", "account", "A2")
    config = Config.model_validate(own)
    assert shown(warehouse, "account_id", "is_new_customer", config=config) == {"1": ["C-17", True]}


def test_of_an_object_that_has_no_record_any_more_everything_is_gone(warehouse: Warehouse) -> None:
    records(warehouse)
    swept(warehouse, "p", "lead", "*")
    assert standing(warehouse) == (["4"], ["1", "2"])  # lead 4 changed since
    with warehouse.read() as connection:
        (found,) = sweeps(connection, CONFIG).values()
    assert (found.there, sorted(found.gone)) == (0, ["1", "2", "3"])


def test_a_record_that_changed_after_the_sweep_is_there_whatever_is_known_of_it_from_before(
    warehouse: Warehouse,
) -> None:
    won(warehouse)
    link = {"source_id": "1", "from_key": "salesforce:contact:1", "to_key": "email:new", "rule": "email"}
    put(warehouse, identity_link, {**ORG, **link, "updated_at": at(6)})
    swept(warehouse, "o", "contact", "3", source="salesforce")
    assert shown(warehouse, "person_key") == {"1": ["p1"], "2": ["p2"]}


def test_a_contact_that_hubspot_archived_is_on_no_deal_any_more(warehouse: Warehouse) -> None:
    origin = {"source": "hubspot", "source_account": "p"}
    put(warehouse, opportunity, {**origin, "opp_id": "1", "date_day": DAY, "updated_at": at(1)})
    for number, is_deleted in (("8", True), ("9", False)):
        key = f"hubspot:contact:{number}"
        put(warehouse, identity_cluster, {"record_key": key, "person_key": number})
        row = {"lead_id": number, "record_key": key, "created_at": at(1), "is_deleted": is_deleted}
        put(warehouse, lead, {**origin, **row, "updated_at": at(2)})
        role = {"role_id": f"1:{number}", "opp_id": "1", "contact_id": number, "is_primary": is_deleted}
        put(warehouse, opp_contact_role, {**origin, **role, "updated_at": at(1)})
    derive_table(warehouse, CONFIG.model_copy(update={"system_of_record": "hubspot"}), deal)
    assert warehouse.rows(select(deal.c.person_key)) == [{"person_key": "9"}]


def test_while_a_sweep_is_damaged_no_number_that_it_decides_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = installation.copy(tmp_path, monkeypatch)
    pipeline = found.pipeline()

    def reasons(metric: str) -> str:
        (answer,) = ask(pipeline.warehouse, pipeline.config, [metric], installation.START, installation.UNTIL)
        return "; ".join(answer.reasons)

    (body,) = (pipeline.landing.root / "raw" / "hubspot" / "present").rglob("*.zst")
    body.unlink()
    rebuild(pipeline, "damaged", replay=True)
    assert "hubspot/present" in reasons("leads")
    assert "hubspot/present" not in reasons("spend")
    with served(found.world):
        pipeline.ingest("hubspot", "present", UNTIL, UNTIL + timedelta(days=1), "again", early=True)
    rebuild(pipeline, "again", replay=False)
    assert "hubspot/present" not in reasons("leads")


def test_what_is_open_is_whole_only_where_a_sweep_says_that_no_deal_of_before_is_missing(warehouse: Warehouse) -> None:
    def why() -> list[str]:
        with warehouse.read() as connection:
            return Known(connection, CONFIG).partly(METRICS["open_opportunities"])

    records(warehouse)
    standing(warehouse)
    with warehouse.write() as connection:
        connection.execute(kpi_component_daily.insert().values(component="leads", value=1, n_rows=1))
    start = CONFIG.start_date
    assert why() == [f"opportunities of before start_date {start} are read only where they have changed since"]
    swept(warehouse, "p", "opportunity", "1", "2", "old", SWEPT)
    assert why() == [f"1 opportunity was never read: it has not changed since start_date {start}"]
    put(warehouse, opportunity, {"source": "hubspot", "source_account": "p", "opp_id": "old", "updated_at": at(1)})
    assert why() == []


def test_who_is_registered_no_more_stays_so_when_the_webinar_is_told_no_more(warehouse: Warehouse) -> None:
    origin = {"source": "zoom_webinars", "source_account": "z", "touch_type": "webinar_registration"}
    for webinar, person_ in (("9", "r1"), ("9", "r2"), ("8", "r3")):
        row = {"touch_id": person_, "source_id": f"{webinar}:{person_}", "campaign_id": webinar, "updated_at": at(1)}
        put(warehouse, touchpoint, {**origin, **row, "touched_at": at(1), "date_day": DAY})

    def missed() -> set[str]:
        with warehouse.read() as connection:
            found = sweeps(connection, CONFIG).get(("zoom_webinars", "registrant"))
        return {*found.gone} if found else set()

    def listed(hour: int, *ids: str) -> None:
        swept(warehouse, "z", "registrant", SWEPT, *ids, source="zoom_webinars", hour=hour)

    listed(3, f"9:{SWEPT}", "9:r1", "9:r2", f"8:{SWEPT}", "8:r3")
    assert missed() == set()
    listed(5, f"9:{SWEPT}", "9:r2", f"8:{SWEPT}", "8:r3")
    assert missed() == {"9:r1"}
    listed(7, f"8:{SWEPT}", "8:r3")
    assert missed() == {"9:r1"}, "of webinar 9 nothing is told any more"
    listed(9)
    assert missed() == {"9:r1"}
