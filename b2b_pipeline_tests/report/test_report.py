"""`b2b report`: the page says what `b2b kpi` says, needs nothing else, and tells what is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.compare import Compared
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.report import facts
from b2b_pipeline.report.words import LABELS, change, channel
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import UNTIL, Installation

DAYS = 8
NOW = (UNTIL - timedelta(days=DAYS - 1), UNTIL)
BEFORE = (NOW[0] - timedelta(days=DAYS), NOW[0] - timedelta(days=1))
DASH = "\u2013"
HOSTILE = """<script>alert("1")</script>' onload="x"""


class Page(HTMLParser):
    """What is on the page: tags, texts, and the rows of each table as cells (a number by its exact value)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.numbers: list[tuple[str, str]] = []  # metric, exact value, of everything outside the split tables
        self.tables: dict[str, list[list[str]]] = {}
        self._table = ""
        self._value: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag == "table":
            self._table = found["id"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
        elif tag == "data":
            self._value = found["value"] or ""
            if "data-metric" in found and self._table not in ("by-channel", "by-campaign"):
                self.numbers.append((found["data-metric"] or "", self._value))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""
        elif tag == "data":
            self._value = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._table and self.tables[self._table] and self.tables[self._table][-1]:
            self.tables[self._table][-1][-1] += data.strip() if self._value is None else self._value


def written(installed: Installation, *options: str) -> Page:
    result = installed.b2b("report", *options)
    assert result.exit_code == 0, result.output
    return Page(Path(result.stdout.strip()).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Of an installation as it is after the first run."""
    with pytest.MonkeyPatch.context() as patch:
        return written(installation.copy(tmp_path_factory.mktemp("page"), patch), "--days", str(DAYS))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def asked(
    installed: Installation, names: tuple[str, ...], span: tuple[object, object], by: str = ""
) -> list[dict[str, object]]:
    options = ("--from", str(span[0]), "--to", str(span[1]), "--by", by, "--format", "json")
    answers: list[dict[str, object]] = json.loads(installed.b2b("kpi", *names, *options).stdout)
    return answers


def exact(row: dict[str, object]) -> str:
    return "" if row["value"] is None else str(row["value"])


def test_every_number_on_the_page_is_the_answer_of_b2b_kpi(installed: Installation, page: Page) -> None:
    now, before = (
        {str(row["metric"]): exact(row) for row in asked(installed, facts.METRICS, span)} for span in (NOW, BEFORE)
    )
    shown: dict[str, set[str]] = {}
    for metric, value in page.numbers:
        shown.setdefault(metric, set()).add(value)
    expected = {name: {now[name]} for name in facts.METRICS}
    for name in {*facts.HEADLINES, *facts.EMAIL, *(metric for row in facts.FUNNEL for metric in row if metric)}:
        expected[name].add(before[name])
    for name in ("cost_per_lead_ads", "revenue_first_touch", "revenue_last_touch"):
        del expected[name]  # only in the split tables
    assert shown == expected
    assert len({value for values in shown.values() for value in values}) > 30

    days = {
        (row["metric"], row["date"]): exact(row) for row in asked(installed, facts.DAILY, (BEFORE[0], UNTIL), "day")
    }
    rows = page.tables["by-day"][1:]
    for position, row in enumerate(rows):
        day = (UNTIL - timedelta(days=position)).isoformat()
        assert row[1:] == [days[metric, day] for metric in facts.DAILY]
    assert len(rows) == 2 * DAYS


@pytest.mark.parametrize(
    ("table", "by", "metrics"),
    [("by-channel", "channel", facts.CHANNELS), ("by-campaign", "campaign", facts.CAMPAIGNS)],
)
def test_a_split_says_what_b2b_kpi_says(
    installed: Installation, page: Page, table: str, by: str, metrics: tuple[str, ...]
) -> None:
    names = {row["campaign_id"]: row["name"] for row in Warehouse().rows(tables.campaign.select())}
    found: dict[str, dict[str, str]] = {}
    for row in asked(installed, metrics, NOW, by):
        key = None if row[by] is None else str(row[by])
        label = channel(key) if by == "channel" else str(names.get(key, key))
        found.setdefault(label, {})[str(row["metric"])] = exact(row)
    rows = page.tables[table][1:]
    if by == "channel":
        totals = {str(row["metric"]): exact(row) for row in asked(installed, metrics, NOW)}
        assert rows.pop() == ["All channels", *(totals[metric] for metric in metrics)]
    assert len(rows) == (len(found) if by == "channel" else facts.TOP_CAMPAIGNS)
    for label, *cells in rows:
        for metric, cell in zip(metrics, cells, strict=True):
            assert cell == found[label].get(metric, DASH) or (cell == DASH and not float(found[label][metric] or 0))


