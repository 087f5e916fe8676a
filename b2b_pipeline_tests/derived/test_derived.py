"""What a derived table is made of is told by its queries alone."""

from __future__ import annotations

import pytest

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.derived.base import tables_in
from b2b_pipeline.derived.registry import DERIVED, inputs, reads
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support.installation import DEMO

WHATEVER = {
    "start_date": "2026-01-01", "system_of_record": "hubspot", "sources": {"hubspot": {"fields": {"account_id": "x"}}},
    "identity": {"shared_emails": ["h1:" + 32 * "0"]},
    "exclude": {"email_domains": ["a.example"], "opportunity_types": ["r"]},
}  # fmt: skip


@pytest.mark.parametrize("config", [load_config(DEMO), Config.model_validate(WHATEVER)], ids=["demo", "whatever"])
def test_a_configuration_changes_no_table_s_inputs(config: Config) -> None:
    for name, derived in DERIVED.items():
        assert tables_in([*derived.queries(config), *derived.beside(config)]) == reads(name)


def test_inputs_are_those_of_all_queries_down_to_core_tables() -> None:
    assert inputs("email_recipient") == {"email_event"}
    assert inputs("identity_cluster") == {"identity_link", "lead"}
    assert inputs("deal") == {"opportunity", "opp_contact_role", "lead", "touchpoint", "identity_link"}
    assert inputs("person") == {"lead", "touchpoint", "identity_link"}
    assert inputs("stage_entry") == {"lead", "stage_event", "identity_link"}
    assert inputs("credit") == inputs("deal")
    assert inputs("spend") == {"spend"}
    core = {table.name for table in tables.CORE}
    assert all(inputs(name) <= core for name in DERIVED)


def test_what_decides_whether_a_row_stands_is_read_and_no_input() -> None:
    for name in ("person", "deal"):
        assert {"campaign", "record_present", "account"} <= reads(name) - inputs(name)


def test_tables_are_made_after_those_that_they_read() -> None:
    assert list(DERIVED) == [table.name for table in tables.DERIVED]
    made = {table.name for table in tables.CORE}
    for name in DERIVED:
        assert reads(name) <= made
        made.add(name)
