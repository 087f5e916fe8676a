"""Klaviyo over the sandbox, and by the answers that its document and recorded accounts show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Stop, Wait
from b2b_pipeline.connectors.klaviyo.source import REVISION, SOURCE, classify, connect
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.warehouse.tables import email_event, email_send, lead, touchpoint
from b2b_pipeline_tests.support.apart import apart
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.end_to_end import inside
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
ACCOUNT = Account("AbC123", "Example")
WINDOW = Window.of_days(UNTIL - timedelta(days=20), UNTIL + timedelta(days=1), ZoneInfo("UTC"))
BASE = "https://a.klaviyo.com/api"


ASKED = Asked(SOURCE, ACCOUNT, WINDOW, start_date="2026-05-20")
config, fetch, mapped = ASKED.config, ASKED.fetch, ASKED.mapped


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=20, leads=50)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("KLAVIYO_BASE_URL", raising=False)
    monkeypatch.setenv("KLAVIYO_API_KEY", "pk_of-ours")
    with responses.RequestsMock() as mock:
        yield mock


# -- what answers mean


def means(status: int, code: str = "", title: str = "", **headers: str) -> Outcome:
    error = {"id": "1", "code": code, "title": title, "detail": "x", "source": {"pointer": "/data/"}}
    body = {"errors": [error] if code else []}
    return classify(answer(f"{BASE}/events", status, body, "application/vnd.api+json", **headers))


def test_throttling_is_waited_for_and_one_of_hours_is_left_to_later() -> None:
    assert means(429, "throttled", **{"Retry-After": "3"}) == Wait(3.0)
    assert means(429, "throttled") == Wait(60.0)
    with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC), tick=False):
        assert means(429, **{"Retry-After": "7200"}) == Stop(datetime(2026, 6, 16, 8, tzinfo=UTC), "throttled")


def test_a_retired_revision_is_told_with_its_cure_and_a_missing_scope_from_a_wrong_key() -> None:
    retired = means(410, "gone")
    assert isinstance(retired, Fatal)
    assert "options.api_version" in retired.fix
    assert means(403, "permission_denied", "No.") == Fatal("permission_denied No.", auth=True)
    assert means(401, "not_authenticated", "No key.") == Reauth("not_authenticated No key.")
    assert means(400, "invalid", "Invalid input.") == Fatal("invalid Invalid input.")


def test_another_revision_can_be_asked_for_and_one_that_is_spelt_wrong_is_refused(
    vendor: responses.RequestsMock,
) -> None:
    vendor.get(f"{BASE}/accounts", json={"data": [{"id": "AbC123", "attributes": {}}], "links": {}})
    for settings, expected in (({}, REVISION), ({"options": {"api_version": "2026-04-15"}}, "2026-04-15")):
        SOURCE.accounts(connect(config(**settings)), config(**settings))
        sent = vendor.calls[-1].request.headers
        assert sent["revision"] == expected
        assert sent["Authorization"] == "Klaviyo-API-Key pk_of-ours"
    with pytest.raises(ConfigError, match="is not a version such as"):
        connect(config(options={"api_version": "v3"}))
    assert SOURCE.ends(config()) == date(2028, 7, 15)
    assert SOURCE.ends(config(options={"api_version": "2026-04-15"})) is None, "of others we know no end"


def test_a_revision_that_is_older_than_two_years_is_refused_once(sandbox: World) -> None:
    with pytest.raises(PermanentError, match="retired") as caught:
        SOURCE.accounts(connect(config(options={"api_version": "2024-02-15"})), config())
    assert caught.value.fix


# -- what is read

METRIC = {
    "type": "metric", "id": "XxZFZq",
    "attributes": {"name": "Received Email", "integration": {"object": "integration", "name": "Klaviyo"}},
}  # fmt: skip


def metrics(vendor: responses.RequestsMock, *more: Record) -> None:
    vendor.get(f"{BASE}/metrics", json={"data": [METRIC, *more], "links": {"next": None}})


def test_events_are_asked_for_metric_by_metric_and_next_pages_as_they_are_named(vendor: responses.RequestsMock) -> None:
    others = {"type": "metric", "id": "K8vC8L", "attributes": {"name": "Opened Email", "integration": {"name": "API"}}}
    metrics(vendor, others, {**others, "id": "x", "attributes": {"name": "Clicked Email", "integration": None}})
    following = f"{BASE}/events?filter=kept&page%5Bcursor%5D=bmV4dA"
    vendor.get(
        f"{BASE}/events", json={"data": [recorded()], "links": {"next": following}},
        match=[responses.matchers.query_param_matcher({"sort": "datetime"}, strict_match=False)],
    )  # fmt: skip
    vendor.get(
        f"{BASE}/events", json={"data": [], "links": {"next": None}},
        match=[responses.matchers.query_param_matcher({"filter": "kept", "page[cursor]": "bmV4dA"})],
    )  # fmt: skip
    window = Window(
        UNTIL, UNTIL, datetime(2026, 6, 1, 9, 30, 15, tzinfo=UTC), datetime(2026, 6, 2, 7, 0, 0, 500_000, UTC)
    )
    assert [each["id"] for each in fetch("event", window)] == ["7tbvSF5xbnK"]
    asked = dict(vendor.calls[1].request.params)  # type: ignore[attr-defined]
    assert asked == {
        "filter": 'equals(metric_id,"XxZFZq"),greater-or-equal(datetime,2026-06-01T09:30:15Z),'
        "less-than(datetime,2026-06-02T07:00:01Z)",
        "sort": "datetime", "include": "profile", "fields[event]": "datetime,event_properties",
        "fields[profile]": "email", "page[size]": "1000",
    }  # fmt: skip
    assert len(vendor.calls) == 3, "metrics of others' making are not Klaviyo's, whatever they are called"


def test_a_page_that_says_nothing_of_a_next_one_is_not_the_last(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/flows", json={"data": []})
    with pytest.raises(TransientError, match=r"without 'links\.next'"):
        fetch("flow")


def test_where_the_metric_of_deliveries_is_gone_nothing_is_taken_for_whole(vendor: responses.RequestsMock) -> None:
    opened = {**METRIC, "attributes": {"name": "Opened Email", "integration": {"name": "Klaviyo"}}}
    vendor.get(f"{BASE}/metrics", json={"data": [opened], "links": {"next": None}})
    with pytest.raises(PermanentError, match="no metric Received Email"):
        fetch("event")


def test_small_pages_hold_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLAVIYO_API_KEY", tokens.PRIVATE_APP_TOKEN)
    found: list[Any] = []
    for options in ({}, {"page_size": 9}):
        with running(world, klaviyo=options) as url:
            monkeypatch.setenv("KLAVIYO_BASE_URL", f"{url}/klaviyo")
            names = [stream.name for stream in SOURCE.streams]
            found.append({name: sorted(map(json.dumps, fetch(name))) for name in names if name != "present"})
    assert found[0] == found[1]
    assert all(found[0].values())
    archived = Counter(json.loads(each)["attributes"]["archived"] for each in found[0]["campaign"])
    assert archived.keys() == {True, False}


def test_a_cursor_that_repeats_and_a_busy_moment(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_fault(sandbox, "klaviyo", "throttle", path_contains="/flows", retry_after=0)
    assert fetch("flow")
    with running(sandbox, klaviyo={"page_size": 2}) as url:
        monkeypatch.setenv("KLAVIYO_BASE_URL", f"{url}/klaviyo")
        add_fault(sandbox, "klaviyo", "repeat_cursor", path_contains="/profiles")
        with pytest.raises(TransientError, match="the page cursor repeats"):
            fetch("profile")


def test_the_official_client_reads_the_twin_and_finds_what_we_do(sandbox: World) -> None:
    """Its models are those of the revision: an answer of another shape would not become one."""
    with running(sandbox) as url, apart():
        from klaviyo_api import KlaviyoAPI

        client = KlaviyoAPI(tokens.PRIVATE_APP_TOKEN, max_retries=0, test_host=f"{url}/klaviyo")
        assert client._REVISION == REVISION
        [account] = client.Accounts.get_accounts().data
        listed = client.Metrics.get_metrics().data
        own = {each.id: each.attributes.name for each in listed if each.attributes.integration["name"] == "Klaviyo"}
        theirs: Counter[str] = Counter()
        for identifier, name in own.items():
            between = f"greater-or-equal(datetime,{WINDOW.since:%Y-%m-%dT%H:%M:%SZ})"
            asked = {"filter": f'equals(metric_id,"{identifier}"),{between}', "include": ["profile", "metric"]}
            theirs[name] += len(client.Events.get_events(**asked, page_size=1000).data)
        campaigns = client.Campaigns.get_campaigns(filter="equals(messages.channel,'email'),equals(archived,true)").data
        [flow] = client.Flows.get_flows(filter="equals(archived,false)").data
        profiles = client.Profiles.get_profiles(page_size=100, additional_fields_profile=["subscriptions"]).data
    assert account.id == ACCOUNT.id
    ours = Counter(row["metric"]["name"] for row in fetch("event"))
    assert +theirs == ours
    assert {row["id"] for row in fetch("campaign")} > {each.id for each in campaigns} != set()
    assert flow.id in {row["id"] for row in fetch("flow")}
    assert {row["id"] for row in fetch("profile")} <= {each.id for each in profiles}


def test_nothing_of_people_is_kept_but_their_address_and_what_is_named(sandbox: World) -> None:
    landed = json.dumps([*fetch("event"), *fetch("profile")])
    for word in ("203.0.113", "first_name", "Subject", "https://", "Boss", "Plan"):
        assert word not in landed, word
    [row, *_] = fetch("profile", fields={"owner": "attributes.properties.Plan"})
    assert row["attributes"]["properties"] == {"Plan": "trial"}


# -- what becomes of it


def recorded(**properties: Any) -> Record:
    """An event as an account had it in 2026-09, with another address and day."""
    given = {
        "Subject": "Du hast einen Platz", "$message": "TZWDfu", "$flow": "WFzxH9", "Campaign Name": "Webinar",
        "Recipient Email Address": "Test.Person@Mail.example", "$originating_email": "Test.Person@Mail.example",
        "$internal": {"Transmission ID": "01KT1WXJ00CW3CW6TA32JN1XG2", "Handoff Time": 1780306272, "User Agent": "x"},
        "$event_id": "TZWDfu:01KT1WXJ00CW3CW6TA32JN1XG2", **properties,
    }  # fmt: skip
    return {
        "type": "event", "id": "7tbvSF5xbnK",
        "attributes": {"timestamp": 1780306280, "datetime": "2026-06-01T09:31:20+00:00", "event_properties": given},
        "relationships": {"profile": {"data": {"type": "profile", "id": "01M2XNH4JM9JQ5N0N01D0QDNVM"}}},
    }  # fmt: skip


def event(name: str, at: str, **properties: Any) -> Record:
    return {
        "id": f"{name}{at}", "attributes": {"datetime": at, "event_properties": {"$message": "M", **properties}},
        "metric": {"id": "x", "name": name}, "profile": {"id": "P", "email": "h1:" + "a" * 32 + "@x.example"},
    }  # fmt: skip


def told(*records: Record) -> list[tuple[str, str | None]]:
    stored = mapped(email_event, "event", [*records])
    rows = stored.rows.sort_values(["event_at", "event_type"])
    return [(row["event_type"], str(row["sent_at"])[:16]) for row in rows.to_dict("records")]


def test_who_got_an_e_mail_or_from_whom_it_bounced_was_sent_it() -> None:
    got = event("Received Email", "2026-06-01T09:31:20+00:00", **{"$_cohort$message_send_cohort": "1780306272:M"})
    assert told(got) == [("delivered", "2026-06-01 09:31"), ("sent", "2026-06-01 09:31")]
    back = event("Bounced Email", "2026-06-03T00:00:00+00:00", **{"$_cohort$message_send_cohort": "1780306272:M"})
    assert told(back) == [("bounce", "2026-06-01 09:31"), ("sent", "2026-06-01 09:31")]
    assert told(event("Dropped Email", "2026-06-01T09:31:20+00:00")) == [("dropped", "2026-06-01 09:31")]


def test_the_send_is_told_in_three_ways_and_what_tells_none_is_set_aside() -> None:
    """Of an open in a flow only the id of the transmission tells it: a ULID, which begins with its time."""
    late = "2026-06-09T20:05:14+00:00"
    for properties in (
        {"$_cohort$message_send_cohort": "1780306272:M"}, {"$internal": {"Handoff Time": 1780306272}},
        {"$internal": {"Transmission ID": ulid(1_780_306_272_687)}},
    ):  # fmt: skip
        assert told(event("Opened Email", late, **properties)) == [("open", "2026-06-01 09:31")]
    for properties in ({}, {"$internal": {"Transmission ID": "not-a-ulid"}}, {"$_cohort$message_send_cohort": "M"}):
        stored = mapped(email_event, "event", [event("Opened Email", late, **properties)])
        assert stored.rows.empty
        assert len(stored.rejects) >= 1
    assert told(event("Received Email", "2026-06-01T09:31:20+00:00"))[0] == ("delivered", "2026-06-01 09:31")


def ulid(milliseconds: int) -> str:
    letters, time = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", ""
    for _ in range(10):
        milliseconds, digit = divmod(milliseconds, 32)
        time = letters[digit] + time
    return f"{time}CW3CW6TA32JN1XG2"


@pytest.mark.parametrize(
    ("name", "flag"), [("Opened Email", "machine_open"), ("Opened Email", "Apple Privacy Open"),
                       ("Clicked Email", "Bot Click")],
)  # fmt: skip
def test_machines_are_told_whatever_the_flag_is_spelt_like(name: str, flag: str) -> None:
    sent = {"$_cohort$message_send_cohort": "1780306272:M"}
    for value, is_machine in ((True, True), ("1.0", True), ("True", True), (False, False), (None, False), ("0", False)):
        records = [event(name, "2026-06-02T00:00:00+00:00", **sent, **{flag: value})]
        [row] = mapped(email_event, "event", records).rows.to_dict("records")
        assert bool(row["is_machine"]) is is_machine, value
        if name == "Clicked Email":
            assert len(mapped(touchpoint, "event", records).rows) == (not is_machine)


def test_who_leaves_by_the_preferences_page_leaves_no_e_mail() -> None:
    away = event("Unsubscribed from Email Marketing", "2026-06-02T00:00:00+00:00", **{"$message": None})
    assert mapped(email_event, "event", [away]).rows.empty
    assert mapped(email_event, "event", [away]).rejects.empty


def test_a_recipient_is_the_address_that_it_went_to_else_the_profile_s_else_the_profile() -> None:
    at, went = "2026-06-01T09:31:20+00:00", "h1:" + "b" * 32 + "@x.example"
    cases = [event("Received Email", at, **{"Recipient Email Address": went}), event("Received Email", at)]
    nobody = event("Received Email", at)
    cases.append({**nobody, "profile": {"id": "P"}})
    found = [mapped(email_event, "event", [each]).rows["recipient_hash"].unique().tolist() for each in cases]
    assert found == [[went], ["h1:" + "a" * 32 + "@x.example"], ["klaviyo:profile:P"]]


def test_e_mails_of_flows_are_named_by_their_events(sandbox: World) -> None:
    sends = mapped(email_send, "event", fetch("event")).rows
    assert set(sends["name"]) <= {"Nurture 1 | Welcome", "Nurture 2 | Case study", "Nurture 3 | <i>Demo</i> offer"}
    assert len(sends) == sends["send_id"].nunique() > 0
    events = mapped(email_event, "event", fetch("event")).rows
    assert set(events[events["send_id"].isin(sends["send_id"])]["campaign_id"]) == {"WFzxH9"}


def test_what_campaigns_do_not_track_is_unknown_and_not_zero(tmp_path: Path, world: World) -> None:
    """Opens of a campaign that does not look for them would be 0, and whole."""
    folder = tmp_path / "found"
    folder.mkdir()
    text = "start_date: 2026-06-01\nsystem_of_record: files\nsources:\n  klaviyo: {streams: [event, campaign]}\n"
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    start, found = date(2026, 6, 1), Installation(folder, world)
    with inside(found) as pipeline, running(world, klaviyo={"tracks_opens": False}) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KLAVIYO_BASE_URL", f"{url}/klaviyo")
            patch.setenv("KLAVIYO_API_KEY", CREDENTIALS["KLAVIYO_API_KEY"])
            for name in ("event", "campaign"):
                assert not pipeline.ingest("klaviyo", name, start, UNTIL + timedelta(days=1), "run").failed
        migrated(pipeline.warehouse)
        rebuild(pipeline, "run", replay=False)
        names = ["email_open_rate", "email_bounce_rate", "email_sends"]
        answers = {each.metric.name: each for each in ask(pipeline.warehouse, pipeline.config, names, start, UNTIL, [])}
    assert not answers["email_open_rate"].complete
    assert any("no opens" in reason for reason in answers["email_open_rate"].reasons)
    assert answers["email_sends"].complete
    assert answers["email_bounce_rate"].complete


def test_profiles_are_leads_where_it_is_said(sandbox: World) -> None:
    profiles = fetch("profile")
    assert mapped(lead, "profile", profiles).rows.empty
    everybody = mapped(lead, "profile", profiles, options={"leads": "all"})
    assert everybody.rejects.empty
    assert set(everybody.rows["lead_id"]) == {row["id"] for row in profiles}
    assert set(everybody.rows["status"]) == {"SUBSCRIBED", "NEVER_SUBSCRIBED"}
    [page] = SOURCE.stream("present").fetch(connect(config(options={"leads": "all"})), ACCOUNT, WINDOW)
    assert {row["id"] for row in page.records} > {row["id"] for row in profiles}


# -- who we are


def test_an_app_s_token_is_renewed_with_its_client_in_the_header(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLAVIYO_API_KEY")
    for name, value in (("ID", tokens.CLIENT_ID), ("SECRET", tokens.CLIENT_SECRET)):
        monkeypatch.setenv(f"KLAVIYO_CLIENT_{name}", value)
    monkeypatch.setenv("KLAVIYO_REFRESH_TOKEN", tokens.REFRESH_TOKEN)
    assert [each.id for each in SOURCE.accounts(connect(config()), config()).read] == [ACCOUNT.id]
    add_fault(sandbox, "klaviyo", "expire_token", path_contains="/flows")
    assert fetch("flow")


def test_doctor_tells_the_account_and_which_scope_is_missing(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = SOURCE.probe(connect(config()), config())
    assert all(finding.ok for finding in findings), findings
    assert "AbC123, Example" in findings[0].what
    add_fault(sandbox, "klaviyo", "missing_scope", path_contains="/profiles")
    wrong = [finding for finding in SOURCE.probe(connect(config()), config()) if not finding.ok]
    assert {finding.what.split()[1] for finding in wrong} == {"profile:", "present:"}
    assert all("profiles:read" in finding.fix for finding in wrong)
    clear_faults(sandbox)
    monkeypatch.setenv("KLAVIYO_API_KEY", "pk_my-own-wrong-key")
    [finding] = SOURCE.probe(connect(config()), config())
    assert "wrong-key" not in finding.what + finding.fix
    with pytest.raises(AuthError):
        SOURCE.accounts(connect(config()), config())
