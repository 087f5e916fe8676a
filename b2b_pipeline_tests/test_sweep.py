"""What a CRM purged, or deleted for privacy, is found by the list of ids that it still has, and by nothing else."""

from __future__ import annotations

from sqlalchemy import select

from b2b_pipeline.core.derive import derive_table
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import deal, identity_cluster, lead, opportunity, person, record_present
from b2b_pipeline_tests.test_write import CONFIG, DAY, at, put, warehouse

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


def swept(warehouse: Warehouse, account: str, object_: str, *ids: str) -> None:
    row = {"source": "hubspot", "source_account": account, "object": object_, "swept_at": at(5)}
    put(warehouse, record_present, *({**row, "object_id": id_} for id_ in ids))


def test_what_a_sweep_no_longer_finds_is_gone_unless_it_changed_since(warehouse: Warehouse) -> None:
    records(warehouse)
    assert standing(warehouse) == (["1", "2", "3", "4"], ["1", "2"])  # nobody has swept
    swept(warehouse, "p", "lead", "1", "3")
    assert standing(warehouse) == (["1", "3", "4"], ["1", "2"])  # the deals were not swept
    swept(warehouse, "p", "opportunity", "7")
    assert standing(warehouse) == (["1", "3", "4"], ["2"])


def test_the_sweep_of_one_account_says_nothing_of_another(warehouse: Warehouse) -> None:
    records(warehouse)
    swept(warehouse, "another", "lead", "9")
    assert standing(warehouse)[0] == ["1", "2", "3", "4"]
