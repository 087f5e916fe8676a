"""A source as its tests ask it: its configuration, the records that it gives, the rows that these become."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests
from sqlalchemy import Table

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Source, Window
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.warehouse.contract import Enforced, enforce
from b2b_sandbox.world import World


@dataclass(frozen=True)
class Asked:
    """`settings` are those of the source in pipeline.yaml."""

    source: Source
    account: Account
    window: Window
    start_date: str = "2026-05-01"
    system_of_record: str = "files"

    def config(self, **settings: Any) -> Config:
        given = {"start_date": self.start_date, "system_of_record": self.system_of_record}
        return Config.model_validate({**given, "sources": {self.source.name: settings}})

    def fetch(
        self, stream: str, window: Window | None = None, *, account: Account | None = None, by: Any = None,
        **settings: Any,
    ) -> list[Record]:  # fmt: skip
        """By a new client, unless one is given."""
        client = by or self.source.connect(self.config(**settings))
        pages = self.source.stream(stream).fetch(client, account or self.account, window or self.window)
        return [record for page in pages for record in page.records]

    def mapped(self, table: Table, stream: str, records: list[Record], **settings: Any) -> Enforced:
        mapping = self.source.stream(stream).feeds[table.name]
        return enforce(table, mapping(flattened(records), self.context(stream, **settings)))

    def rows(self, table: Table, stream: str, records: list[Record], **settings: Any) -> list[dict[str, Any]]:
        """Where none is rejected."""
        stored = self.mapped(table, stream, records, **settings)
        assert stored.rejects.empty, stored.rejects
        found: list[dict[str, Any]] = stored.rows.astype(object).to_dict("records")
        return found

    def context(self, stream: str, **settings: Any) -> MappingContext:
        return MappingContext(self.config(**settings), self.source.name, stream, self.account)

    def shown(self, world: World, account: str) -> list[tuple[str, str, int, int]]:
        """Of an ad platform: day, campaign, clicks and micros as they are now, but for days without impressions."""
        query = """
            select date_day, campaign_id, clicks, cost_micros from (
                select *, max(known_at) from ad_day where vendor = ? and account_id = ? and known_at <= ?
                and date_day >= ? and date_day < ? group by campaign_id, date_day)
            where impressions > 0 order by 1, 2"""
        days = str(self.window.start), str(self.window.end)
        with world.connect() as connection:
            found = connection.execute(query, (self.source.name, account, world.now(), *days))
            return [tuple(row) for row in found]


def answer(url: str, status: int, body: Any, kind: str = "application/json", **headers: str) -> requests.Response:
    """What a vendor says, as `classify` gets it; what is no text is sent as JSON."""
    made = requests.Response()
    made.status_code, made.url = status, url
    made._content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    made.headers.update({"Content-Type": kind, **headers})
    return made
