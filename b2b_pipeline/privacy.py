"""Keeps secrets out of what we print, and people out of what we store.

Personal fields are replaced by keyed hashes (HMAC-SHA256) before they reach the disk: `h1:<32 hex digits>`, for an e-mail
address with its domain behind, `h1:…@example.com`. The key is `B2B_HASH_KEY`, else one made once in `B2B_HOME`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PREFIX = "h1:"
EXCLUDED_BY = "_excluded_by"  # top-level key that landing adds to a record whose e-mail matches an exclusion pattern
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PSEUDONYM = re.compile(rf"{PREFIX}(?:[0-9a-f]{{32}}(?:@[^@\s]+)?|invalid)")  # `invalid`: see files/reading.py
_known_secrets: set[str] = set()


def keep_secret(value: str) -> None:
    """From now on `value` is masked in every log line that passes through `SecretFilter`."""
    if len(value) >= 6:
        _known_secrets.add(value)


def mask(text: str) -> str:
    for value in _known_secrets:
        text = text.replace(value, "***")
    return text


class SecretFilter(logging.Filter):
    """Masks known secrets in log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        masked = mask(message)
        if masked != message:
            record.msg, record.args = masked, ()
        return True


def normalise_email(email: str) -> str:
    """Trimmed and lower case; what two systems must agree on to mean the same person."""
    return email.strip().lower()


class Pseudonyms:
    """Keyed hashes of personal fields, with the people who asked to be forgotten.

    A forgotten person's e-mail becomes a token that no longer matches the address's own hash, the same one on every
    later pull, so that counts stay as they were.
    """

    def __init__(self, key: bytes, forgotten: Path, exclude_patterns: Iterable[str] = ()) -> None:
        self._key = key
        self._forgotten_path = forgotten
        self._forgotten: dict[str, str | None] = {}  # token -> what excluded them
        self._patterns = tuple(pattern.lower() for pattern in exclude_patterns)
        self.reload()

    @classmethod
    def of_home(cls, home: Path, exclude_patterns: Iterable[str] = ()) -> Pseudonyms:
        return cls(_key(home), home / "landing" / "forgotten.json", exclude_patterns)

    def reload(self) -> bool:
        """Learn of people whom another process has forgotten. Returns whether there are any."""
        before, path = self._forgotten, self._forgotten_path
        self._forgotten = json.loads(path.read_text()) if path.is_file() else {}
        return self._forgotten != before

    def text(self, value: str) -> str:
        return PREFIX + self._digest(value.strip())

    def email(self, value: str) -> str:
        """`h1:<hash>@<domain>`; the hash is of the normalised address. Text that is no address is hashed whole."""
        address = normalise_email(value)
        if not _EMAIL.fullmatch(address):
            return self.text(address)
        token = self.forget_token(address)
        return token if token in self._forgotten else self.remembered(address)

    def remembered(self, email: str) -> str:
        """What stands for this address as long as it is not forgotten. Raises ValueError when it is no address."""
        address = normalise_email(email)
        if not _EMAIL.fullmatch(address):
            raise ValueError("not an e-mail address")
        return f"{PREFIX}{self._digest(address)}@{address.rpartition('@')[2]}"

    def forget_token(self, email: str) -> str:
        """What stands for this address once it is forgotten; the domain is gone too."""
        return PREFIX + self._digest("forgotten " + normalise_email(email))

    def forget(self, email: str, excluded_by: str | None = None) -> None:
        """From now on `email` becomes its token in everything that is pulled; `excluded_by` goes on excluding it."""
        self.reload()
        self._forgotten[self.forget_token(email)] = excluded_by
        self._forgotten_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._forgotten_path.with_suffix(".new")
        temporary.write_text(json.dumps(self._forgotten, sort_keys=True))
        os.replace(temporary, self._forgotten_path)

    def apply(self, record: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
        """`record` with every field at `paths` replaced; e-mail addresses are told by their shape.

        Marks the record when an address matches an exclusion pattern, because afterwards nobody can tell any more.
        """
        spots = [spot for path in paths for spot in _spots(record, path.split("."))]
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
        return hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:32]


def _spots(node: Any, keys: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the values at a path are: dict and key of each that is not empty."""
    if isinstance(node, list):
        for item in node:
            yield from _spots(item, keys)
    elif isinstance(node, dict):
        for name in list(node) if keys[0] == "*" else keys[:1]:
            value = node.get(name)
            if value is None or value == "":
                continue
            if len(keys) > 1:
                yield from _spots(value, keys[1:])
            else:
                yield node, name


def _key(home: Path) -> bytes:
    given = os.environ.get("B2B_HASH_KEY")
    if given:
        keep_secret(given)
        return given.encode()
    path = home / "hash.key"
    home.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path.read_bytes()
