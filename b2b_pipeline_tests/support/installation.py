"""A real installation for tests: a small sandbox world, read by the real connectors over HTTP."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from typer.testing import CliRunner, Result

from b2b_pipeline.cli import app
from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import tokens, zoom_webinars
from b2b_sandbox.drops import drop_files
from b2b_sandbox.generate import make_world
from b2b_sandbox.generate_ads import MANAGER
from b2b_sandbox.server import running
from b2b_sandbox.vendors import VENDORS
from b2b_sandbox.world import World

START, UNTIL = date(2026, 6, 9), date(2026, 6, 28)
CREDENTIALS = {
    "GOOGLE_ADS_CLIENT_ID": tokens.CLIENT_ID, "GOOGLE_ADS_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "GOOGLE_ADS_REFRESH_TOKEN": tokens.REFRESH_TOKEN, "GOOGLE_ADS_LOGIN_CUSTOMER_ID": MANAGER,
    "HUBSPOT_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "SALESFORCE_CLIENT_ID": tokens.CLIENT_ID, "SALESFORCE_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "PIPEDRIVE_API_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "LINKEDIN_ADS_CLIENT_ID": tokens.CLIENT_ID, "LINKEDIN_ADS_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "LINKEDIN_ADS_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "X_ADS_API_KEY": tokens.CLIENT_ID, "X_ADS_API_SECRET": tokens.CLIENT_SECRET,
    "X_API_KEY": tokens.CLIENT_ID, "X_API_SECRET": tokens.CLIENT_SECRET,
    "X_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN, "X_ACCESS_TOKEN_SECRET": tokens.REFRESH_TOKEN,
    "X_ADS_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN, "X_ADS_ACCESS_TOKEN_SECRET": tokens.REFRESH_TOKEN,
    "META_ADS_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN, "META_ADS_APP_SECRET": tokens.CLIENT_SECRET,
    "MICROSOFT_ADS_CLIENT_ID": tokens.CLIENT_ID, "MICROSOFT_ADS_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "MICROSOFT_ADS_REFRESH_TOKEN": tokens.REFRESH_TOKEN, "MICROSOFT_ADS_DEVELOPER_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "TIKTOK_ADS_APP_ID": tokens.CLIENT_ID, "TIKTOK_ADS_APP_SECRET": tokens.CLIENT_SECRET,
    "TIKTOK_ADS_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "REDDIT_ADS_CLIENT_ID": tokens.CLIENT_ID, "REDDIT_ADS_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "REDDIT_ADS_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "DYNAMICS_TENANT_ID": "6f1f2b3c-0000-4000-8000-000000000000", "DYNAMICS_CLIENT_ID": tokens.CLIENT_ID,
    "DYNAMICS_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "ZOHO_CRM_CLIENT_ID": tokens.CLIENT_ID, "ZOHO_CRM_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "ZOHO_CRM_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "MAILCHIMP_API_KEY": f"{tokens.PRIVATE_APP_TOKEN}-us19",
    "KLAVIYO_API_KEY": tokens.PRIVATE_APP_TOKEN,
    "STRIPE_API_KEY": f"rk_live_{tokens.PRIVATE_APP_TOKEN}",
    "CHARGEBEE_API_KEY": tokens.PRIVATE_APP_TOKEN,
    "DISCOURSE_API_KEY": tokens.PRIVATE_APP_TOKEN, "DISCOURSE_API_USERNAME": "reporting",
    "DEMANDBASE_CLIENT_ID": tokens.CLIENT_ID, "DEMANDBASE_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "LINKEDIN_PAGES_CLIENT_ID": tokens.CLIENT_ID, "LINKEDIN_PAGES_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "LINKEDIN_PAGES_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "GA4_CLIENT_ID": tokens.CLIENT_ID, "GA4_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "GA4_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "SEARCH_CONSOLE_CLIENT_ID": tokens.CLIENT_ID, "SEARCH_CONSOLE_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "SEARCH_CONSOLE_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "TYPEFORM_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "ZENDESK_SUBDOMAIN": "ourcompany", "ZENDESK_CLIENT_ID": tokens.CLIENT_ID,
    "ZENDESK_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "INTERCOM_ACCESS_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "MARKETO_CLIENT_ID": tokens.CLIENT_ID, "MARKETO_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "YOUTUBE_CLIENT_ID": tokens.CLIENT_ID, "YOUTUBE_CLIENT_SECRET": tokens.CLIENT_SECRET,
    "YOUTUBE_REFRESH_TOKEN": tokens.REFRESH_TOKEN,
    "COLLECTOR_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "CLARITY_API_TOKEN": tokens.PRIVATE_APP_TOKEN,
    "ZOOM_WEBINARS_ACCOUNT_ID": zoom_webinars.ACCOUNT, "ZOOM_WEBINARS_CLIENT_ID": tokens.CLIENT_ID,
    "ZOOM_WEBINARS_CLIENT_SECRET": tokens.CLIENT_SECRET,
}  # fmt: skip
DEMO = Path(__file__).parents[2] / "examples" / "demo" / "pipeline.yaml"


@dataclass(frozen=True)
class Installation:
    """B2B_HOME and pipeline.yaml in one folder, with the world that they read."""

    folder: Path
    world: World

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def pipeline(self) -> Pipeline:
        return Pipeline.from_environment()

    def pull(self, run_id: str) -> None:
        """Read all of every stream over HTTP, and the dropped files, into landing."""
        pipeline = self.pipeline()
        with served(self.world):
            for source in pipeline.config.sources:
                for stream in SOURCES[source].streams:
                    report = pipeline.ingest(source, stream.name, START, UNTIL + timedelta(days=1), run_id)
                    assert not report.failed
        files = pipeline.config.files
        for path in sorted(pipeline.inbox.iterdir()):
            mapping = files[mapping_for(path.name, files) or ""]
            land_file(path, mapping, file_stream(mapping), pipeline.landing, pipeline.config, run_id)

    def b2b(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))


def known_everywhere(world: World) -> list[str]:
    """Addresses that HubSpot, Salesforce and the e-mail events all know; the domain of the second one is excluded."""
    with world.connect() as connection:
        rows = connection.execute("""
            select distinct lower(json_extract(c.payload, '$.email')) as email from record_version c
            join record_version l on l.object = 'Lead'
                and lower(json_extract(l.payload, '$.Email')) = lower(json_extract(c.payload, '$.email'))
            join email_event e on lower(e.recipient) = lower(json_extract(c.payload, '$.email'))
            where c.object = 'contacts' and e.type = 'OPEN' order by 1""").fetchall()
    return [row["email"] for row in rows]


@contextmanager
def served(world: World) -> Iterator[str]:
    """The sandbox on a free port, with every connector pointed at it."""
    with running(world) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for vendor in VENDORS:
            patch.setenv(f"{vendor.upper()}_BASE_URL", f"{url}/{vendor}")
        yield url


@cache
def template() -> Installation:
    """An installation that has landed everything and derived it; built once, to be copied."""
    folder = Path(mkdtemp(prefix="b2b-installation-"))
    atexit.register(shutil.rmtree, folder)
    world = make_world(folder / "world.sqlite", until=UNTIL, days=(UNTIL - START).days + 1, leads=60)
    text = DEMO.read_text(encoding="utf-8").replace("2026-01-01", START.isoformat())
    domain = known_everywhere(world)[1].partition("@")[2]
    text = text.replace("[ourcompany.example]", f"[ourcompany.example, {domain}]")
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    (folder / "home").mkdir(mode=0o700)
    drop_files(world, folder / "inbox")
    found = Installation(folder, world)
    with pytest.MonkeyPatch.context() as patch:
        settle(found, patch)
        migrated(found.pipeline().warehouse)
        found.pull("first")
        rebuild(found.pipeline(), "first", replay=False)
    return found


def settle(found: Installation, patch: pytest.MonkeyPatch) -> None:
    """Point the environment at an installation, and at nothing of the machine's own."""
    for name in list(os.environ):
        if name.startswith(("B2B_", *(f"{vendor.upper()}_" for vendor in VENDORS))):
            patch.delenv(name)
    for vendor in VENDORS:
        patch.setenv(f"{vendor.upper()}_BASE_URL", "http://127.0.0.1:9")
    patch.setenv("B2B_HOME", str(found.home))
    patch.setenv("B2B_CONFIG", str(found.folder / "pipeline.yaml"))
    patch.chdir(found.folder)


def shared(patch: pytest.MonkeyPatch) -> Installation:
    """The template itself, for a test that only reads."""
    settle(template(), patch)
    return template()


def copy(folder: Path, patch: pytest.MonkeyPatch) -> Installation:
    """A copy of the template for one test to change, with the environment pointed at it."""
    shutil.copytree(template().folder, folder, dirs_exist_ok=True)
    found = Installation(folder, World(folder / "world.sqlite"))
    settle(found, patch)
    return found
