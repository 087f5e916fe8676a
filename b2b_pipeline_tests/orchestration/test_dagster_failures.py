"""What fails, what is tried again, and what no event may tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import func, select

from b2b_pipeline import privacy
from b2b_pipeline.connectors.base import Account
from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.mapped import SliceMapping
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, SplitError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.orchestration.common import failure, translated
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import MORNING, Orchestra, failures, memory_folder, values
from b2b_pipeline_tests.support.installation import CREDENTIALS, START, UNTIL
from b2b_sandbox.faults import add_fault, clear_faults

CAMPAIGN_DAYS = "raw/google_ads/campaign_daily"


@pytest.fixture
def orchestra(monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestra]:
    monkeypatch.setitem(Session.__init__.__kwdefaults__, "sleep", lambda seconds: None)
    with memory_folder() as folder, dagster_home.empty(folder) as found:
        yield found


def attempts(result: dg.ExecuteInProcessResult) -> Counter[str]:
    events = [event for event in result.all_events if event.is_step_start or event.is_step_restarted]
    return Counter(str(event.step_key) for event in events)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TransientError("an outage"), True),
        (PermanentError("no such field"), False),
        (AuthError("wrong token"), False),
        (ConfigError("a typo"), False),
        (SplitError("a day is too large"), False),
        (QuotaError("used up", MORNING), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    with pytest.raises(dg.Failure) as failed, translated():
        raise error
    assert failed.value.allow_retries is again
    assert failed.value.description == str(error)
    assert failed.value.__suppress_context__


def test_a_vendor_that_wants_to_be_left_alone_is_not_asked_again_at_once_whatever_else_failed() -> None:
    until = MORNING + timedelta(hours=11)
    failed = failure("both", QuotaError("used up", until), TransientError("b"), QuotaError("another", MORNING))
    assert not failed.allow_retries
    assert failed.metadata["wait_until"].value == until.isoformat()


def test_of_several_accounts_one_that_may_pass_is_reason_enough_to_try_again() -> None:
    assert failure("both", PermanentError("a"), TransientError("b")).allow_retries


def test_wrong_credentials_fail_at_once_and_say_what_is_wrong(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", "sandbox-but-wrong")
    result = orchestra.materialise("raw/hubspot/contact", start=UNTIL, fails=True)
    assert failures(result)["raw__hubspot__contact"].startswith("the access token was refused")
    assert attempts(result)["raw__hubspot__contact"] == 1


def test_missing_credentials_name_the_variable(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALESFORCE_CLIENT_SECRET")
    result = orchestra.materialise("raw/salesforce/lead", start=UNTIL, fails=True)
    assert failures(result)["raw__salesforce__lead"].startswith("SALESFORCE_CLIENT_SECRET is not set")
    assert attempts(result)["raw__salesforce__lead"] == 1


def test_an_outage_is_tried_three_times_and_nothing_is_landed_by_halves(orchestra: Orchestra) -> None:
    add_fault(orchestra.installation.world, "hubspot", "withhold")
    result = orchestra.materialise("raw/hubspot/contact", start=UNTIL, fails=True)
    assert attempts(result)["raw__hubspot__contact"] == 3
    assert orchestra.pipeline.landing.slices("hubspot", "contact") == []
    assert orchestra.metadata("raw/hubspot/contact") == {}
    clear_faults(orchestra.installation.world)
    orchestra.materialise("raw/hubspot/contact", start=UNTIL)
    assert orchestra.metadata("raw/hubspot/contact").keys() == {UNTIL.isoformat()}


def test_an_account_that_fails_is_named_and_the_other_one_s_days_are_loaded(orchestra: Orchestra) -> None:
    ids = [account.id for account in accounts(orchestra)]
    assert len(ids) == 2
    add_fault(orchestra.installation.world, "google_ads", "withhold", path_contains=ids[0])
    result = orchestra.materialise(CAMPAIGN_DAYS, start=START, end=UNTIL, fails=True)
    told = failures(result)["raw__google_ads__campaign_daily"]
    assert told.startswith(f"Google Ads: account {ids[0]}: ")
    assert ids[1] not in told
    assert {item.account["id"] for item in orchestra.pipeline.landing.slices("google_ads", "campaign_daily")} == {
        ids[1]
    }
    assert orchestra.metadata(CAMPAIGN_DAYS) == {}, "the days are not there: the next night catches up"

    orchestra.materialise("spend", start=START, end=UNTIL)
    spend = tables.spend.c
    query = select(spend.account_id, func.count(spend.date_day.distinct()).label("days")).group_by(spend.account_id)
    assert orchestra.pipeline.warehouse.rows(query) == [{"account_id": ids[1], "days": 20}]


def test_an_account_that_was_cancelled_costs_the_others_nothing(orchestra: Orchestra) -> None:
    gone, other = (account.id for account in accounts(orchestra))
    with orchestra.installation.world.connect() as connection:
        connection.execute("update ad_account set status = 'CANCELED' where id = ?", (gone,))
    orchestra.materialise(CAMPAIGN_DAYS, start=START, end=UNTIL)
    days = orchestra.metadata(CAMPAIGN_DAYS)
    assert len(days) == 20, "no night reads them again"
    assert days[UNTIL.isoformat()]["left_out"] == f"{gone}: the account is CANCELED"
    assert {item.account["id"] for item in orchestra.pipeline.landing.slices("google_ads", "campaign_daily")} == {other}
    check = orchestra.check(CAMPAIGN_DAYS, "left_out")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert values(check.metadata)["left_out"].startswith(f"{gone}: the account is CANCELED, since 2026-06-29; if it is")


def test_a_stream_whose_scope_is_not_granted_is_left_out_and_the_others_go_on(orchestra: Orchestra) -> None:
    add_fault(orchestra.installation.world, "hubspot", "missing_scope", path_contains="/email/public", scope="content")
    orchestra.run("ingest_hubspot", UNTIL)
    for stream in ("contact", "email_event"):
        assert orchestra.metadata(f"raw/hubspot/{stream}").keys() == {UNTIL.isoformat()}
    assert "missing scopes: content" in orchestra.metadata("raw/hubspot/email_event")[UNTIL.isoformat()]["left_out"]
    orchestra.run("derive", UNTIL)
    pipeline = orchestra.pipeline
    (answer,) = ask(pipeline.warehouse, pipeline.config, ["email_sends"], UNTIL, UNTIL)
    assert "missing scopes: content" in answer.reasons[0]


def test_a_table_that_breaks_fails_the_step_once_the_others_are_told(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestra.run("ingest_hubspot", UNTIL)
    add = SliceMapping.add

    def breaking(self: SliceMapping, *given: Any) -> None:
        if self.table is tables.touchpoint:
            raise ZeroDivisionError("a fault of ours")
        add(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(SliceMapping, "add", breaking)
        result = orchestra.materialise("lead", "touchpoint", "identity_link", start=UNTIL, fails=True)
    assert "a fault of ours" in str(failures(result))
    assert orchestra.metadata("lead")
    assert orchestra.metadata("identity_link")
    assert not orchestra.metadata("touchpoint")
    orchestra.materialise("lead", "touchpoint", "identity_link", start=UNTIL)
    assert orchestra.metadata("touchpoint")


def accounts(orchestra: Orchestra) -> Sequence[Account]:
    source, config = SOURCES["google_ads"], orchestra.pipeline.config
    return source.accounts(source.connect(config), config).read


def test_no_event_tells_a_secret_or_an_e_mail_address(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch) -> None:
    world = orchestra.installation.world
    for source in ("google_ads", "hubspot", "salesforce"):
        orchestra.run(f"ingest_{source}", START, UNTIL)
        add_fault(world, source, "withhold")
        orchestra.run(f"ingest_{source}", UNTIL, fails=True)
    clear_faults(world)
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "a-secret-that-is-wrong")
    orchestra.run("ingest_salesforce", UNTIL, fails=True)
    orchestra.materialise("lead", "touchpoint", "email_event", start=START, end=UNTIL)
    with world.connect() as connection:
        people = [row["recipient"] for row in connection.execute("select distinct recipient from email_event")]
    assert len(people) > 5
    assert len(privacy._known_secrets - {*CREDENTIALS.values()}) >= 3, "tokens that were issued are among them"
    hidden = {*CREDENTIALS.values(), *privacy._known_secrets, *people} - {
        CREDENTIALS["GOOGLE_ADS_LOGIN_CUSTOMER_ID"], CREDENTIALS["SALESFORCE_CLIENT_ID"],
    }  # fmt: skip
    home = orchestra.installation.folder / "dagster"
    written = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert sum(b"ASSET_MATERIALIZATION" in content for content in written.values()) > 5, "these are the events"
    told = {secret: [p.name for p, content in written.items() if secret.encode() in content] for secret in hidden}
    assert {secret: where for secret, where in told.items() if where} == {}
