"""Keeps secrets out of what we print, and people out of what we store.

Personal fields are replaced by keyed hashes (HMAC-SHA256) before they reach the disk: `h1:<32 hex digits>`, for an
e-mail address with its domain behind, `h1:…@example.com`; so are addresses in any other text. The key is
`B2B_HASH_KEY`, else one made once in `B2B_HOME`; `Pipeline.hold_fast` sees that it stays the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import fasteners

from b2b_pipeline.errors import ConfigError

PREFIX = "h1:"
EXCLUDED_BY = "_excluded_by"  # top-level key that landing adds to a record whose e-mail matches an exclusion pattern
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PSEUDONYM = re.compile(rf"{PREFIX}(?:[0-9a-f]{{32}}(?:@[^@\s]+)?|invalid)")  # `invalid`: see files/reading.py
# What looks like an address wherever it stands, also inside a URL (`ida%40x.example`); or a pseudonym, which stays.
_HASHED = re.compile(rf"{PREFIX}[0-9a-f]{{32}}@")
_IN_TEXT = re.compile(rf"{_HASHED.pattern}[^@\s]+|\w(?:[\w.+'-]|%2[Bb])*(?:@|%40)(?:\w(?:[\w-]*\w)?\.)+\w[\w-]*\w")
# Drawn as nothing, though Unicode does not count them as format characters: joiners, fillers, variation selectors.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164" + "".join(map(chr, range(0xFE00, 0xFE10))))
_known_secrets: set[str] = set()
_formatter = logging.Formatter()


def keep_secret(value: str) -> None:
    """From now on `value`, as it is and as in a URL, is masked by `mask` and in what passes through `SecretFilter`."""
    if len(value) >= 6:
        _known_secrets.update((value, quote(value, safe=""), quote_plus(value)))


def mask(text: str) -> str:
    for value in sorted(_known_secrets, key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(value, "***")
    return text


class SecretFilter(logging.Filter):
    """Masks known secrets in log records: in the message, and in the text of a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit: logging itself will say so
            message = f"{record.msg} {record.args}"
        if (masked := mask(message)) != message:
            record.msg, record.args = masked, ()
        trace = record.exc_text or (_formatter.formatException(record.exc_info) if record.exc_info else "")
        if (masked := mask(trace)) != trace:
            record.exc_info, record.exc_text = None, masked
        record.stack_info = mask(record.stack_info) if record.stack_info else None
        return True


