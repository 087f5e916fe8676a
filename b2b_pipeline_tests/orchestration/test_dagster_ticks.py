"""Schedules and sensors, ticked against a real instance with real runs."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import time_machine
from sqlalchemy import delete, insert

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.errors import TransientError
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.orchestration.sensors import _failed_runs
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import MORNING, Orchestra, memory_folder
from b2b_pipeline_tests.support.installation import START, UNTIL
from b2b_sandbox.faults import add_fault

RATES = "raw/ecb/exchange_rate"
TICK = datetime.combine(UNTIL + timedelta(days=1), datetime.min.time(), ZoneInfo("UTC")).replace(hour=2)
SECRET_PATH = "services/T0000/B0000/sandbox-webhook-secret"


@pytest.fixture
def orchestra() -> Iterator[Orchestra]:
    with memory_folder() as folder, dagster_home.empty(folder) as found:
        yield found


def range_of(tags: Any) -> tuple[str, str]:
    return tags[RANGE_START], tags[RANGE_END]


# -- schedules


def tick(orchestra: Orchestra, source: str, at: datetime = TICK) -> dg.RunRequest | str:
    """What the source's nightly schedule asks for, or why it asks for nothing."""
    schedule = orchestra.defs.get_repository_def().get_schedule_def(f"nightly_{source}")
    answer = schedule.evaluate_tick(dg.build_schedule_context(orchestra.instance, scheduled_execution_time=at))
    requests = answer.run_requests or []
    assert len(requests) <= 1
    return requests[0] if requests else str(answer.skip_message)


def test_a_night_reads_yesterday_and_catches_up_what_is_missing(orchestra: Orchestra) -> None:
    asked = tick(orchestra, "ecb")
    assert isinstance(asked, dg.RunRequest)
    assert range_of(asked.tags) == ("2026-06-15", "2026-06-28"), "two weeks, on the first night"
    orchestra.run("ingest_ecb", UNTIL - timedelta(days=13), UNTIL - timedelta(days=8))
    orchestra.run("ingest_ecb", UNTIL - timedelta(days=6), UNTIL - timedelta(days=1))
    asked = tick(orchestra, "ecb")
    assert isinstance(asked, dg.RunRequest)
    assert range_of(asked.tags) == ("2026-06-21", "2026-06-28"), "from the day between that is missing"
    orchestra.run("ingest_ecb", UNTIL - timedelta(days=7))
    asked = tick(orchestra, "ecb")
    assert isinstance(asked, dg.RunRequest)
    assert (asked.run_key, range_of(asked.tags)) == ("ecb:2026-06-28", ("2026-06-28", "2026-06-28"))
    assert {"2026-06-28"} == {
        key for key in orchestra.run("ingest_ecb", UNTIL).dagster_run.tags.values() if key.startswith("2026")
    }
    asked = tick(orchestra, "ecb", TICK + timedelta(days=1))
    assert isinstance(asked, dg.RunRequest)
    assert range_of(asked.tags) == ("2026-06-29", "2026-06-29")


def test_a_night_catches_up_a_day_that_any_stream_of_the_source_lacks(orchestra: Orchestra) -> None:
    orchestra.materialise("raw/google_ads/campaign", start=UNTIL - timedelta(days=13), end=UNTIL)
    asked = tick(orchestra, "google_ads")
    assert isinstance(asked, dg.RunRequest)
    assert range_of(asked.tags) == ("2026-06-15", "2026-06-28")


def test_before_the_first_day_is_over_there_is_nothing_to_read(orchestra: Orchestra) -> None:
    first = TICK.replace(month=START.month, day=START.day)
    assert tick(orchestra, "ecb", first) == "start_date 2026-06-09 is not over yet"


# -- asking again


