"""A number that files feed is complete only when they all came, were read, and speak of its days."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from b2b_pipeline.warehouse.tables import coverage, identity_link, lead
from b2b_pipeline_tests.support.office import ADS, COSTS, DEALS, LEADS, MAILS, Office


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    return Office(tmp_path, monkeypatch)


def month(number: int, days: int = 28) -> str:
    return ADS + "".join(f"2026-{number:02}-{day:02},a,5,10.00\n" for day in range(1, days + 1))


# -- files that did not come, or were not taken

METRICS = {"ads": ("spend", "clicks", "cpc"), "leads": ("leads",), "deals": ("won", "bookings", "cycle_days_median"),
           "costs": ("cpa",), "mails": ("email_sends",)}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_a_mapping_whose_file_never_came_makes_its_numbers_unknown(office: Office, name: str) -> None:
    office.set_up(name).derive()
    for metric in METRICS[name]:
        (answer,) = office.ask(metric)
        assert answer.value is None
        assert f"no file has been dropped for the mapping {name}" in answer.reasons
        (answer,) = office.ask(metric, "2026-01-02")
        assert not answer.complete


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("ads", ADS + "2026-01-01,a,5,10.00\n2026-01-02,a,5,n.n.\n2026-01-03,a,5,n.n.\n", "2 of 3 records"),
        ("ads", "Tag,Kampagne\n1,2\n", "no header"),
        ("ads", "", "the file is empty"),
        ("leads", LEADS + "1,a@b.example,gestern\n2,c@d.example,heute\n", "2 of 2 records"),
        ("deals", DEALS + "1,2026-01-01,2026-01-05,5,Offen\n2,2026-01-01,2026-01-05,5,Zu\n", "2 of 2 records"),
        ("costs", COSTS + "1,2026-01-01,1.2X\n2,2026-01-02,2.3X\n", "2 of 2 records"),
        ("mails", MAILS + "1,s,a@b.example,blinked,2026-01-01,2026-01-01\n2,s,a@b.example,nod,2026-01-01,2026-01-01\n",
         "2 of 2 records"),
    ],
)  # fmt: skip
def test_a_refused_file_is_named_wherever_its_rows_are_missing(office: Office, name: str, text: str, why: str) -> None:
    office.set_up(name)
    office.drop(f"{name}.csv", text)
    office.derive()
    for metric in METRICS[name]:
        (answer,) = office.ask(metric, "2026-01-01")
        reasons = [reason for reason in answer.reasons if reason.startswith(f"{name}.csv was refused: ")]
        assert reasons
        assert all(why in reason for reason in reasons)
        assert not office.ask(metric)[0].complete


def test_a_number_that_does_not_read_the_refused_file_stays_complete(office: Office) -> None:
    office.set_up("leads", ads="once")
    office.drop("ads.csv", month(1))
    office.drop("leads.csv", "")
    office.derive()
    assert office.why("spend", "2026-01-01") == ()
    assert office.why("leads", "2026-01-01") == ("leads.csv was refused: the file is empty",)
    assert office.why("cost_per_lead_ads", "2026-01-01") == ("leads.csv was refused: the file is empty",)


def test_the_older_version_stays_and_is_not_complete_until_a_good_one_comes(office: Office) -> None:
    office.set_up(ads="once")
    office.drop("ads.csv", month(1))
    office.derive()
    assert office.why("spend") == ()
    office.drop("ads.csv", "Day,Campaign\n1,2\n")
    office.derive()
    (answer,) = office.ask("spend", "2026-01-01")
    assert (answer.value, answer.complete) == (10, False)
    assert answer.reasons[0].startswith("ads.csv was refused: ")
    office.drop("ads.csv", month(1, 30))
    office.derive()
    (answer,) = office.ask("spend")
    assert (answer.value, answer.complete) == (300, True)


def test_a_version_that_is_refused_when_it_is_loaded_is_told_too(office: Office) -> None:
    office.set_up(ads="once")
    office.drop("ads.csv", month(1))
    office.derive()
    office.drop("ads.csv", month(1).replace("10.00", "much"))
    office.derive()
    (answer,) = office.ask("spend", "2026-01-01")
    assert (answer.value, answer.complete) == (10, False)
    assert answer.reasons[0].startswith("ads.csv was refused: 28 of 28 records")


def test_a_file_that_leaves_the_inbox_stays_loaded(office: Office) -> None:
    office.set_up(ads="once")
    office.drop("ads.csv", month(1))
    office.derive()
    (office.inbox / "ads.csv").unlink()
    office.derive()
    assert [(answer.value, answer.complete) for answer in office.ask("spend")] == [(280, True)]


# -- which days files cover


def test_a_single_file_speaks_for_its_own_days_and_what_is_asked_beyond_is_incomplete(office: Office) -> None:
    office.set_up("ads")
    office.drop("ads.csv", ADS + "2026-01-02,a,5,10.00\n2026-01-05,a,5,10.00\n")
    office.derive()
    assert office.why("spend") == ()
    assert office.why("spend", "2026-01-02", "2026-01-05") == ()
    (before,) = office.why("spend", "2026-01-01", "2026-01-04")
    assert before.startswith("no file of mapping ads has days before 2026-01-02")
    (after,) = office.why("spend", "2026-01-03", "2026-01-09")
    assert after.startswith("no file of mapping ads has days after 2026-01-05")
    assert [answer.complete for answer in office.ask("spend", by=["day"])] == [True] * 4
    assert [answer.complete for answer in office.ask("spend", by=["month"])] == [False]


def test_a_history_that_comes_once_is_all_there_is(office: Office) -> None:
    office.set_up(ads="once")
    office.derive()
    assert not office.ask("spend", "2026-03-01")[0].complete
    office.drop("ads.csv", month(1))
    office.derive()
    assert office.why("spend", "2026-01-01", "2026-06-30") == ()


@pytest.mark.parametrize("declared", [True, False])
def test_a_month_that_no_file_covers_is_named(office: Office, declared: bool) -> None:
    office.set_up(**({"ads": "monthly"} if declared else {})) if declared else office.set_up("ads")
    for number in (1, 2, 4):
        office.drop(f"ads_2026-{number:02}.csv", month(number))
    office.derive()
    gap, end = "no file of mapping ads covers 2026-03", "no file of mapping ads has days after 2026-04-30"
    assert office.why("spend") == (gap, end)
    found = {
        str(answer.keys["date"]): answer.reasons
        for answer in office.ask("spend", "2026-01-01", "2026-05-31", ["month"])
    }
    assert found == {"2026-01-01": (), "2026-02-01": (), "2026-03-01": (gap,), "2026-04-01": (), "2026-05-01": (end,)}
    office.drop("ads_2026-03.csv", month(3))
    office.derive()
    assert office.why("spend", "2026-01-01", "2026-04-30") == ()


def test_the_month_of_a_file_that_was_written_in_it_is_covered_to_its_last_row(office: Office) -> None:
    office.set_up(ads="monthly")
    office.drop("ads_2026-01.csv", month(1), written=date(2026, 2, 3))
    office.drop("ads_2026-02.csv", month(2, 10), written=date(2026, 2, 11))
    office.derive()
    assert office.why("spend", "2026-01-01", "2026-02-10") == ()
    assert office.why("spend", "2026-02-11") == ("no file of mapping ads has days after 2026-02-10",)


def test_the_day_on_which_a_file_was_written_was_not_over(office: Office) -> None:
    office.set_up(ads="daily")
    office.drop("ads.csv", month(1, 10), written=date(2026, 1, 10))
    office.derive()
    assert office.why("spend", "2026-01-09") == ()
    assert office.why("spend", "2026-01-10") == ("no file of mapping ads has days after 2026-01-09",)


@pytest.mark.parametrize("declared", [True, False])
def test_a_day_without_its_daily_file_is_incomplete(office: Office, declared: bool) -> None:
    office.set_up(ads="daily") if declared else office.set_up("ads")
    for day in (1, 2, 4):
        office.drop(f"ads_{day}.csv", ADS + f"2026-01-{day:02},a,5,10.00\n")
    office.derive()
    end = "no file of mapping ads has days after 2026-01-04"
    assert office.why("spend") == ("no file of mapping ads covers 2026-01-03", end)
    assert office.why("spend", "2026-01-01", "2026-01-02") == ()
    assert office.why("spend", "2026-02-01") == (end,)


def test_a_list_of_deals_speaks_up_to_the_newest_day_that_it_tells(office: Office) -> None:
    office.set_up("deals")
    office.drop("deals.csv", DEALS + "1,2026-01-02,2026-03-05,100,Won\n2,2026-02-01,2099-01-01,50,Open\n")
    office.derive()
    assert office.why("won", "2026-01-02", "2026-03-05") == ()
    (after,) = office.why("won", "2026-03-06")
    assert after.startswith("no file of mapping deals has days after 2026-03-05")


def test_days_before_the_history_count_as_read_when_a_file_tells_them(office: Office) -> None:
    office.set_up("ads")
    office.drop("ads.csv", ADS + "2025-12-20,a,5,10.00\n2026-01-05,a,5,10.00\n")
    office.derive()
    assert office.why("spend", "2025-12-20", "2025-12-31") == ()
    assert office.why("spend", "2025-12-01", "2025-12-31") == ("nothing is read before 2025-12-20",)


# -- rows in quarantine


def test_a_row_in_quarantine_makes_its_own_day_incomplete(office: Office) -> None:
    office.set_up(ads="once")
    bad = month(1).replace("2026-01-03,a,5,10.00", "2026-01-03,a,5,n.n.")
    office.drop("ads.csv", bad)
    office.derive()
    why = ("1 row of spend from ads.csv is in quarantine",)
    assert office.why("spend", "2026-01-03") == why == office.why("spend") == office.why("clicks")
    assert office.why("spend", "2026-01-04", "2026-01-28") == ()
    office.drop("ads.csv", month(1))
    office.derive()
    assert office.why("spend") == ()


def test_a_row_that_does_not_tell_its_day_makes_all_days_of_its_file_incomplete(office: Office) -> None:
    office.set_up(ads="monthly")
    office.drop("ads_1.csv", month(1).replace("2026-01-03", "3rd of Jan"))
    office.drop("ads_2.csv", month(2))
    office.derive()
    why = ("1 row of spend from ads_1.csv is in quarantine",)
    assert office.why("spend", "2026-01-20") == why
    assert office.why("spend", "2026-02-20") == ()


@pytest.mark.parametrize(
    ("name", "text", "metrics"),
    [
        ("ads", ADS + "2026-01-05,a,x,n.n.\n", ("spend", "clicks")),
        ("leads", LEADS + "1,a@b.example,gestern\n", ("leads",)),
        ("deals", DEALS + "1,gestern,2026-01-05,5,Won\n", ("opportunities", "bookings")),
        ("costs", COSTS + "1,2026-01-05,1.2X\n", ("cpa",)),
    ],
)  # fmt: skip
def test_a_number_of_which_the_only_row_is_in_quarantine_is_unknown_and_not_zero(
    office: Office, name: str, text: str, metrics: tuple[str, ...]
) -> None:
    office.set_up(name)
    office.drop(f"{name}.csv", text)
    office.derive()
    for metric in metrics:
        for days in ((), ("2026-01-05",), ("2026-01-05", "2026-01-06")):
            (answer,) = office.ask(metric, *days)
            assert (answer.value, answer.complete) == (None, False), (metric, days)


def test_a_deal_in_quarantine_concerns_the_day_it_was_opened_and_the_day_it_was_closed(office: Office) -> None:
    office.set_up(deals="once")
    rows = [f"{n},2026-01-{n:02},2026-02-{n:02},100,Won\n" for n in range(1, 29)]
    rows[4] = rows[4].replace("100", "much")
    office.drop("deals.csv", DEALS + "".join(rows))
    office.derive()
    why = ("1 row of opportunity from deals.csv is in quarantine",)
    assert office.why("opportunities", "2026-01-05") == why == office.why("won", "2026-02-05")
    assert office.why("bookings", "2026-02-06") == () == office.why("pipeline", "2026-01-06")


def test_a_row_of_one_table_leaves_the_numbers_of_another_alone(office: Office) -> None:
    text = Path(office.folder / "pipeline.yaml")
    office.set_up(leads="once")
    changed = text.read_text().replace("touched_at: {from: Created", "touched_at: {from: Touched")
    text.write_text(changed)
    rows = [f"{n},p{n}@x.example,2026-01-{n:02},2026-01-{n:02}\n" for n in range(1, 29)]
    rows[2] = "3,p3@x.example,2026-01-03,soon\n"
    office.drop("leads.csv", "ID,Mail,Created,Touched\n" + "".join(rows))
    office.derive()
    pipeline = office.pipeline()
    gaps = {row["target_table"] for row in pipeline.warehouse.rows(coverage.select()) if not row["is_complete"]}
    assert gaps == {"touchpoint"}


def test_a_row_that_is_rejected_links_nobody(office: Office) -> None:
    """A file that was cut in its last row: the lead without a day is not there, and neither is its address."""
    office.set_up("leads")
    whole = LEADS + "".join(f"L{n},p{n}@x.example,2026-01-{n:02}\n" for n in range(1, 29))
    office.drop("leads.csv", whole[: whole.rindex("2026")])
    office.derive()
    rows = office.pipeline().warehouse.rows
    links = {row["from_key"] for row in rows(select(identity_link.c.from_key))}
    assert links == {row["record_key"] for row in rows(select(lead.c.record_key))}
    assert len(links) == 27
    assert office.why("leads", "2026-01-05") == ("1 row of lead from leads.csv is in quarantine",
                                                 "1 row of touchpoint from leads.csv is in quarantine")  # fmt: skip


def test_a_ratio_by_what_no_row_gives_is_null_and_not_its_numerator(office: Office) -> None:
    office.set_up("ads", "deals")
    office.drop("ads.csv", ADS + "2026-01-01,a,,10.00\n2026-01-02,a,,10.00\n")
    office.drop("deals.csv", DEALS + "1,2026-01-01,2026-01-05,,Won\n2,2026-01-01,2026-01-06,,Lost\n")
    office.derive()
    for metric in ("cpc", "clicks", "bookings", "win_rate_amount", "average_deal_size"):
        (answer,) = office.ask(metric)
        assert answer.value is None
        assert answer.why_null.startswith("none of ")
