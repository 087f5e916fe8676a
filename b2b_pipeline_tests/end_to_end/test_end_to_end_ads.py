"""The demo's company with all ad platforms read: every metric is that of the world, paid social with its cost."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from b2b_pipeline.core.blanks import of_blanks
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import campaign, spend, touchpoint
from b2b_pipeline_tests.support.end_to_end import (
    EVERY,
    FIRST_UNTIL,
    LEADS,
    START,
    assert_true,
    clock,
    inside,
    installation,
    read_twice,
)
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import make_world
from b2b_sandbox.truth_campaigns import leads_by_campaign

UNTIL = FIRST_UNTIL + timedelta(days=7)
PLATFORMS = ("google_ads", "linkedin_ads", "meta_ads", "microsoft_ads", "reddit_ads", "tiktok_ads", "x_ads")
SETTINGS = {"tiktok_ads": "{options: {conversions: complete_payment}}"}  # what others are worth is not known
VALUED = ("platform_conversion_value", "platform_roas")  # what conversions at Reddit and X are worth nobody says


def with_all(found: Installation) -> Installation:
    path = found.folder / "pipeline.yaml"
    text = path.read_text(encoding="utf-8")
    switched_on = [f"  {name}: {SETTINGS.get(name, '{}')}" for name in ("ecb", *PLATFORMS[1:])]
    path.write_text(text.replace("  ecb: {}", "\n".join(switched_on)), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again a week later, when platforms have restated some."""
    folder = tmp_path_factory.mktemp("ads")
    days = (FIRST_UNTIL - START).days + 1
    found = with_all(installation(folder, make_world(folder / "world", until=FIRST_UNTIL, days=days, leads=LEADS)))
    return read_twice(found, START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day", "channel"), ("month",), ("channel",), ()])
def test_every_metric_is_that_of_the_world(installed: Installation, shop: Pipeline, by: tuple[str, ...]) -> None:
    assert_true(installed, shop, UNTIL, by, names=[name for name in EVERY if name not in VALUED], platforms=PLATFORMS)


@pytest.mark.parametrize("by", [("day", "channel"), ("month",), ("channel",), ()])
def test_values_that_platforms_claim_are_those_of_the_world_without_those_that_are_not_told(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, UNTIL, by, names=VALUED, incomplete=True, platforms=PLATFORMS)
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, VALUED, START, UNTIL, ["channel"])
    told = {reason for answer in answers for each in answer.reasons for reason in each.split("; ")}
    assert answers
    assert not any(answer.complete for answer in answers)
    assert all("no value of conversions" in reason for reason in told), told
    assert {name for name in PLATFORMS for reason in told if name in reason} == {"reddit_ads", "x_ads"}


def test_paid_social_has_a_cost_per_lead_and_whole_days(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["cost_per_lead_ads"], START, UNTIL, ["channel"])
    (social,) = (answer for answer in answers if answer.keys["channel"] == "paid_social")
    assert social.value
    assert social.complete


def test_leads_of_the_ads_are_those_of_the_campaign_of_that_name(installed: Installation, shop: Pipeline) -> None:
    world = installed.world
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["leads", "spend"], START, UNTIL, ["campaign"])
    names = {row["campaign_id"]: row["name"] for row in shop.warehouse.rows(select(campaign))}
    (abm,) = (identifier for identifier, name in names.items() if name == "li-2026q2-abm")
    found = {answer.keys["campaign"]: answer.value for answer in answers if answer.metric.name == "leads"}
    expected = leads_by_campaign(world, clock(world), shop.config.timezone, PLATFORMS)
    assert found[abm] == expected[abm] > 0


def test_spend_is_by_campaign_with_its_name_a_deleted_one_too(shop: Pipeline) -> None:
    names = select(spend.c.source, spend.c.source_account, spend.c.campaign_name).distinct()
    rows = shop.warehouse.rows(names.where(spend.c.source != "google_ads").where(spend.c.source != "files"))
    assert {tuple(row.values()) for row in rows} == {
        ("linkedin_ads", "508720451", "Brand | Sponsored content"),
        ("linkedin_ads", "508720451", "Demo | <b>Message</b> & Film"), ("linkedin_ads", "508720451", "li-2026q2-abm"),
        ("linkedin_ads", "508774356", "ABM | Tier 1 | US"), ("linkedin_ads", "508774356", '=Retarget "US"'),
        ("meta_ads", "1201500000000001", "Lookalike | Leads"),
        ("meta_ads", "1201500000000001", "Retargeting \U0001f3ac Film"),
        ("meta_ads", "1201500000000002", "Prospecting | US"), ("microsoft_ads", "180535609", "Bing | Brand | DE"),
        ("microsoft_ads", "180535609", 'Bing | "Zielgruppe" & Mehr'),
        ("microsoft_ads", "180535609", "Bing | Old, deleted"), ("microsoft_ads", "180519267", "Bing | PMax | US"),
        ("tiktok_ads", "7001035076276387841", "TikTok | Lead form"),
        ("tiktok_ads", "7001035076276387841", "TikTok \U0001f3b5 <Spark> & Film"),
        ("tiktok_ads", "7001040009704833026", "TikTok | Sign-ups | US"),
        ("x_ads", "18ce54d4x5t", "X | Analysten | DE"), ("x_ads", "18ce54d4x5t", "X | Messe \u2728 2026"),
        ("x_ads", "18ce55gze09", "X | Founders, US"),
        ("reddit_ads", "a2_gq7w1x0c5rd2", "r/selbstst\u00e4ndig | Leads"),
        ("reddit_ads", "a2_gq7w1x0c5rd2", "AMA | \U0001f4a1 & <Film>"),
        ("reddit_ads", "a2_h08n4k2v9tb6", "r/sysadmin | US"),
    }  # fmt: skip
    gone = select(campaign.c.name).where(campaign.c.is_deleted, campaign.c.source == "meta_ads")
    (deleted,) = shop.warehouse.rows(gone)
    assert deleted["name"] == "Retargeting \U0001f3ac Film"


class Undone(Exception):
    """Ends a transaction of which nothing is to stay."""


def test_a_platform_that_nobody_reads_makes_the_days_incomplete_on_which_people_came_by_its_ads(shop: Pipeline) -> None:
    """What Meta's ads cost would pass for the cost of paid social: that LinkedIn's run, too, their clicks tell."""
    touch, told = touchpoint.c, dict[bool, list[dict[str, Any]]]()
    came = select(touch.date_day).where(touch.evidence == "li_fat_id", ~touch.is_deleted).distinct()
    days = {row["date_day"] for row in shop.warehouse.rows(came)}
    assert days
    partly = shop.config.model_copy(deep=True)
    del partly.sources["linkedin_ads"]
    for is_read, config in ((True, shop.config), (False, partly)):
        with suppress(Undone), shop.warehouse.write() as connection:
            if not is_read:
                connection.execute(delete(spend).where(spend.c.source == "linkedin_ads"))
            told[is_read] = [row for row in of_blanks(connection, config) if row["source"] == "linkedin_ads"]
            raise Undone
    assert told[True] == []
    of_cost = [row for row in told[False] if row["source_account"] == "spend.spend"]
    assert {row["date_day"] for row in of_cost} == days
    for row in of_cost:
        assert "came by ads of LinkedIn Ads (li_fat_id), which nobody reads: switch linkedin_ads on" in row["reason"]
