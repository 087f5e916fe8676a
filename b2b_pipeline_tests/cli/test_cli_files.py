"""Files through the commands that people use: a backfill that tells what it could not take, and taking a file back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from b2b_pipeline_tests.support.office import ADS, COSTS, LEADS, Office


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    return Office(tmp_path, monkeypatch)


def told(text: str) -> str:
    return " ".join(text.split())


def test_a_backfill_that_refused_a_file_fails_and_its_number_says_why(office: Office) -> None:
    office.set_up("leads", "costs")
    office.drop("leads.csv", LEADS + "1,a@b.example,2026-01-01\n2,c@d.example,2026-01-02\n")
    office.drop("costs.csv", COSTS + "1,2026-01-01,1.2X\n2,2026-01-02,0.8X\n")
    result = office.backfill()
    assert result.exit_code == 1, result.output
    assert "costs.csv was refused: 2 of 2 records" in told(result.stderr)
    assert "error: 1 refused" in result.stderr
    answer = office.b2b("kpi", "cost_per_lead", "--from", "2026-01-01", "--to", "2026-01-02", "--format", "json")
    (row,) = json.loads(answer.stdout)
    assert (row["value"], row["complete"]) == (None, False)
    assert "costs.csv was refused" in answer.stderr
    doctor = office.b2b("doctor")
    assert "costs.csv was refused" in told(doctor.output)


def test_a_mapping_that_no_file_fits_is_named_with_the_place_of_the_inbox(office: Office) -> None:
    office.set_up("ads")
    office.drop("spend.csv", ADS + "2026-01-01,a,5,10.00\n")
    result = office.backfill()
    missing = f"no file in the inbox fits mapping ads (ads*.csv): the inbox is {office.inbox}"
    assert missing in told(result.stderr)
    assert "left in the inbox: spend.csv matches no mapping" in told(result.stderr)
    doctor = office.b2b("doctor")
    assert doctor.exit_code == 1
    assert missing in told(doctor.output)
    assert "spend.csv matches no mapping" in told(doctor.output)
    answer = office.b2b("kpi", "spend", "--format", "json")
    (row,) = json.loads(answer.stdout)
    assert (row["value"], row["complete"]) == (None, False)
    assert "no file has been dropped for the mapping ads" in answer.stderr


def test_a_file_is_taken_back_by_its_name(office: Office) -> None:
    office.set_up(ads="once")
    office.drop("ads_1.csv", ADS + "2026-01-01,a,5,10.00\n")
    office.drop("ads_2.csv", ADS + "2026-01-02,a,5,20.00\n")
    office.drop("ads_3.csv", "")
    office.derive()
    assert not office.ask("spend")[0].complete
    result = office.b2b("files", "forget", "ads_3.csv")
    assert result.exit_code == 0, result.output
    assert "forgotten: ads_3.csv was refused: the file is empty" in result.stdout
    assert f"ads_3.csv still lies in {office.inbox}: it is not read again unless it changes" in result.stdout
    assert [(answer.value, answer.complete) for answer in office.ask("spend")] == [(30, True)]
    assert "forgotten: 1 landed versions of ads_2.csv" in office.b2b("files", "forget", "ads_2.csv").stdout
    assert [(answer.value, answer.complete) for answer in office.ask("spend")] == [(10, True)]
    office.derive()
    assert [answer.value for answer in office.ask("spend")] == [10], "what was taken back does not come again"
    office.drop("ads_2.csv", ADS + "2026-01-02,a,5,25.00\n")
    office.derive()
    assert [answer.value for answer in office.ask("spend")] == [35], "another version does"
    result = office.b2b("files", "forget", "ads_9.csv")
    assert result.exit_code == 2
    assert "ads_9.csv was neither landed nor refused" in result.stderr


def test_a_file_that_two_mappings_could_mean_is_in_neither_and_both_say_so(office: Office) -> None:
    office.set_up("leads", ads="once")
    path = office.folder / "pipeline.yaml"
    path.write_text(path.read_text().replace('match: "leads*.csv"', 'match: ["leads*.csv", "ads_x*"]'))
    office.drop("ads_1.csv", ADS + "2026-01-01,a,5,10.00\n")
    office.drop("leads.csv", LEADS + "1,a@b.example,2026-01-01\n")
    office.drop("ads_x.csv", ADS + "2026-01-02,a,5,10.00\n")
    result = office.backfill()
    assert result.exit_code == 1
    why = "ads_x.csv was refused: matches several mappings"
    assert [reason.startswith(why) for reason in office.why("spend", "2026-01-01")] == [True]
    assert any(reason.startswith(why) for reason in office.why("leads", "2026-01-01"))


def test_a_split_without_rows_still_says_what_was_refused(office: Office) -> None:
    office.set_up("ads")
    office.drop("ads.csv", ADS + "2026-01-01,a,5,10.00\n2026-01-02,a,5,n.n.\n2026-01-03,a,5,n.n.\n")
    office.derive()
    for split in ("channel", "month,channel"):
        result = office.b2b(
            "kpi", "spend", "--from", "2026-01-01", "--to", "2026-01-03", "--by", split, "--format", "json"
        )
        assert result.stdout.strip() == "[]"
        assert "not complete: ads.csv was refused" in result.stderr
    doctor = office.b2b("doctor").output
    assert "ads.csv was refused" in doctor
    assert "drop it again" in doctor
    assert "backfill --again" not in doctor
