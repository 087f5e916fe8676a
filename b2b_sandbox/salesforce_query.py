"""SOQL over the world: a query is checked against the org's schema, turned into SQL and run.

SOQL knows two truth values where SQL knows three: `Status != 'New'` and `NOT Status = 'New'` hold for an empty status.
Text compares without regard to case, ids by their first 15 characters.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import REAL, Integer, and_, bindparam, cast, column, false, func, not_, or_, select
from sqlalchemy.dialects import sqlite

from b2b_sandbox import soql
from b2b_sandbox.salesforce_schema import ADDRESS_PARTS, IDS, NUMBERS, OBJECTS, Field, SObject
from b2b_sandbox.soql import Comparison, Condition, Junction, Not, SoqlError, Word, located
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Subquery

    from b2b_sandbox.world import World

_CHECK_NAME = "Please reference your WSDL or the describe call for the appropriate names."
_FIELDS_LIMIT = 200
OFFSET_ROWS = 2000  # a query with OFFSET gives no more rows than this
_OBJECTS = {name.lower(): sobject for name, sobject in OBJECTS.items()}
_DIALECT = sqlite.dialect(paramstyle="named")


@dataclass(frozen=True)
class Column:
    """One column of a result: a field of the object queried, or of the parent that `parent`, a reference, points to."""

    field: Field
    parent: Field | None

    @property
    def path(self) -> str:
        return f"{self.parent.relationship}.{self.field.name}" if self.parent else self.field.name


@dataclass(frozen=True)
class Result:
    """The rows of a query, complete. Each row: the record's id, the parents' ids, then the columns' stored values.

    `total` counts the rows; for COUNT() it is the answer and there are no rows.
    """

    query: soql.Query
    sobject: SObject
    parents: tuple[Field, ...]
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]
    total: int

    def records(self, version: str, start: int, end: int) -> list[dict[str, Any]]:
        """Rows as the REST API shows them."""
        return [self._record(row, version) for row in self.rows[start:end]]

    def _record(self, row: Sequence[Any], version: str) -> dict[str, Any]:
        record: dict[str, Any] = {"attributes": _attributes(self.sobject.name, row[0], version)}
        first = 1 + len(self.parents)
        parents = {
            parent: {"attributes": _attributes(str(parent.refers_to), parent_id, version)} if parent_id else None
            for parent, parent_id in zip(self.parents, row[1:first], strict=True)
        }
        for shown, stored in zip(self.columns, row[first:], strict=True):
            if shown.parent is None:
                record[shown.field.name] = rest_value(shown.field, stored)
            else:
                inner = parents[shown.parent]
                record[str(shown.parent.relationship)] = inner
                if inner is not None:
                    inner[shown.field.name] = rest_value(shown.field, stored)
        return record

    def csv_rows(self, start: int, end: int) -> list[list[str]]:
        """Rows as Bulk API 2.0 writes them, without a header."""
        first = 1 + len(self.parents)
        return [
            [csv_value(shown.field, stored) for shown, stored in zip(self.columns, row[first:], strict=True)]
            for row in self.rows[start:end]
        ]


def run(world: World, text: str, now: int, *, include_deleted: bool) -> Result:
    """Run a query as of a time of the sandbox's clock, in milliseconds. Raises SoqlError."""
    return _Run(soql.parse(text), now).result(world, include_deleted=include_deleted)


def rest_value(field: Field, stored: Any) -> Any:
    if stored is None:
        return None
    match field.type:
        case "boolean":
            return bool(stored)
        case "datetime":
            return rest_time(stored)
        case "address":
            parts = json.loads(stored)
            unknown = dict.fromkeys(("geocodeAccuracy", "latitude", "longitude"))
            return parts | unknown if any(parts.values()) else None
    return stored


def rest_time(seconds: int) -> str:
    return f"{_iso(seconds)}.000+0000"


def csv_value(field: Field, stored: Any) -> str:
    if stored is None:
        return ""
    match field.type:
        case "boolean":
            return "true" if stored else "false"
        case "datetime":
            return f"{_iso(stored)}.000Z"
    return str(stored)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _attributes(name: str, record_id: str, version: str) -> dict[str, str]:
    return {"type": name, "url": f"/services/data/v{version}/sobjects/{name}/{record_id}"}