def test_a_vendor_whose_quota_is_used_up_is_asked_again_when_it_is_back_and_only_for_what_failed(
    orchestra: Orchestra,
) -> None:
    source, config = SOURCES["google_ads"], orchestra.pipeline.config
    landed, stopped = (account.id for account in source.accounts(source.connect(config), config).read)
    path = f"{stopped}/googleAds"
    add_fault(orchestra.installation.world, "google_ads", "throttle", path_contains=path, retry_after=40_591)
    orchestra.run("ingest_google_ads", UNTIL, fails=True)
    back = MORNING + timedelta(seconds=40_591)
    assert sense(orchestra, "ask_again").skip_message == f"google_ads is asked again at {back:%Y-%m-%d %H:%M} UTC"
    told = _failed_runs(orchestra.instance, MORNING - timedelta(hours=1), {})
    assert told == {"run of ingest_google_ads": f"failed, asked again at {back:%Y-%m-%d %H:%M} UTC"}

    with time_machine.travel(back + timedelta(minutes=1)):
        (asked,) = sense(orchestra, "ask_again").run_requests
        (key,) = asked.asset_selection
        before = {item.slice_id for item in orchestra.pipeline.landing.slices("google_ads", key.path[2])}
        job = orchestra.defs.resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(instance=orchestra.instance, asset_selection=[key], tags=asked.tags)
        assert done.success
        new = [i for i in orchestra.pipeline.landing.slices("google_ads", key.path[2]) if i.slice_id not in before]
        assert [item.account["id"] for item in new] == [stopped], f"{landed} landed the first time"
        assert orchestra.metadata(key.to_user_string())[UNTIL.isoformat()]["dagster/partition_row_count"] > 0
        assert sense(orchestra, "ask_again").skip_message == "no vendor wants to be left alone"


# -- derive


def sense(orchestra: Orchestra, sensor: str, cursor: str | None = None) -> Any:
    """One tick of a sensor: run requests, cursor, skip message."""
    context = dg.build_sensor_context(
        orchestra.instance,
        cursor=cursor,
        definitions=orchestra.defs,
        resources={"pipeline": orchestra.pipeline},
        instance_ref=orchestra.instance.get_ref(),
    )
    return orchestra.defs.get_repository_def().get_sensor_def(sensor).evaluate_tick(context)


def asked_range(orchestra: Orchestra) -> tuple[str, str] | str:
    """The days that derive is asked for, or why it is not."""
    answer = sense(orchestra, "derive_after_ingest")
    return range_of(answer.run_requests[0].tags) if answer.run_requests else answer.skip_message


def unfinished(orchestra: Orchestra, job: str, day: str) -> dg.DagsterRun:
    definition = orchestra.defs.resolve_job_def(job)
    return orchestra.instance.create_run_for_job(
        definition, tags={RANGE_START: day, RANGE_END: day}, status=dg.DagsterRunStatus.STARTED
    )


def test_derive_follows_the_last_ingest_and_does_not_fire_twice(orchestra: Orchestra) -> None:
    assert asked_range(orchestra) == "no ingest has ended since the last derive"
    running = unfinished(orchestra, "ingest_hubspot", "2026-06-28")
    orchestra.run("ingest_ecb", UNTIL)
    assert asked_range(orchestra) == "1 ingests have not ended"
    orchestra.instance.report_run_failed(running)
    first, again = (sense(orchestra, "derive_after_ingest").run_requests[0] for _ in range(2))
    assert range_of(first.tags) == ("2026-06-28", "2026-06-28")
    assert first.run_key == again.run_key, "the daemon starts a run key once"
    unfinished(orchestra, "derive", "2026-06-28")
    assert asked_range(orchestra) == "no ingest has ended since the last derive"


def test_derive_does_not_wait_longer_than_its_deadline(orchestra: Orchestra) -> None:
    unfinished(orchestra, "ingest_hubspot", "2026-06-28")
    orchestra.run("ingest_ecb", UNTIL)
    with time_machine.travel(MORNING + timedelta(hours=1, minutes=59)):
        assert asked_range(orchestra) == "1 ingests have not ended"
    with time_machine.travel(MORNING + timedelta(hours=2, minutes=1)):
        assert asked_range(orchestra) == ("2026-06-28", "2026-06-28")


def test_derive_notices_a_backfill_of_raw_assets_and_takes_its_days(orchestra: Orchestra) -> None:
    orchestra.materialise(RATES, start=START, end=START + timedelta(days=3))
    assert asked_range(orchestra) == ("2026-06-09", "2026-06-12")


def test_derive_notices_a_dropped_file_and_marks_yesterday(orchestra: Orchestra) -> None:
    orchestra.land("cost_ledger", "costs_2026-06.csv")
    assert asked_range(orchestra) == ("2026-06-28", "2026-06-28")


