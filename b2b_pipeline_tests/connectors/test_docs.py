"""The page of each source."""

from __future__ import annotations

from pathlib import Path

from b2b_pipeline.testing import docs

FOLDER = Path(__file__).parents[2] / "docs" / "sources"


def test_the_page_of_every_source_says_what_the_source_says_of_itself() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert written == docs.pages(), "run: make docs"
    google = written["google_ads.md"]
    expected = (
        "`GOOGLE_ADS_CLIENT_ID`", "`b2b connect google_ads` asks for", "the last 31 days every night, longer",
        "2,880 (`explorer`)", "4 accounts are read at once", "of `campaign_daily` against `account_daily`",
    )  # fmt: skip
    assert [said for said in expected if said not in google] == []