def test_the_page_is_one_file_that_asks_for_nothing_and_runs_nothing(page: Page) -> None:
    assert len(page.html.encode()) < 1_000_000
    assert not re.findall(r"https?:|//\w|url\(|@import|javascript:", page.html)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    attributes = [(name, value or "") for _, found in page.tags for name, value in found.items()]
    assert not [name for name, _ in attributes if name in ("src", "srcset", "action") or name.startswith("on")]
    ids = Counter(value for name, value in attributes if name == "id")
    assert max(ids.values()) == 1
    links = [value for name, value in attributes if name in ("href", "xlink:href")]
    assert links
    assert all(value.startswith("#") and value[1:] in ids for value in links)


def test_pictures_have_texts_and_tables_have_headers(page: Page) -> None:
    pictures = [found for tag, found in page.tags if tag == "svg"]
    assert len(pictures) == page.html.count("<figure>") >= 8
    assert all(found["role"] == "img" and found["aria-label"] for found in pictures)
    assert page.html.count("<caption>") == len(page.tables)
    assert all(found.get("scope") in ("col", "row") for tag, found in page.tags if tag == "th")


def test_every_number_has_its_formula_and_the_command_that_explains_it(installed: Installation, page: Page) -> None:
    rows = page.tables["definitions"][1:]
    assert [row[0] for row in rows] == [LABELS[name] for name in facts.METRICS]
    for name, (_, formula, _, command) in zip(facts.METRICS, rows, strict=True):
        assert formula == METRICS[name].formula
        assert command == f"b2b explain {name} --on {UNTIL}"
    assert installed.b2b(*rows[0][3].split()[1:]).exit_code == 0


def test_a_hostile_name_is_only_text(installed: Installation) -> None:
    stored, named = tables.kpi_component_daily, tables.campaign
    with Warehouse().write() as connection:
        connection.execute(update(stored).where(stored.c.channel == "paid_search").values(channel=HOSTILE))
        connection.execute(update(named).values(name=HOSTILE))
    page = written(installed, "--days", str(DAYS))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert page.tables["by-channel"][1][0] == channel(HOSTILE)
    assert page.tables["by-campaign"][1][0] == HOSTILE
    assert page.text.count("alert(") > facts.TOP_CAMPAIGNS  # in the pictures too


def test_what_is_missing_is_named_and_the_last_complete_day_is_the_last_one_shown(installed: Installation) -> None:
    covered, reason = tables.coverage.c, "hubspot/contact was <not> read for this day"
    gap = update(tables.coverage).where(covered.source == "hubspot", covered.stream == "contact")
    with Warehouse().write() as connection:
        connection.execute(gap.where(covered.date_day == UNTIL).values(is_complete=False, reason=reason))
    before = written(installed, "--days", "3")
    assert "All numbers are complete" in before.text
    assert f"b2b explain spend --on {UNTIL - timedelta(days=1)}" in before.text
    assert "are left out" in before.text
    page = written(installed, "--days", "3", "--to", UNTIL.isoformat())
    assert "All numbers are complete" not in page.text
    concerned = dict(page.tables["gaps"][1:])[reason].split(", ")
    assert {"Leads", "Cost per lead", "CAC"} <= set(concerned)
    assert "Ad spend" not in concerned
    freshness = {row[0]: row[1] for row in page.tables["freshness"][1:]}
    assert freshness["HubSpot"] == "27 Jun 2026"
    assert freshness["Salesforce"] == "28 Jun 2026"


def test_a_comparison_with_days_before_the_first_is_marked_incomplete(installed: Installation) -> None:
    page = written(installed)
    (row,) = page.tables["gaps"][1:]
    assert row[0].startswith("nothing is read before start_date")
    assert row[1] == "All numbers, All numbers (before)"