def test_derive_takes_no_notice_of_runs_that_derive_by_themselves(orchestra: Orchestra) -> None:
    orchestra.materialise(RATES, "fx_rate", start=UNTIL)
    assert asked_range(orchestra) == "no ingest has ended since the last derive"


def test_derive_takes_no_notice_of_an_ingest_that_was_cancelled(orchestra: Orchestra) -> None:
    orchestra.instance.report_run_canceled(unfinished(orchestra, "ingest_ecb", "2026-06-28"))
    assert asked_range(orchestra) == "no ingest has ended since the last derive"


def test_a_derive_that_failed_is_made_good_by_the_next(orchestra: Orchestra) -> None:
    orchestra.run("ingest_ecb", UNTIL - timedelta(days=1))
    orchestra.instance.report_run_failed(unfinished(orchestra, "derive", "2026-06-27"))
    orchestra.run("ingest_ecb", UNTIL)
    assert asked_range(orchestra) == ("2026-06-27", "2026-06-28")


# -- files


def drops(orchestra: Orchestra, cursor: str | None = None) -> tuple[dict[str, str], Any]:
    """File -> asset of the runs asked for in two ticks, between which files stand still, and the second answer."""
    first = sense(orchestra, "file_drops", cursor)
    answer = sense(orchestra, "file_drops", first.cursor)
    requests = [*first.run_requests, *answer.run_requests]
    return {run.partition_key: run.asset_selection[0].to_user_string() for run in requests}, answer


def test_files_are_landed_when_new_and_again_only_when_replaced(orchestra: Orchestra) -> None:
    inbox = orchestra.pipeline.inbox
    wanted, answer = drops(orchestra)
    assert wanted.keys() == {path.name for path in inbox.iterdir()}
    assert wanted["costs_2026-06.csv"] == "raw/files/cost_ledger"
    requests = {request.partitions_def_name: request.partition_keys for request in answer.dynamic_partitions_requests}
    assert requests == {"files_cost_ledger": ["costs_2026-06.csv"]}
    keys = {run.run_key for run in answer.run_requests}
    again, unchanged = drops(orchestra, answer.cursor)
    assert (again, unchanged.skip_message) == ({}, "nothing new in the inbox")
    (inbox / "costs_2026-06.csv").write_bytes((inbox / "costs_2026-06.csv").read_bytes() + b"\r\n")
    replaced, answer = drops(orchestra, answer.cursor)
    assert replaced == {"costs_2026-06.csv": "raw/files/cost_ledger"}
    assert answer.run_requests[0].run_key not in keys
    orchestra.land("cost_ledger", "costs_2026-06.csv")


def test_a_malformed_file_fails_its_own_run_once(orchestra: Orchestra) -> None:
    _, answer = drops(orchestra)
    (orchestra.pipeline.inbox / "costs_2026-07.csv").write_bytes(b"")
    wanted, answer = drops(orchestra, answer.cursor)
    assert wanted == {"costs_2026-07.csv": "raw/files/cost_ledger"}
    result = orchestra.land("cost_ledger", "costs_2026-07.csv", fails=True)
    assert dagster_home.failures(result) == {"raw__files__cost_ledger": "the file is empty"}
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert drops(orchestra, answer.cursor)[0] == {}


def test_a_file_is_taken_only_once_it_stands_still(orchestra: Orchestra) -> None:
    path = orchestra.pipeline.inbox / "costs_2026-07.csv"
    cursor, asked = None, set[str]()
    for written in (b"Document;Category", b"Document;Category;Channel;Supplier"):
        path.write_bytes(written)
        answer = sense(orchestra, "file_drops", cursor)
        cursor, asked = answer.cursor, asked | {run.partition_key for run in answer.run_requests}
        assert path.name not in asked
    assert [run.partition_key for run in sense(orchestra, "file_drops", cursor).run_requests] == [path.name]


