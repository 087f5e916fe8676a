"""HubSpot's CRM search: filters to SQL, within the limits of https://developers.hubspot.com/docs/api-reference/search/guide."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING, Any

from b2b_sandbox.hubspot_call import LISTED, HubSpotError, in_list, invalid, invalid_json, iso, milliseconds
from b2b_sandbox.hubspot_objects import render
from b2b_sandbox.hubspot_properties import object_type, value_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b2b_sandbox.hubspot_call import Call
    from b2b_sandbox.hubspot_properties import ObjectType

WINDOW = 10_000  # a page that ends beyond is refused, however many records match
GROUPS, FILTERS, FILTERS_IN_ALL = 5, 6, 18

COMPARISONS = {"EQ": "=", "NEQ": "is not", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
LISTS = {"IN", "NOT_IN"}
PRESENCE = {"HAS_PROPERTY": "is not null", "NOT_HAS_PROPERTY": "is null"}
TOKENS = {"CONTAINS_TOKEN": "", "NOT_CONTAINS_TOKEN": "not "}


def search_objects(call: Call) -> dict[str, Any]:
    """A page of the live records that match, with their number. `after` is the offset of the page."""
    kind = object_type(call)
    body = call.body()
    limit, offset = _window(body)
    search = _Search(call, kind)
    where = LISTED + " and " + search.matches(body)
    call.connection.create_function("has_token", 2, _has_token, deterministic=True)
    total = call.count(kind.name, where, **search.parameters)
    order = search.order(body)
    rows = call.records(
        kind.name, where + order + " limit :limit offset :offset", **search.parameters, limit=limit, offset=offset
    ).fetchall()
    following = offset + len(rows)
    paging = {"paging": {"next": {"after": str(following)}}} if following < total else {}
    return {"total": total, "results": render(call, kind, rows, body.get("properties") or [])} | paging


class _Search:
    """Turns the body of one search into SQL, and collects its parameters."""

    def __init__(self, call: Call, kind: ObjectType) -> None:
        self.call = call
        self.kind = kind
        self.parameters: dict[str, object] = {"archived": 0}
        self._numbers = count()

    def matches(self, body: dict[str, Any]) -> str:
        """The condition: any of the groups, all filters of a group, every word of the query."""
        groups = [list(self._filters(group)) for group in _list(body, "filterGroups")]
        if len(groups) > GROUPS:
            raise invalid(f"The maximum number of filter groups is {GROUPS}, but {len(groups)} were given.")
        if max(map(len, groups), default=0) > FILTERS:
            raise invalid(f"The maximum number of filters in a group is {FILTERS}.")
        if sum(map(len, groups)) > FILTERS_IN_ALL:
            raise invalid(f"The maximum number of filters is {FILTERS_IN_ALL}.")
        any_group = " or ".join(f"({' and '.join(group) or '1'})" for group in groups) or "1"
        text = " || ' ' || ".join(
            f"coalesce(json_extract(v.payload, '{self.kind.path(name)}'), '')" for name in self.kind.searched
        )
        words = str(body.get("query") or "").lower().split()
        return " and ".join([f"({any_group})", *(f"instr(lower({text}), {self._bind(word)}) > 0" for word in words)])

    def order(self, body: dict[str, Any]) -> str:
        """By the one sort given, else by the time of creation; equal ones by id."""
        sorts = _list(body, "sorts")
        if len(sorts) > 1:
            raise invalid("Only one sort is supported.")
        name, direction = _sort(sorts[0]) if sorts else ("createdate", "asc")
        expression, _ = self._expression(name)
        return f" order by {expression} {direction} nulls last, cast(v.id as integer)"

    def _filters(self, group: Any) -> Iterator[str]:
        if not isinstance(group, dict):
            raise invalid_json(": Cannot deserialize value: an object is expected")
        for condition in _list(group, "filters"):
            if not isinstance(condition, dict):
                raise invalid_json(": Cannot deserialize value: an object is expected")
            missing = [name for name in ("propertyName", "operator") if not condition.get(name)]
            if missing:
                raise invalid_json(
                    f": Cannot build Filter, some of required attributes are not set [{', '.join(missing)}]"
                )
            yield self._filter(condition)

    def _filter(self, condition: dict[str, Any]) -> str:
        name, operator = str(condition["propertyName"]), condition["operator"]
        if "value" in condition and not str(condition["value"] or "").strip():
            raise invalid_json(f":\nvalue must be non-empty and non-blank, if specified {{propertyName: '{name}'}}")
        expression, kind = self._expression(name)
        if operator in PRESENCE:
            return f"{expression} {PRESENCE[operator]}"
        if operator in LISTS:
            values = condition.get("values")
            if not isinstance(values, list) or not values:
                raise HubSpotError(400)
            # Texts are compared as they are given: HubSpot wants them in lower case here.
            among = self._bind(in_list([str(value) if kind == "string" else _value(value, kind) for value in values]))
            found = f"{expression} in (select value from json_each({among}))"  # noqa: S608
            return found if operator == "IN" else f"({expression} is null or not {found})"
        if "value" not in condition:
            raise HubSpotError(400)
        if operator in TOKENS:
            return f"{TOKENS[operator]}has_token(cast({expression} as text), {self._bind(str(condition['value']))})"
        low = self._bind(_value(condition["value"], kind))
        if operator == "BETWEEN":
            if "highValue" not in condition:
                raise HubSpotError(400)
            return f"{expression} between {low} and {self._bind(_value(condition['highValue'], kind))}"
        if operator not in COMPARISONS:
            raise invalid_json(f': Cannot deserialize value of type `FilterOperatorEnum` from String "{operator}"')
        return f"{expression} {COMPARISONS[operator]} {low}"

    def _expression(self, name: str) -> tuple[str, str]:
        """The property as an SQL expression, and how it compares: `ms`, `integer`, or as its type says."""
        if name == self.kind.modified:
            return "v.modified_at", "ms"
        if name == "hs_object_id":
            return "cast(v.id as integer)", "integer"
        kind = value_type(self.call, self.kind, name)
        if kind is None:
            raise HubSpotError(400)
        value = f"nullif(json_extract(v.payload, {self._bind(self.kind.path(name))}), '')"
        if kind == "number":
            return f"cast({value} as real)", kind
        return (value, kind) if kind in ("datetime", "date") else (f"lower({value})", "string")

    def _bind(self, value: object) -> str:
        name = f"p{next(self._numbers)}"
        self.parameters[name] = value
        return f":{name}"


def _window(body: dict[str, Any]) -> tuple[int, int]:
    """The size and the offset of the page."""
    try:
        limit, offset = int(body.get("limit") or 10), int(body.get("after") or 0)
    except (TypeError, ValueError):
        raise HubSpotError(400) from None
    if not 1 <= limit <= 200 or offset < 0 or offset + limit > WINDOW:
        raise HubSpotError(400)
    return limit, offset


def _sort(sort: Any) -> tuple[str, str]:
    """Property and direction of `"amount"`, `"-amount"`, and of an object, which may come as JSON text."""
    if isinstance(sort, str) and sort.startswith("{"):
        try:
            sort = json.loads(sort)
        except ValueError:
            raise HubSpotError(400) from None
    if isinstance(sort, str):
        return sort.removeprefix("-"), "desc" if sort.startswith("-") else "asc"
    if not isinstance(sort, dict) or "propertyName" not in sort:
        raise HubSpotError(400)
    return str(sort["propertyName"]), "desc" if sort.get("direction") == "DESCENDING" else "asc"


def _value(value: Any, kind: str) -> object:
    """A filter's value as it compares with the property."""
    try:
        if kind == "integer":
            return int(value)
        if kind == "number":
            return float(value)
    except (TypeError, ValueError):
        raise HubSpotError(400) from None
    if kind == "string":
        return str(value).lower()
    at = milliseconds(str(value))
    return at if kind == "ms" else iso(at)[: 10 if kind == "date" else None]


def _has_token(text: str | None, pattern: str) -> bool:
    """Whether a word of the text is the pattern, in any case; `*` stands for any end or beginning of a word."""
    wanted = [re.escape(part).replace(r"\*", r"\w*") for part in re.findall(r"[\w*]+", pattern.lower())]
    return text is not None and bool(wanted) and bool(re.search(r"\b" + r"\W+".join(wanted) + r"\b", text.lower()))


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name) or []
    if not isinstance(value, list):
        raise invalid_json(f": Cannot deserialize value of `{name}`: an array is expected")
    return value
