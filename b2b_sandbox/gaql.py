"""The Google Ads Query Language, as far as the sandbox's resources go: parse, check, and apply to rows.

SELECT, FROM, WHERE (=, !=, >, >=, <, <=, IN, NOT IN, BETWEEN, DURING, joined by AND), ORDER BY and LIMIT. Everything
else is refused with Google's own `queryError`. Grammar: https://developers.google.com/google-ads/api/docs/query/grammar
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from b2b_sandbox.gaql_fields import BY_CONVERSION_ACTION, CORE_DATES, FIELDS, MESSAGES, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Value = int | float | bool | str
Row = dict[str, Value]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_ORDERED = {*_COMPARE, "IN", "NOT IN", "BETWEEN"}
_OPERATORS: dict[str, set[str]] = {
    "int64": _ORDERED,
    "int32": _ORDERED,
    "double": _ORDERED,
    "date": _ORDERED | {"DURING"},
    "string": {"=", "!=", "IN", "NOT IN"},
    "enum": {"=", "!=", "IN", "NOT IN"},
    "bool": {"=", "!="},
}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?)(?![\w.])
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<symbol>>=|<=|!=|[=<>(),])
      | (?P<bad>\S)
    )""",
    re.VERBOSE | re.ASCII,
)


class QueryError(Exception):
    """A query that Google Ads would refuse: `code` is a value of `QueryErrorEnum`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Condition:
    """One comparison of WHERE; DURING has become BETWEEN."""

    field: str
    operator: str
    values: tuple[Value, ...]

    def holds(self, row: Mapping[str, Value]) -> bool:
        """Whether the row meets it. A field without a value meets nothing."""
        value = row.get(self.field)
        if value is None:
            return False
        match self.operator:
            case "IN":
                return value in self.values
            case "NOT IN":
                return value not in self.values
            case "BETWEEN":
                low, high = self.values
                return _COMPARE["<="](low, value) and _COMPARE["<="](value, high)
            case compare:
                return _COMPARE[compare](value, self.values[0])


@dataclass(frozen=True)
class Query:
    """A query that Google Ads would answer."""

    resource: str
    select: tuple[str, ...]
    where: tuple[Condition, ...]
    order_by: tuple[tuple[str, bool], ...]  # field, descending
    limit: int | None

    def selected(self, prefix: str) -> list[str]:
        """The selected fields of one resource, e.g. "metrics"."""
        return [field for field in self.select if field.startswith(prefix + ".")]

    def keeps(self, row: Mapping[str, Value], *resources: str) -> bool:
        """Whether the row meets the conditions on fields of these resources."""
        return all(c.holds(row) for c in self.where if c.field.split(".")[0] in resources)

    def days(self) -> tuple[str, str]:
        """The first and the last day, both included, that `segments.date` is confined to."""
        return _bounds(self.where, "segments.date")

    def arrange(self, rows: Iterable[Row]) -> list[Row]:
        """The rows in the order asked for, cut to the limit. Rows without a value come first."""
        ordered = list(rows)
        for field, descending in reversed(self.order_by):
            ordered.sort(key=lambda row: (field in row, row.get(field, "")), reverse=descending)
        return ordered[: self.limit]


def parse(text: str, today: date) -> Query:
    """The query, checked; `today` is the account's. Raises QueryError."""
    query = _Parser(text, today).query()
    _check(query)
    return query


def _fail(code: str, message: str) -> NoReturn:
    raise QueryError(code, f"Error in query: {message}.")