def test_what_is_refused_is_told_by_a_check_at_once_and_until_it_is_taken_back(orchestra: Orchestra) -> None:
    (orchestra.pipeline.inbox / "costs_2026-07.csv").write_bytes(b"")
    _, answer = drops(orchestra)
    orchestra.land("cost_ledger", "costs_2026-07.csv", fails=True)
    answer = sense(orchestra, "file_drops", answer.cursor)
    (told,) = answer.asset_events
    assert (told.asset_key, told.check_name, told.passed) == (
        dg.AssetKey(["raw", "files", "cost_ledger"]),
        "accepted",
        False,
    )
    assert "costs_2026-07.csv was refused: the file is empty" in told.metadata["not_landed"].value
    answer = sense(orchestra, "file_drops", answer.cursor)
    assert list(answer.asset_events) == [], "told once"
    assert orchestra.installation.b2b("files", "forget", "costs_2026-07.csv").exit_code == 0
    answer = sense(orchestra, "file_drops", answer.cursor)
    assert [event.passed for event in answer.asset_events] == [True]
    assert drops(orchestra, answer.cursor)[0] == {}, "that version is not asked for again"


def test_a_file_that_fits_nowhere_is_named_until_a_mapping_takes_it(orchestra: Orchestra) -> None:
    (orchestra.pipeline.inbox / "budget.csv").write_text("Document\n1\n")
    others, answer = drops(orchestra)
    assert "budget.csv" not in others
    wanted, told = drops(orchestra, answer.cursor)
    assert (wanted, told.skip_message) == ({}, "budget.csv matches no mapping under `files:` in pipeline.yaml")
    path = orchestra.installation.folder / "pipeline.yaml"
    path.write_text(path.read_text().replace('"costs_*.csv"', '["costs_*.csv", "budget.csv"]'))
    restarted = Orchestra(orchestra.installation, orchestra.instance)
    assert drops(restarted, answer.cursor)[0] == {"budget.csv": "raw/files/cost_ledger"}


def test_an_inbox_that_cannot_be_read_is_no_empty_inbox(orchestra: Orchestra) -> None:
    inbox = orchestra.pipeline.inbox
    inbox.rename(inbox.with_name("elsewhere"))
    answer = sense(orchestra, "file_drops", '{"costs_2026-06.csv": "1:1"}')
    assert answer.skip_message == f"there is no folder {inbox}: make it, and drop files there"
    inbox.write_text("a file")
    answer = sense(orchestra, "file_drops", '{"costs_2026-06.csv": "1:1"}')
    assert answer.skip_message == "the inbox cannot be read: Not a directory"
    assert answer.cursor == '{"costs_2026-06.csv": "1:1"}'


# -- telling people


