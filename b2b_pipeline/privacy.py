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
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PREFIX = "h1:"
EXCLUDED_BY = "_excluded_by"  # top-level key that landing adds to a record whose e-mail matches an exclusion pattern
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
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
        self._forgotten: frozenset[str] = frozenset(json.loads(forgotten.read_text()) if forgotten.is_file() else ())
        self._patterns = tuple(pattern.lower() for pattern in exclude_patterns)

    @classmethod
    def of_home(cls, home: Path, exclude_patterns: Iterable[str] = ()) -> Pseudonyms:
        return cls(_key(home), home / "landing" / "forgotten.json", exclude_patterns)

    def text(self, value: str) -> str:
        return PREFIX + self._digest(value.strip())

    def email(self, value: str) -> str:
        """`h1:<hash>@<domain>`; the hash is of the normalised address. Text that is no address is hashed whole."""
        address = normalise_email(value)
        if not _EMAIL.fullmatch(address):
            return self.text(address)
        token = self.forget_token(address)
        if token in self._forgotten:
            return token
        return f"{PREFIX}{self._digest(address)}@{address.rpartition('@')[2]}"

    def forget_token(self, email: str) -> str:
        """What stands for this address once it is forgotten; the domain is gone too."""
        return PREFIX + self._digest("forgotten " + normalise_email(email))

    def forget(self, email: str) -> None:
        """From now on `email` becomes its token in everything that is pulled."""
        self._forgotten |= {self.forget_token(email)}
        self._forgotten_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._forgotten_path.with_suffix(".new")
        temporary.write_text(json.dumps(sorted(self._forgotten)))
        os.replace(temporary, self._forgotten_path)

    def apply(self, record: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
        """`record` with every field at `paths` replaced; e-mail addresses are told by their shape.

        Marks the record when an address matches an exclusion pattern, because afterwards nobody can tell any more.
        """
        for path in paths:
            self._replace(record, path.split("."), record)
        return record

    def _replace(self, node: Any, keys: list[str], record: dict[str, Any]) -> None:
        if isinstance(node, list):
            for item in node:
                self._replace(item, keys, record)
            return
        if not isinstance(node, dict):
            return
        names = list(node) if keys[0] == "*" else [keys[0]]
        for name in names:
            value = node.get(name)
            if value is None or value == "":
                continue
            if len(keys) > 1:
                self._replace(value, keys[1:], record)
            elif not str(value).startswith(PREFIX):
                text = str(value)
                if "@" in text:
                    pattern = next((p for p in self._patterns if fnmatchcase(normalise_email(text), p)), None)
                    if pattern:
                        record[EXCLUDED_BY] = pattern
                    node[name] = self.email(text)
                else:
                    node[name] = self.text(text)

    def _digest(self, value: str) -> str:
        return hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:32]


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