class _Run:
    """One query at one time, while its names are looked up and its SQL grows."""

    def __init__(self, query: soql.Query, now: int) -> None:
        self.query = query
        self.now = now
        self.today = datetime.fromtimestamp(now / 1000, UTC).date()
        sobject = _OBJECTS.get(query.source.text.lower())
        if sobject is None:
            raise self.refused(
                query.source,
                f"sObject type '{query.source.text}' is not supported. If you are attempting to use a custom object, "
                f"be sure to append the '__c' after the entity name. {_CHECK_NAME}",
                "INVALID_TYPE",
            )
        self.sobject = sobject
        self.table = self.current(sobject.name)
        self.parents: dict[Field, Subquery] = {}

    def refused(self, word: Word, message: str, code: str = "INVALID_FIELD") -> SoqlError:
        return SoqlError(code, located(self.query.text, word.at, message))

    def current(self, name: str) -> Subquery:
        """The newest visible version of every record of an object."""
        values = {"vendor": "salesforce", "object": name, "now": self.now}
        records = sqlalchemy.text(CURRENT).bindparams(
            *(bindparam(key, value, unique=True) for key, value in values.items())
        )
        return records.columns(
            column("id"), column("modified_at", Integer), column("is_deleted", Integer), column("is_gone", Integer),
            column("payload"),
        ).subquery()  # fmt: skip

    def result(self, world: World, *, include_deleted: bool) -> Result:
        query = self.query
        is_count = [word.text for word in query.select] == ["COUNT()"]
        columns = () if is_count else self.columns()
        where = self.condition(query.where) if query.where else None
        order = [self.ordering(item.field, is_descending=item.is_descending, nulls_last=item.nulls_last)
                 for item in query.order]  # fmt: skip
        statement = select(
            self.table.c.id,
            *(parent.c.id for parent in self.parents.values()),
            *(self.expression(shown.field, self.source(shown.parent)) for shown in columns),
        )
        source: Any = self.table
        for reference, parent in self.parents.items():
            source = source.outerjoin(parent, parent.c.id == _stored(reference, self.table))
        statement = statement.select_from(source).where(self.table.c.is_gone == 0)
        if not include_deleted:
            statement = statement.where(self.table.c.is_deleted == 0)
        if where is not None:
            statement = statement.where(where)
        limit = query.limit
        if query.offset is not None:
            limit = OFFSET_ROWS if limit is None else min(limit, OFFSET_ROWS)
        statement = statement.order_by(*order, self.table.c.id).limit(limit).offset(query.offset)
        compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        with world.connect() as connection:
            rows = [tuple(row) for row in connection.execute(str(compiled), compiled.params)]
        return Result(query, self.sobject, tuple(self.parents), columns, [] if is_count else rows, len(rows))

    def columns(self) -> tuple[Column, ...]:
        """The fields selected, FIELDS() spelled out."""
        columns: list[Column] = []
        for word in self.query.select:
            columns += self.group(word) if word.kind == "function" else [self.lookup(word)]
        paths = [shown.path for shown in columns]
        for path in paths:
            if paths.count(path) > 1:
                raise SoqlError("INVALID_FIELD", f"duplicate field selected: {path}")
        return tuple(columns)

    def group(self, word: Word) -> Iterable[Column]:
        if word.text == "COUNT()":
            raise self.refused(word, "unexpected token: 'COUNT'", "MALFORMED_QUERY")
        if word.text != "FIELDS(STANDARD)" and (self.query.limit is None or self.query.limit > _FIELDS_LIMIT):
            raise SoqlError("MALFORMED_QUERY", f"The SOQL FIELDS function must have a LIMIT of at most {_FIELDS_LIMIT}")
        kinds = {"FIELDS(ALL)": {True, False}, "FIELDS(CUSTOM)": {True}, "FIELDS(STANDARD)": {False}}[word.text]
        return [Column(field, None) for field in self.sobject.fields if field.is_custom in kinds]

    def lookup(self, word: Word) -> Column:
        """The field that a name means. A name may begin with the object's own."""
        path = word.text.split(".")
        if len(path) > 1 and path[0].lower() == self.sobject.name.lower():
            path = path[1:]
        *way, name = path
        sobject, parent = self.sobject, None
        if way:
            parent = sobject.relationships.get(way[0].lower())
            if parent is None or len(way) > 1:
                raise self.refused(
                    word,
                    f"Didn't understand relationship '{way[-1] if parent else way[0]}' in field path. If you are "
                    f"attempting to use a custom relationship, be sure to append the '__r' after the custom "
                    f"relationship name. {_CHECK_NAME}",
                )
            sobject = OBJECTS[str(parent.refers_to)]
            if parent not in self.parents:
                self.parents[parent] = self.current(sobject.name)
        field = sobject.by_name.get(name.lower())
        if field is None:
            raise self.refused(
                word,
                f"No such column '{name}' on entity '{sobject.name}'. If you are attempting to use a custom field, "
                f"be sure to append the '__c' after the custom field name. {_CHECK_NAME}",
            )
        return Column(field, parent)

    def source(self, parent: Field | None) -> Subquery:
        return self.parents[parent] if parent else self.table

    def expression(self, field: Field, table: Subquery) -> ColumnElement[Any]:
        """A field's value in SQL: a datetime is in seconds since the epoch, a boolean 0 or 1, empty text is NULL."""
        stored = _stored(field, table)
        match field.type:
            case "id":
                return table.c.id
            case "boolean":
                return table.c.is_deleted if field.name == "IsDeleted" else func.coalesce(stored, 0)
            case "datetime":
                modified = table.c.modified_at // 1000
                if field.name == "SystemModstamp":
                    return modified
                seconds = cast(func.strftime("%s", func.substr(stored, 1, 19)), Integer)
                return func.coalesce(seconds, modified) if field.name == "LastModifiedDate" else seconds
            case "int":
                return cast(stored, Integer)
            case "address":
                prefix = field.name.removesuffix("Address")
                parts = ((part[0].lower() + part[1:], func.json_extract(table.c.payload, f"$.{prefix}{part}"))
                         for part in ADDRESS_PARTS)  # fmt: skip
                return func.json_object(*(item for part in parts for item in part))
        if field.type in NUMBERS:
            return cast(stored, REAL)
        return stored

    def ordering(self, word: Word, *, is_descending: bool, nulls_last: bool) -> ColumnElement[Any]:
        shown = self.lookup(word)
        if not shown.field.is_sortable:
            raise self.refused(word, f"field '{shown.field.name}' can not be sorted in a query call")
        value = _comparable(shown.field, self.expression(shown.field, self.source(shown.parent)))
        ordered = value.desc() if is_descending else value.asc()
        return ordered.nulls_last() if nulls_last else ordered.nulls_first()

    def condition(self, condition: Condition) -> ColumnElement[bool]:
        match condition:
            case Not(inner):
                return not_(self.condition(inner))
            case Junction(operator, conditions):
                join = and_ if operator == "AND" else or_
                return join(*(self.condition(inner) for inner in conditions))
            case Comparison(word, operator, values):
                return self.comparison(self.filtered(word), operator, values)

    def filtered(self, word: Word) -> Column:
        shown = self.lookup(word)
        if not shown.field.is_filterable:
            raise self.refused(word, f"field '{shown.field.name}' can not be filtered in a query call")
        return shown

    def comparison(self, shown: Column, operator: str, values: tuple[Word, ...]) -> ColumnElement[bool]:
        field = shown.field
        value = _comparable(field, self.expression(field, self.source(shown.parent)))
        if operator in ("!=", "NOT IN"):
            return not_(self.comparison(shown, "IN", values))
        if operator == "LIKE":
            pattern = self.literal(field, values[0], is_pattern=True)
            return func.ifnull(value.like(pattern, escape="\\"), 0)
        if operator in ("=", "IN"):
            plain = [self.literal(field, word) for word in values if word.kind not in ("null", "range")]
            tests: list[ColumnElement[bool]] = [value.in_([item for item in plain if item != ""])]
            tests += [value.is_(None) for word in values if word.kind == "null" or word.text == "''"]
            tests += [and_(value >= start, value < end) for start, end in self.ranges(field, values)]
            return func.ifnull(or_(*tests), 0)
        if values[0].kind == "null":
            return false()
        for start, end in self.ranges(field, values):
            sign, bound = {"<": ("<", start), "<=": ("<", end), ">": (">=", end), ">=": (">=", start)}[operator]
            return func.ifnull(value.op(sign, is_comparison=True)(bound), 0)
        return func.ifnull(value.op(operator, is_comparison=True)(self.literal(field, values[0])), 0)

    def literal(self, field: Field, word: Word, *, is_pattern: bool = False) -> Any:
        """A literal in the form that `expression` has. Raises INVALID_FIELD for one of another type."""
        if is_pattern and field.type in IDS | NUMBERS | {"boolean", "date", "datetime"}:
            raise self.refused(word, f"invalid operator on {field.type} field", "INVALID_QUERY_FILTER_OPERATOR")
        expected, name, quoting = _literal_type(field)
        if word.kind != expected:
            raise self.refused(
                word, f"value of filter criterion for field '{field.name}' must be of type {name} and {quoting}"
            )
        match expected:
            case "boolean":
                return int(word.text == "true")
            case "number":
                return float(word.text)
            case "date":
                return self.valid_date(word).isoformat()
            case "datetime":
                return self.valid_instant(word)
        value = soql.string_value(word, is_pattern=is_pattern)
        if field.type in IDS and value and not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", value):
            raise self.refused(word, f"invalid ID field: {value}", "INVALID_QUERY_FILTER_OPERATOR")
        return value[:15] if field.type in IDS else value

    def valid_date(self, word: Word) -> date:
        try:
            return date.fromisoformat(word.text)
        except ValueError:
            raise self.refused(word, f"line 1:{word.at} invalid date: {word.text}", "MALFORMED_QUERY") from None

    def valid_instant(self, word: Word) -> int:
        try:
            return int(datetime.fromisoformat(word.text.upper()).timestamp())
        except ValueError:
            message = f"line 1:{word.at} invalid date time: {word.text}"
            raise self.refused(word, message, "MALFORMED_QUERY") from None

    def ranges(self, field: Field, words: Iterable[Word]) -> list[tuple[Any, Any]]:
        """Date literals as half-open ranges, in the form that `expression` has. The org's time zone is UTC."""
        ranges = []
        for word in words:
            if word.kind != "range":
                continue
            if field.type not in ("date", "datetime"):
                self.literal(field, word)
            name, _, number = word.text.upper().partition(":")
            days = int(number or 0)
            first, last = {
                "TODAY": (0, 0), "YESTERDAY": (-1, -1), "TOMORROW": (1, 1),
                "LAST_N_DAYS": (-days, 0), "NEXT_N_DAYS": (1, days),
            }[name]  # fmt: skip
            start, end = self.today + timedelta(first), self.today + timedelta(last + 1)
            ranges.append(
                (start.isoformat(), end.isoformat()) if field.type == "date" else (_midnight(start), _midnight(end))
            )
        return ranges


def _stored(field: Field, table: Subquery) -> ColumnElement[Any]:
    return func.nullif(func.json_extract(table.c.payload, f"$.{field.name}"), "")


def _comparable(field: Field, value: ColumnElement[Any]) -> ColumnElement[Any]:
    if field.type in IDS:
        return func.substr(value, 1, 15)
    is_text = field.type not in NUMBERS | {"boolean", "date", "datetime"}
    return value.collate("NOCASE") if is_text else value


def _literal_type(field: Field) -> tuple[str, str, str]:
    """The kind of literal that a field is compared with, and the words of the error for another kind."""
    unquoted = "should not be enclosed in quotes"
    match field.type:
        case "boolean" | "date":
            return field.type, field.type, unquoted
        case "datetime":
            return "datetime", "dateTime", unquoted
        case kind if kind in NUMBERS:
            return "number", "int" if kind == "int" else "double", unquoted
    return "string", "string", "should be enclosed in quotes"


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