class Webhook:
    """A Slack-like webhook on a free port that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.status = 200


@contextmanager
def listening() -> Iterator[tuple[str, Webhook]]:
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if webhook.status == 200:
                webhook.told.append(json.loads(body))
            self.send_response(webhook.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{SECRET_PATH}", webhook
        server.shutdown()
        thread.join()


@pytest.fixture
def webhook(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with listening() as (url, found):
        monkeypatch.setenv("B2B_ALERT_WEBHOOK", url)
        yield found


def test_a_failed_run_is_told_once_and_once_that_it_is_well(
    orchestra: Orchestra, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = sense(orchestra, "tell_state_changes").cursor
    assert "asset kpi/acquisition: stale, 2026-06-28 is missing" in webhook.told.pop()["text"].splitlines()
    with monkeypatch.context() as patch:
        patch.setenv("HUBSPOT_ACCESS_TOKEN", "not-the-token")
        orchestra.run("ingest_hubspot", UNTIL, fails=True)
    cursor = sense(orchestra, "tell_state_changes", cursor).cursor
    assert webhook.told.pop() == {"text": "run of ingest_hubspot: failed"}
    cursor = sense(orchestra, "tell_state_changes", cursor).cursor
    assert webhook.told == []
    orchestra.run("ingest_hubspot", UNTIL)
    cursor = sense(orchestra, "tell_state_changes", cursor).cursor
    assert webhook.told.pop() == {"text": "run of ingest_hubspot: ok again"}
    sense(orchestra, "tell_state_changes", cursor)
    assert webhook.told == []


def test_the_check_of_freshness_says_at_once_what_people_are_told(orchestra: Orchestra, webhook: Webhook) -> None:
    key = dg.AssetKey(["kpi", "pipeline"])

    def told(cursor: str | None = None) -> tuple[str | None, dict[str, bool]]:
        answer = sense(orchestra, "tell_state_changes", cursor)
        return answer.cursor, {
            each.asset_key.to_user_string(): each.passed
            for each in answer.asset_events
            if each.check_name == "freshness"
        }

    cursor, results = told()
    assert results == dict.fromkeys((f"kpi/{family}" for family in families_of(orchestra.pipeline.config)), False)
    assert told(cursor)[1] == {}, "once for each change"
    orchestra.materialise("kpi/pipeline", start=UNTIL)
    cursor, results = told(cursor)
    assert (results, orchestra.check("kpi/pipeline", "freshness").passed) == ({key.to_user_string(): True}, True)
    with time_machine.travel(MORNING + timedelta(days=1)):
        assert told(cursor)[1]["kpi/pipeline"] is False


def test_a_failed_check_is_told_once_and_once_that_it_passes(orchestra: Orchestra, webhook: Webhook) -> None:
    orchestra.materialise(RATES, "fx_rate", start=UNTIL)
    cursor = sense(orchestra, "tell_state_changes").cursor
    webhook.told.clear()
    row = orchestra.pipeline.warehouse.rows(tables.fx_rate.select().limit(1))[0]
    with orchestra.pipeline.warehouse.write() as connection:
        connection.execute(insert(tables.fx_rate), {**row, "slice_id": "again"})
    result = orchestra.materialise("fx_rate", start=UNTIL, fails=True)
    contract = dagster_home.checked(result, "fx_rate", "contract")
    assert not contract.passed
    assert str(row["date_day"]) in dagster_home.values(contract.metadata)["repeated_keys"]
    cursor = sense(orchestra, "tell_state_changes", cursor).cursor
    assert webhook.told.pop() == {"text": "check contract of fx_rate: failed\nrun of fx_rate: failed"}
    with orchestra.pipeline.warehouse.write() as connection:
        connection.execute(delete(tables.fx_rate).where(tables.fx_rate.c.slice_id == "again"))
    assert dagster_home.checked(orchestra.materialise("fx_rate", start=UNTIL), "fx_rate", "contract").passed
    sense(orchestra, "tell_state_changes", cursor)
    assert webhook.told.pop() == {"text": "check contract of fx_rate: ok again\nrun of fx_rate: ok again"}


def test_a_failed_file_is_told_by_name_without_calling_everybody(orchestra: Orchestra, webhook: Webhook) -> None:
    cursor = sense(orchestra, "tell_state_changes").cursor
    webhook.told.clear()
    (orchestra.pipeline.inbox / "costs_<!channel>.csv").write_bytes(b"")
    orchestra.land("cost_ledger", "costs_<!channel>.csv", fails=True)
    sense(orchestra, "tell_state_changes", cursor)
    assert webhook.told.pop() == {"text": "run of raw/files/cost_ledger costs_&lt;!channel&gt;.csv: failed"}


@pytest.mark.parametrize("status", [500, 302])
def test_news_is_not_lost_while_the_webhook_does_not_take_it(
    orchestra: Orchestra, webhook: Webhook, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    webhook.status = status
    with pytest.raises(TransientError, match=f"B2B_ALERT_WEBHOOK refused the message: status {status}") as failed:
        sense(orchestra, "tell_state_changes")
    told = "".join(traceback.format_exception(failed.value))
    webhook.status = 200
    sense(orchestra, "tell_state_changes")
    assert "asset kpi/acquisition: stale" in webhook.told.pop()["text"]
    assert "sandbox-webhook-secret" not in told + "".join(capfd.readouterr())


def test_a_webhook_that_does_not_answer_is_named_by_its_variable(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as (url, _):
        monkeypatch.setenv("B2B_ALERT_WEBHOOK", url)
    with pytest.raises(TransientError, match="B2B_ALERT_WEBHOOK does not answer: ConnectionError") as failed:
        sense(orchestra, "tell_state_changes")
    assert "sandbox-webhook-secret" not in "".join(traceback.format_exception(failed.value))


def test_without_a_webhook_the_log_alone_is_told(orchestra: Orchestra, capfd: pytest.CaptureFixture[str]) -> None:
    answer = sense(orchestra, "tell_state_changes")
    number = len(families_of(orchestra.pipeline.config))
    assert answer.skip_message == f"{number} news, {number} things are not well"
    assert "asset kpi/acquisition: stale" in "".join(capfd.readouterr())