def test_a_number_that_lacks_its_costs_says_so(installed: Installation) -> None:
    with Warehouse().write() as connection:
        connection.execute(
            delete(tables.kpi_component_daily).where(tables.kpi_component_daily.c.component == "sales_cost")
        )
        connection.execute(delete(tables.cost_ledger).where(tables.cost_ledger.c.category == "salaries_sales"))
    page = written(installed, "--days", str(DAYS))
    assert ("cac", "") in page.numbers
    assert "no sales cost is in the cost ledger" in page.text


def test_the_page_says_in_words_what_ratios_leave_out_and_shows_no_cost_that_nobody_gave(
    installed: Installation,
) -> None:
    page = written(installed, "--days", str(DAYS))
    assert "Cost and return of all channels are without paid_social: nothing feeds its spend." in page.text
    head, *rows = page.tables["by-channel"]
    at = {name: position for position, name in enumerate(head)}
    (social,) = [row for row in rows if row[0] == "Paid social"]
    assert float(social[at["Leads"]]) > 0
    assert [social[at[name]] for name in ("Ad spend", "Cost per lead", "ROAS")] == ["", "", ""]
    asked = ("--from", NOW[0].isoformat(), "--to", NOW[1].isoformat(), "--format", "json")
    (total,) = json.loads(installed.b2b("kpi", "roas", *asked).stdout)
    assert ("roas", str(total["value"])) in page.numbers


def test_without_any_data_there_is_a_message_and_no_page(
    installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path / "new"))
    assert "b2b migrate" in installed.b2b("report").stderr
    assert installed.b2b("migrate").exit_code == 0
    result = installed.b2b("report")
    assert result.exit_code == 2
    assert "nothing has been read yet" in result.stderr
    assert not list((tmp_path / "new").glob("*.html"))


def test_a_day_that_was_not_read_yet_and_a_place_that_is_not_there_are_refused(
    installed: Installation, tmp_path: Path
) -> None:
    late = installed.b2b("report", "--to", (UNTIL + timedelta(days=1)).isoformat())
    assert (late.exit_code, f"after {UNTIL}" in late.stderr) == (2, True)
    nowhere = installed.b2b("report", "--out", str(tmp_path / "none" / "report.html"))
    assert (nowhere.exit_code, "cannot be written" in nowhere.stderr) == (2, True)


@pytest.mark.parametrize(
    ("metric", "before", "now", "text", "tone"),
    [
        ("leads", 100, 112, "+12.0%", "good"),
        ("cost_per_lead", 100, 112, "+12.0%", "bad"),
        ("cac", 100, 50, "\u221250.0%", "good"),
        ("spend", 100, 50, "\u221250.0%", "flat"),
        ("win_rate", Fraction(1, 4), Fraction(1, 5), "\u22125.0 pp", "bad"),
        ("win_rate", 0, Fraction(1, 5), "+20.0 pp", "good"),
        ("email_bounce_rate", Fraction(1, 100), Fraction(1, 200), "\u22120.50 pp", "good"),
        ("leads", 100_000, 100_001, "no change", "flat"),
    ],
)
def test_a_change_is_for_the_better_or_the_worse(
    metric: str, before: Fraction, now: Fraction, text: str, tone: str
) -> None:
    pair = Compared(*(Answer(METRICS[metric], {}, Fraction(value), Fraction(1)) for value in (now, before)))
    found = change(pair)
    assert found is not None
    assert (found.text, found.tone) == (text, tone)


def test_a_change_of_what_is_not_complete_is_neither_better_nor_worse() -> None:
    leads = METRICS["leads"]
    found = change(Compared(Answer(leads, {}, Fraction(2), None), Answer(leads, {}, Fraction(1), None, ("a gap",))))
    assert found is not None
    assert found.tone == "flat"


def test_there_is_no_change_from_nothing() -> None:
    leads = METRICS["leads"]
    assert change(Compared(Answer(leads, {}, Fraction(1), None), Answer(leads, {}, Fraction(0), None))) is None


def test_the_command_line_starts_without_the_drawing_libraries() -> None:
    code = "import sys, b2b_pipeline.cli; sys.exit(bool({'altair', 'vl_convert', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