def mask_logs() -> None:
    """From now on secrets are masked in whatever this process logs, through Dagster's own loggers too."""
    make, secrets = logging.getLogRecordFactory(), SecretFilter()

    def masked(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        secrets.filter(record)
        return record

    logging.setLogRecordFactory(masked)


def identifying(text: str) -> str:
    """What text identifies by: NFKC without characters that nobody sees, trimmed. Two that look the same are the same.

    Case stays: Salesforce has ids that differ in nothing else.
    """
    if text.isascii():
        return text.strip()
    seen = (c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf" and c not in _UNSEEN)
    return "".join(seen).strip()


def normalise_email(email: str) -> str:
    """As `identifying`, in lower case; what two systems must agree on to mean the same person."""
    return identifying(email).lower()


class Pseudonyms:
    """Keyed hashes of personal fields, with the people who asked to be forgotten.

    A forgotten person's e-mail becomes a token that no longer matches the address's own hash, the same one on every
    later pull, so that counts stay as they were.
    """

    def __init__(
        self,
        key: bytes | Callable[[], bytes],
        forgotten: Path,
        exclude_patterns: Iterable[str] = (),
        earlier: Path | None = None,
    ) -> None:
        self._find_key = key
        self._forgotten_path, self._earlier_path = forgotten, earlier
        self._people: dict[str, dict[str, Any]] = {}  # token -> what excluded them, their mark, and if all was searched
        self._forgotten: dict[str, str | None] = {}  # token -> what excluded them
        self._patterns = tuple(pattern.lower() for pattern in exclude_patterns)
        self.reload()

    @classmethod
    def of_home(
        cls, home: Path, exclude_patterns: Iterable[str] = (), *, landing: Path | None = None, make_key: bool = True
    ) -> Pseudonyms:
        """The key is looked for, or made, when it is needed. That raises ConfigError when none shall be made.

        Who is forgotten is told beside landing; earlier versions told it in the home.
        """
        earlier = home / "landing" / "forgotten.json"
        return cls(partial(_key, home, make_key), (landing or earlier.parent) / earlier.name, exclude_patterns, earlier)

    @cached_property
    def _key(self) -> bytes:
        return self._find_key() if callable(self._find_key) else self._find_key

    def reload(self) -> bool:
        """Learn of people whom another process has forgotten. Returns whether there are any."""
        before, people = self._forgotten, {}
        for path in (self._earlier_path, self._forgotten_path):
            told = json.loads(path.read_text()) if path and path.is_file() else {}
            for token, person in told.items():
                known = person if isinstance(person, dict) else {"excluded_by": person, "was": None, "searched": True}
                people[token] = known
        self._people = people  # whole, or as it was: other threads look at it meanwhile
        self._forgotten = {token: person["excluded_by"] for token, person in self._people.items()}
        return self._forgotten != before

    @property
    def forgotten(self) -> Mapping[str, str | None]:
        """Whom this object knows to be forgotten: token -> what excluded them."""
        return self._forgotten

    @property
    def people(self) -> Mapping[str, Mapping[str, Any]]:
        """Who is forgotten: token -> `excluded_by`, `was` (see `mark`), `searched` (whether landing has been)."""
        return self._people

    @property
    def not_searched(self) -> dict[str, dict[str, Any]]:
        return {token: person for token, person in self._people.items() if not person["searched"]}

    def mark(self, pseudonym: str) -> str:
        """By which another machine knows a forgotten person's pseudonym, without being told it."""
        return self._digest("was " + pseudonym.removeprefix(PREFIX)[:32])

    def learn(self, people: Mapping[str, Mapping[str, Any]]) -> None:
        """Enter people whom another machine has forgotten, or of whom more is known now."""
        told = {token: {"searched": False, **person} for token, person in people.items()}
        self._enter(
            {token: person for token, person in told.items() if token not in self._people or person["searched"]}
        )

    def _enter(self, people: Mapping[str, Mapping[str, Any]]) -> None:
        if not people:
            return
        path = self._forgotten_path
        path.parent.mkdir(parents=True, exist_ok=True)
        with fasteners.InterProcessLock(path.with_name("forgotten.lock")):
            self.reload()
            fields = ("excluded_by", "was", "searched")
            entered = {token: {name: person[name] for name in fields} for token, person in people.items()}
            write_private(path, json.dumps(self._people | entered, sort_keys=True))
            self.reload()

    @property
    def fingerprint(self) -> str:
        """Tells one key from another, and nothing of the key itself."""
        return self._digest("fingerprint of the key")

    def text(self, value: str) -> str:
        return PREFIX + self._digest(identifying(value))

    def email(self, value: str) -> str:
        """`h1:<hash>@<domain>`; the hash is of the normalised address. Text that is no address is hashed whole."""
        address = normalise_email(value)
        if not _EMAIL.fullmatch(address):
            return self.text(address)
        if (forgotten := self._forgotten) and (token := self.forget_token(address)) in forgotten:
            return token
        return self._remembered(address)

    def remembered(self, email: str) -> str:
        """What stands for this address as long as it is not forgotten. Raises ValueError when it is no address."""
        address = normalise_email(email)
        if not _EMAIL.fullmatch(address):
            raise ValueError("not an e-mail address")
        return self._remembered(address)

    def _remembered(self, address: str) -> str:
        return f"{PREFIX}{self._digest(address)}@{address.rpartition('@')[2]}"

    def forget_token(self, email: str) -> str:
        """What stands for this address once it is forgotten; the domain is gone too."""
        return PREFIX + self._digest("forgotten " + normalise_email(email))

    def forget(self, email: str, excluded_by: str | None = None) -> None:
        """From now on `email` becomes its token in everything that is pulled; `excluded_by` goes on excluding it."""
        was = self.mark(self.remembered(email))
        self._enter({self.forget_token(email): {"excluded_by": excluded_by, "was": was, "searched": True}})

    def apply(self, record: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
        """`record` with every field at `paths` replaced; e-mail addresses are told by their shape.

        Marks the record when an address matches an exclusion pattern, because afterwards nobody can tell any more.
        """
        spots: list[tuple[Any, Any]] = []
        _find(record, _tree(tuple(paths)), spots)
        for node, name in spots:
            text = str(node[name])
            if _PSEUDONYM.fullmatch(text):
                continue
            if "@" in text:
                pattern = next((p for p in self._patterns if fnmatchcase(normalise_email(text), p)), None)
                if pattern:
                    record[EXCLUDED_BY] = pattern
                node[name] = self.email(text)
            else:
                node[name] = self.text(text)
        return self.clean(record) if any(node[name] in self._forgotten for node, name in spots) else record

    def scrub(self, value: Any) -> Any:
        """A record, or a part of it, with every address that stands somewhere in its text replaced by its pseudonym."""
        if isinstance(value, str):
            return _IN_TEXT.sub(self._hashed, value) if "@" in value or "%40" in value else value
        if isinstance(value, dict):
            return {self.scrub(name): self.scrub(item) for name, item in value.items()}
        return [self.scrub(item) for item in value] if isinstance(value, list) else value

    def _hashed(self, found: re.Match[str]) -> str:
        return found[0] if found[0].startswith(PREFIX) else self.email(unquote(found[0]))

    def clean(self, record: dict[str, Any], renamed: Mapping[str, str] = {}) -> dict[str, Any]:
        """A record that names a forgotten person, without what else is personal in it; other addresses stay.

        `renamed`: pseudonyms that have become tokens.
        """

        def clean(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: clean(item) for name, item in value.items()}
            if isinstance(value, list):
                return [clean(item) for item in value]
            value = renamed.get(value, value) if isinstance(value, str) else value
            is_text = isinstance(value, str) and _PSEUDONYM.fullmatch(value) and "@" not in value
            if is_text and value in self._forgotten:
                marks.append(self._forgotten[value])
            return None if is_text and value not in self._forgotten else value

        marks: list[str | None] = []
        cleaned: dict[str, Any] = clean(record)
        mark = next((mark for mark in marks if mark), None)
        return {EXCLUDED_BY: mark, **cleaned} if mark else cleaned

    def _digest(self, value: str) -> str:
        return hmac.digest(self._key, value.encode(), hashlib.sha256).hex()[:32]


_ENDS = ""  # no name of a path is empty


@lru_cache(maxsize=256)
def _tree(paths: tuple[str, ...]) -> dict[str, Any]:
    """Dotted paths by their first names, those below by the next ones; `_ENDS` where one ends."""
    tree: dict[str, Any] = {}
    for path in paths:
        below = tree
        for name in path.split("."):
            below = below.setdefault(name, {})
        below[_ENDS] = {}
    return tree


def _find(node: Any, tree: dict[str, Any], found: list[tuple[Any, Any]]) -> None:
    """Where the values at paths are: dict and key, or list and place, of each that is not empty."""
    if isinstance(node, list):
        for place, value in enumerate(node):
            _look(node, place, value, tree, found)
    elif isinstance(node, dict):
        for name, below in tree.items():
            if name == "*":
                for key, value in node.items():
                    _look(node, key, value, below, found)
            elif (value := node.get(name)) is not None:
                _look(node, name, value, below, found)


def _look(node: Any, key: Any, value: Any, below: dict[str, Any], found: list[tuple[Any, Any]]) -> None:
    if value is None or value == "":
        return
    if _ENDS in below and not isinstance(value, list):
        found.append((node, key))
    _find(value, below, found)


def _key(home: Path, make: bool) -> bytes:
    given = os.environ.get("B2B_HASH_KEY")
    if given:
        keep_secret(given)
        return given.encode()
    path = home / "hash.key"
    if not path.exists():
        if not make:
            raise ConfigError(f"{path} is missing: restore it from a backup, or set B2B_HASH_KEY to the old key")
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = home / f".hash.key.{secrets.token_hex(4)}"
        write_private(new, secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(new, path)  # whole or not at all; unlike a rename it refuses when another process was first
        new.unlink()
    key = path.read_bytes().strip()
    if not key:
        raise ConfigError(f"{path} is empty: restore it from a backup, or delete it while nothing is landed")
    keep_secret(key.decode(errors="replace"))
    return key


def names_somebody(text: str) -> bool:
    """Whether text may hold an e-mail address in clear: an @ that is of no pseudonym."""
    return "%40" in text or text.count("@") > len(_HASHED.findall(text))


def write_private(path: Path, text: str) -> None:
    """Write a file that appears whole, readable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
