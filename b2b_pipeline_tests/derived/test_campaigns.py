"""A touch that carries a campaign's name belongs to that campaign, so that leads and spend meet."""

from __future__ import annotations

from sqlalchemy import select

from b2b_pipeline.derived.campaigns import ambiguous_campaigns
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import campaign, identity_cluster, lead, person, touchpoint
from b2b_pipeline_tests.warehouse.test_write import CONFIG, DAY, at, put, warehouse

__all__ = ["warehouse"]  # the fixture: on both engines

CAMPAIGNS = [
    ("google_ads", "210", "Brand | Search | DE"), ("google_ads", "211", "Vidéo Herbst"),
    ("google_ads", "212", "Retargeting"), ("salesforce", "701", "retargeting "), ("google_ads", "213", "210"),
    ("google_ads", "214", None),
]  # fmt: skip


def campaigns_of(warehouse: Warehouse, *carried: str | None) -> list[str | None]:
    """The campaign of each person whose one touch carries these words."""
    put(warehouse, campaign, *({"source": s, "campaign_id": i, "name": n} for s, i, n in CAMPAIGNS))
    for number, text in enumerate(carried):
        key = f"hubspot:contact:{number}"
        put(warehouse, identity_cluster, {"record_key": key, "person_key": key})
        record = {"source": "hubspot", "record_key": key}
        put(warehouse, lead, {**record, "lead_id": str(number), "created_at": at(1), "date_day": DAY})
        put(
            warehouse, touchpoint,
            {**record, "touch_id": key, "touched_at": at(1), "channel": "paid_search", "campaign_id": text},
        )  # fmt: skip
    derive_table(warehouse, CONFIG, person)
    query = select(person.c.campaign_id).order_by(person.c.person_key)
    return [row["campaign_id"] for row in warehouse.rows(query)]


def test_a_campaign_is_known_by_its_id_or_by_its_name_however_it_is_written(warehouse: Warehouse) -> None:
    carried = ("brand | search | de", "VIDÉO  herbst", "Vide\u0301o Herbst", "210", "somebody else's", None)
    assert campaigns_of(warehouse, *carried) == ["210", "211", "211", "210", "somebody else's", None]
    with warehouse.read() as connection:
        assert ambiguous_campaigns(connection) == []


def test_a_name_of_several_campaigns_is_told_and_not_guessed(warehouse: Warehouse) -> None:
    assert campaigns_of(warehouse, "Retargeting") == ["Retargeting"]
    with warehouse.read() as connection:
        assert ambiguous_campaigns(connection) == ["'Retargeting' is the name of 212, 701"]


def test_what_gathers_campaigns_is_meant_only_where_none_of_them_has_the_name(warehouse: Warehouse) -> None:
    hubspot = {"source": "hubspot", "campaign_type": "marketing_campaign"}
    names = {"a1": "brand | search | de", "a2": "Spring launch"}
    put(warehouse, campaign, *({**hubspot, "campaign_id": known, "name": name} for known, name in names.items()))
    assert campaigns_of(warehouse, "Brand | Search | DE", "spring launch") == ["210", "a2"]
    with warehouse.read() as connection:
        assert ambiguous_campaigns(connection) == []