class _Parser:
    """Recursive descent over the tokens of one query."""

    def __init__(self, text: str, today: date) -> None:
        self.tokens = list(_tokens(text))
        self.today = today

    def query(self) -> Query:
        if not self._accept("SELECT"):
            _fail("EXPECTED_SELECT", "expected SELECT at the beginning")
        select = self._fields()
        if not self._accept("FROM"):
            _fail("EXPECTED_FROM", "expected FROM after the selected fields")
        resource = self._word()
        where, order_by, limit = [], [], None
        if self._accept("WHERE"):
            where.append(self._condition())
            while self._accept("AND"):
                where.append(self._condition())
        if self._accept("ORDER"):
            if not self._accept("BY"):
                _fail("EXPECTED_BY", "expected BY after ORDER")
            order_by.append(self._ordering())
            while self._accept(","):
                order_by.append(self._ordering())
        if self._accept("LIMIT"):
            limit = self._limit()
        if self._accept("PARAMETERS"):
            _fail("BAD_PARAMETER_NAME", "parameters are not supported")
        if self.tokens:
            _fail("UNEXPECTED_INPUT", f"unexpected input {self.tokens[0][1]}")
        return Query(resource, tuple(dict.fromkeys(select)), tuple(where), tuple(order_by), limit)

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            _fail("UNEXPECTED_END_OF_QUERY", "unexpected end of query")
        return self.tokens.pop(0)

    def _accept(self, keyword: str) -> bool:
        kind, text = self.tokens[0] if self.tokens else ("", "")
        if kind not in ("word", "symbol") or text.upper() != keyword:
            return False
        self.tokens.pop(0)
        return True

    def _word(self) -> str:
        kind, text = self._next()
        if kind != "word":
            _fail("UNEXPECTED_INPUT", f"unexpected input {text}")
        return text

    def _fields(self) -> list[str]:
        fields = [self._word()]
        while self._accept(","):
            fields.append(self._word())
        return fields

    def _ordering(self) -> tuple[str, bool]:
        field = self._word()
        descending = self._accept("DESC")
        if not descending:
            self._accept("ASC")
        return field, descending

    def _limit(self) -> int:
        kind, text = self._next()
        if kind != "number" or not text.lstrip("-").isdigit():
            _fail("BAD_LIMIT_VALUE", f"invalid limit {text}")
        if int(text) < 1:
            _fail("LIMIT_VALUE_TOO_LOW", f"limit {text} is too low")
        return int(text)

    def _condition(self) -> Condition:
        field = self._word()
        kind = _kind(field)
        sign = self._operator()
        if sign not in _OPERATORS[kind]:
            _fail("OPERATOR_FIELD_MISMATCH", f"operator {sign} cannot be applied to {field}")
        if sign == "DURING":
            return Condition(field, "BETWEEN", self._during())
        if sign in ("IN", "NOT IN"):
            return Condition(field, sign, tuple(self._list(field)))
        if sign == "BETWEEN":
            low = self._value(field, "INVALID_VALUE_WITH_BETWEEN_OPERATOR")
            if not self._accept("AND"):
                _fail("EXPECTED_AND", "expected AND between the values of BETWEEN")
            return Condition(field, sign, (low, self._value(field, "INVALID_VALUE_WITH_BETWEEN_OPERATOR")))
        if self._accept("("):
            _fail("EXPECTED_SINGLE_VALUE", f"operator {sign} takes a single value")
        return Condition(field, sign, (self._value(field),))

    def _operator(self) -> str:
        sign = self._next()[1].upper()
        if sign == "NOT":
            sign = f"NOT {self._next()[1].upper()}"
        if sign not in _OPERATORS["date"]:
            _fail("BAD_OPERATOR", f"invalid operator {sign}")
        return sign

    def _list(self, field: str) -> list[Value]:
        if not self._accept("("):
            _fail("EXPECTED_LIST", "expected a list of values")
        if self._accept(")"):
            _fail("PROHIBITED_EMPTY_LIST_IN_CONDITION", f"the list of values for {field} is empty")
        values = [self._value(field)]
        while self._accept(","):
            values.append(self._value(field))
        if not self._accept(")"):
            _fail("UNEXPECTED_END_OF_QUERY" if not self.tokens else "UNEXPECTED_INPUT", "expected ) after a list")
        return values

    def _during(self) -> tuple[str, str]:
        name = self._next()[1].upper()
        start, end = _ranges(self.today).get(name, (None, None))
        if start is None or end is None:
            _fail("INVALID_VALUE_WITH_DURING_OPERATOR", f"{name} is not a date range")
        return start.isoformat(), end.isoformat()

    def _value(self, field: str, date_error: str = "INVALID_DATE_FORMAT") -> Value:
        token, text = self._next()
        bare = re.sub(r"\\(.)", r"\1", text[1:-1]) if token == "string" else text
        match _kind(field):
            case "int64" | "int32":
                return int(bare) if re.fullmatch(r"-?\d+", bare) else _fail("BAD_NUMBER", f"{text} is not an integer")
            case "double":
                is_number = re.fullmatch(r"-?\d+(\.\d+)?", bare)
                return float(bare) if is_number else _fail("BAD_NUMBER", f"{text} is not a number")
            case "bool":
                return bare.upper() == "TRUE" if bare.upper() in ("TRUE", "FALSE") else _fail("BAD_VALUE", text)
            case "date":
                try:
                    return date.fromisoformat(bare if token == "string" else "").isoformat()
                except ValueError:
                    _fail(date_error, f"invalid date {text}, expected 'YYYY-MM-DD'")
            case "enum":
                constants = FIELDS[field].split()[1:]
                if token == "number" or (constants and bare not in [*constants, "UNKNOWN", "UNSPECIFIED"]):
                    _fail("BAD_ENUM_CONSTANT", f"invalid enum value {text} for {field}")
                return bare
            case _:
                return bare if token == "string" else _fail("INVALID_STRING_VALUE", f"{text} is not a quoted string")


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    for match in _TOKEN.finditer(text.strip()):
        kind, token = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "bad" and token in "'\"":
            code = "PROHIBITED_NEWLINE_IN_STRING" if token in text[text.index(token) + 1 :] else "STRING_NOT_TERMINATED"
            _fail(code, "a string is not terminated")
        if kind == "bad":
            _fail("UNEXPECTED_INPUT" if token.isascii() else "BAD_SYMBOL", f"unexpected input {token}")
        yield kind, token


