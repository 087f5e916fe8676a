"""One request to the sandbox's HubSpot as its handlers see it, and how HubSpot words a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.responses import JSONResponse

from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from starlette.datastructures import URL, QueryParams


class HubSpotError(Exception):
    """A refusal. Only some carry a category; the CRM search, for one, mostly says no more than `GENERIC`."""

    GENERIC = "There was a problem with the request."

    def __init__(self, status: int, message: str = GENERIC, category: str | None = None, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.more = ({"category": category} if category else {}) | more

    def answer(self) -> JSONResponse:
        correlation_id = str(uuid4())
        body = {"status": "error", "message": str(self), "correlationId": correlation_id} | self.more
        return JSONResponse(body, self.status, headers={"X-HubSpot-Correlation-Id": correlation_id})


def invalid(message: str) -> HubSpotError:
    return HubSpotError(400, message, "VALIDATION_ERROR")


def invalid_json(detail: str) -> HubSpotError:
    """What HubSpot's JSON reader says. The true column is not worked out."""
    return HubSpotError(400, f"Invalid input JSON on line 1, column 1{detail}")


def not_found() -> HubSpotError:
    return HubSpotError(404, "resource not found", "OBJECT_NOT_FOUND")


@dataclass(frozen=True)
class Call:
    """A request that has been let in, with a connection to the world; `now` is the sandbox's clock in ms."""

    connection: sqlite3.Connection
    now: int
    url: URL
    path: Mapping[str, str]
    query: QueryParams
    raw_body: bytes

    def records(self, record_type: str, where: str = "", **parameters: object) -> sqlite3.Cursor:
        """The newest visible versions of one type's records; `where` adds to the conditions of `CURRENT`."""
        return self.connection.execute(CURRENT + where, self._scope(record_type) | parameters)

    def count(self, record_type: str, where: str, **parameters: object) -> int:
        """How many there are of these."""
        rows = self.connection.execute(
            "select count(*) from (" + CURRENT + where + ")",  # noqa: S608
            self._scope(record_type) | parameters,
        )
        return int(rows.fetchone()[0])

    def _scope(self, record_type: str) -> dict[str, object]:
        return {"vendor": "hubspot", "object": record_type, "now": self.now}

    def names(self, parameter: str) -> list[str]:
        """A list parameter: repeated, comma-separated, or both."""
        return [name for part in self.query.getlist(parameter) for name in part.split(",") if name]

    def is_set(self, parameter: str) -> bool:
        return self.query.get(parameter, "false").lower() == "true"

    def integer(self, parameter: str, default: int) -> int:
        try:
            return int(self.query.get(parameter, default))
        except ValueError:
            raise invalid(f"Invalid query parameter {parameter}: it is not a number") from None

    def limit(self, default: int, most: int) -> int:
        limit = self.integer("limit", default)
        if not 1 <= limit <= most:
            raise invalid(f"The limit must be between 1 and {most}, but was {limit}.")
        return limit

    def body(self, *required: str) -> dict[str, Any]:
        """The JSON object of a POST."""
        try:
            body = json.loads(self.raw_body)
        except ValueError:
            raise invalid_json(": Unrecognized token") from None
        if not isinstance(body, dict):
            raise invalid_json(": Cannot deserialize value: an object is expected")
        if missing := [name for name in required if body.get(name) is None]:
            raise invalid_json(f". Some required fields were not set: [{', '.join(missing)}]")
        return body

    def input_ids(self, body: Mapping[str, Any], most: int, kind: str = "") -> list[str]:
        """The ids in the `inputs` of a batch read, each once, in order."""
        inputs = body["inputs"]
        if not isinstance(inputs, list) or not all(isinstance(item, dict) and "id" in item for item in inputs):
            raise invalid_json(". Some required fields were not set: [id]")
        if len(inputs) > most:
            raise invalid(
                f"The maximum number of inputs supported in a batch request{kind} is {most}. "
                "Please reduce the number of items and try again"
            )
        return list(dict.fromkeys(str(item["id"]) for item in inputs))

    def paged(self, rows: Sequence[Any], limit: int, after: str) -> dict[str, Any]:
        """The `paging` member where one row more than `limit` was found: `after` is the cursor of the next page."""
        if len(rows) <= limit:
            return {}
        return {"paging": {"next": {"after": after, "link": str(self.url.include_query_params(after=after))}}}

    def batch(self, results: list[Any], errors: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer to a batch read. One with errors is sent with status 207."""
        at = iso(self.now)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": at, "completedAt": at}
        return answer | ({"numErrors": len(errors), "errors": errors} if errors else {})


# Conditions that `Call.records` adds.
LISTED = " and v.is_gone = 0 and v.is_deleted = :archived"
PAGE = LISTED + " and v.id > :after order by v.id limit :rows"


def in_list(values: Collection[object]) -> str:
    """Values as one bound parameter: `x in (select value from json_each(:values))`."""
    return json.dumps(list(values))


def iso(milliseconds: int) -> str:
    """A time as HubSpot's v3 APIs print it: 2026-01-31T12:00:00.000Z."""
    seconds, fraction = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:03d}Z"


def milliseconds(value: str) -> int:
    """A time as HubSpot's filters take it: milliseconds since the epoch, or ISO 8601 (UTC where it names no zone)."""
    try:
        if value.lstrip("-").isdigit():
            return int(value)
        at = datetime.fromisoformat(value)
    except ValueError:
        raise HubSpotError(400) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
