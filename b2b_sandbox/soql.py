"""SOQL as text to a syntax tree, with Salesforce's own words for what it does not understand.

One object, parent fields of one level, and no grouping, subqueries or functions but COUNT() and FIELDS().
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<function>  COUNT\s*\(\s*\) | FIELDS\s*\(\s*(?:ALL|STANDARD|CUSTOM)\s*\) )
  | (?P<datetime>  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (?:\.\d+)? (?:Z|[+-]\d\d:?\d\d) )
  | (?P<date>      \d{4}-\d\d-\d\d )
  | (?P<number>    [+-]?\d+(?:\.\d+)? )
  | (?P<range>     (?:TODAY|YESTERDAY|TOMORROW)\b | (?:LAST|NEXT)_N_DAYS:\d+ )
  | (?P<name>      [A-Za-z]\w*(?:\.\w+)* )
  | (?P<string>    '(?:[^'\\]|\\.)*' )
  | (?P<mark>      <= | >= | != | <> | [=<>(),] )
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "b": "\b",
    "f": "\f",
    "N": "\n",
    "R": "\r",
    "T": "\t",
    "B": "\b",
    "F": "\f",
}
_KEYWORDS = frozenset({"SELECT", "FROM", "WHERE", "ORDER", "LIMIT", "OFFSET", "AND", "OR", "NOT", "IN", "LIKE"})


class SoqlError(Exception):
    """A query that Salesforce refuses: `code` is its errorCode."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Word:
    """One token. `kind` is the group of the token pattern that it fits, `at` its place in the query."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Comparison:
    """`operator` is one of = != < <= > >= LIKE, IN, NOT IN; only the last two have several values."""

    field: Word
    operator: str
    values: tuple[Word, ...]


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class Junction:
    """`operator` is AND or OR."""

    operator: str
    conditions: tuple[Condition, ...]


Condition = Comparison | Not | Junction


@dataclass(frozen=True)
class Order:
    field: Word
    is_descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Query:
    text: str
    select: tuple[Word, ...]
    source: Word
    where: Condition | None
    order: tuple[Order, ...]
    limit: int | None
    offset: int | None


def located(text: str, at: int, message: str) -> str:
    """The message under the piece of the query that it is about, as Salesforce shows it."""
    start = text.rfind(" ", 0, max(at - 24, 0)) + 1
    piece = text[start : at + 40].replace("\n", " ")
    row, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"\n{piece}\n{' ' * (at - start)}^\nERROR at Row:{row}:Column:{column}\n{message}"


def string_value(literal: Word, *, is_pattern: bool = False) -> str:
    """What a string literal stands for. A pattern of LIKE keeps its escapes of %, _ and the backslash."""

    def character(match: re.Match[str]) -> str:
        escaped = match[1]
        return match[0] if is_pattern and escaped in "%_\\" else _ESCAPES.get(escaped, escaped)

    return _ESCAPE.sub(character, literal.text[1:-1])


def parse(text: str) -> Query:
    """The tree of a query. Raises SoqlError MALFORMED_QUERY."""
    return _Parser(text).query()


def _words(text: str) -> list[Word]:
    words, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            at = re.compile(r"\s*").match(text, at).end()  # type: ignore[union-attr]  # matches anything
            if text[at] == "'":
                raise SoqlError("MALFORMED_QUERY", f"line 1:{end} mismatched character '<EOF>' expecting '''")
            raise SoqlError("MALFORMED_QUERY", f"line 1:{at} no viable alternative at character '{text[at]}'")
        kind = str(match.lastgroup)
        words.append(Word(kind, match[kind], match.start(kind)))
        at = match.end()
    return [*words, Word("end", "<EOF>", end)]


class _Parser:
    """Recursive descent; each method reads one rule of the grammar from the words that are left."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = _words(text)
        self.place = 0

    @property
    def next(self) -> Word:
        return self.words[self.place]

    def refuse(self) -> NoReturn:
        message = located(self.text, self.next.at, f"unexpected token: '{self.next.text}'")
        raise SoqlError("MALFORMED_QUERY", message)

    def take(self, *kinds: str) -> Word:
        if self.next.kind not in kinds:
            self.refuse()
        self.place += 1
        return self.words[self.place - 1]

    def took(self, *keywords: str) -> bool:
        """Whether the next words are these keywords or marks; they are then read."""
        ahead = self.words[self.place : self.place + len(keywords)]
        if [word.text.upper() for word in ahead if word.kind in ("name", "mark")] != list(keywords):
            return False
        self.place += len(keywords)
        return True

    def expect(self, *keywords: str) -> None:
        if not self.took(*keywords):
            self.refuse()

    def name(self) -> Word:
        if self.next.text.upper() in _KEYWORDS:
            self.refuse()
        return self.take("name")

    def query(self) -> Query:
        self.expect("SELECT")
        select = [self.selected()]
        while self.took(","):
            select.append(self.selected())
        self.expect("FROM")
        source = self.name()
        where = self.condition() if self.took("WHERE") else None
        order = self.order() if self.took("ORDER", "BY") else ()
        limit = self.whole_number() if self.took("LIMIT") else None
        offset = self.whole_number() if self.took("OFFSET") else None
        if self.next.kind != "end":
            self.refuse()
        if offset is not None and offset > 2000:
            raise SoqlError("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        return Query(self.text, tuple(select), source, where, order, limit, offset)

    def selected(self) -> Word:
        if self.next.kind != "function":
            return self.name()
        function = self.take("function")
        return Word("function", re.sub(r"\s", "", function.text).upper(), function.at)

    def condition(self) -> Condition:
        """AND and OR do not mix without parentheses, as in Salesforce."""
        first = self.simple_condition()
        for operator in ("AND", "OR"):
            conditions = [first]
            while self.took(operator):
                conditions.append(self.simple_condition())
            if len(conditions) > 1:
                return Junction(operator, tuple(conditions))
        return first

    def simple_condition(self) -> Condition:
        if self.took("NOT"):
            return Not(self.simple_condition())
        if self.took("("):
            inner = self.condition()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Comparison:
        field = self.name()
        for operator in ("IN", "NOT IN"):
            if self.took(*operator.split()):
                self.expect("(")
                values = [self.value()]
                while self.took(","):
                    values.append(self.value())
                self.expect(")")
                return Comparison(field, operator, tuple(values))
        for operator in ("=", "!=", "<>", "<=", ">=", "<", ">", "LIKE"):
            if self.took(operator):
                return Comparison(field, "!=" if operator == "<>" else operator, (self.value(),))
        return self.refuse()

    def value(self) -> Word:
        """A literal; the words true, false and null become literals of their own kinds."""
        kind = {"true": "boolean", "false": "boolean", "null": "null"}.get(self.next.text.lower())
        if kind and self.next.kind == "name":
            return Word(kind, self.next.text.lower(), self.take("name").at)
        return self.take("string", "number", "date", "datetime", "range")

    def order(self) -> tuple[Order, ...]:
        orders = [self.ordering()]
        while self.took(","):
            orders.append(self.ordering())
        return tuple(orders)

    def ordering(self) -> Order:
        field = self.name()
        is_descending = self.took("DESC")
        if not is_descending:
            self.took("ASC")
        nulls_last = self.took("NULLS", "LAST")
        if not nulls_last:
            self.took("NULLS", "FIRST")
        return Order(field, is_descending, nulls_last)

    def whole_number(self) -> int:
        if not self.next.text.isdecimal():
            self.refuse()
        return int(self.take("number").text)