def _kind(field: str) -> str:
    if field not in FIELDS:
        raise QueryError("UNRECOGNIZED_FIELD", f"Unrecognized field in the query: '{field}'.")
    return FIELDS[field].split()[0]


def _check(query: Query) -> None:
    """What Google demands of the fields beyond the grammar."""
    if query.resource not in RESOURCES:
        _fail(
            "BAD_RESOURCE_TYPE_IN_FROM_CLAUSE", f"invalid resource type specified in the FROM clause: {query.resource}"
        )
    filtered = [condition.field for condition in query.where]
    ordered = [field for field, _ in query.order_by]
    for field in query.select:
        if field in MESSAGES:
            _fail("PROHIBITED_FIELD_IN_SELECT_CLAUSE", f"field {field} is not selectable")
    for field in (*query.select, *filtered, *ordered):
        _kind(field)
        resource = field.split(".")[0]
        if resource not in RESOURCES[query.resource]:
            place = "WHERE" if field in filtered else "SELECT"
            _fail(
                {
                    "metrics": "PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
                    "segments": "PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE",
                }.get(resource, f"PROHIBITED_RESOURCE_TYPE_IN_{place}_CLAUSE"),
                f"{field} is incompatible with the resource {query.resource} in the FROM clause",
            )
    for field in filtered:
        if field.startswith("segments.") and field not in CORE_DATES and field not in query.select:
            _fail("EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE", f"{field} must be present in the SELECT clause")
    for field in ordered:
        if not field.startswith(query.resource + ".") and field not in query.select:
            _fail("EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE", f"{field} must be present in the SELECT clause")
    if any(field.startswith("segments.conversion_action") for field in query.select):
        for field in (*query.select, *filtered):
            if field.startswith("metrics.") and field not in BY_CONVERSION_ACTION:
                _fail(
                    "PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
                    f"cannot select or filter on {field} together with segments.conversion_action",
                )
    _check_dates(query, [field for field in (*query.select, *filtered) if field in CORE_DATES])


def _check_dates(query: Query, used: list[str]) -> None:
    """A report over dates has a first and a last day."""
    if not used:
        return
    ranges = [_bounds(query.where, field) for field in CORE_DATES]
    if not any(start != _FIRST and end != _LAST for start, end in ranges):
        _fail("EXPECTED_FILTERS_ON_DATE_RANGE", "filters must limit the dates to a finite range")
    if any(start > end for start, end in ranges):
        _fail("DATE_RANGE_TOO_NARROW", "the start date is after the end date")


_FIRST, _LAST = "0001-01-01", "9999-12-31"


def _bounds(where: Iterable[Condition], field: str) -> tuple[str, str]:
    """The narrowest range of a date field that its conditions leave; a year is taken as its text."""
    start, end = _FIRST, _LAST
    for condition in where:
        if condition.field == field and condition.operator not in ("!=", "NOT IN"):
            values = [str(value) for value in condition.values]
            low, high = values if condition.operator == "BETWEEN" else (min(values), max(values))
            if not condition.operator.startswith("<"):
                start = max(start, low)
            if not condition.operator.startswith(">"):
                end = min(end, high)
    return start, end


def _ranges(today: date) -> dict[str, tuple[date, date]]:
    """The date ranges of DURING. "Last n days" do not hold today."""
    day = timedelta(days=1)
    monday = today - today.weekday() * day
    sunday = today - (today.weekday() + 1) % 7 * day
    month = today.replace(day=1)
    last_month = (month - day).replace(day=1)
    next_month = (month + 31 * day).replace(day=1)
    return {
        "TODAY": (today, today),
        "YESTERDAY": (today - day, today - day),
        "LAST_7_DAYS": (today - 7 * day, today - day),
        "LAST_14_DAYS": (today - 14 * day, today - day),
        "LAST_30_DAYS": (today - 30 * day, today - day),
        "LAST_BUSINESS_WEEK": (monday - 7 * day, monday - 3 * day),
        "THIS_MONTH": (month, next_month - day),
        "LAST_MONTH": (last_month, month - day),
        "THIS_WEEK_SUN_TODAY": (sunday, today),
        "THIS_WEEK_MON_TODAY": (monday, today),
        "LAST_WEEK_SUN_SAT": (sunday - 7 * day, sunday - day),
        "LAST_WEEK_MON_SUN": (monday - 7 * day, monday - day),
    }
