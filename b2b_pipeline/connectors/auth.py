"""Credentials for connectors: a fixed token, or an OAuth token that is refreshed in time, once, and kept when it rotates."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import fasteners
import requests

from b2b_pipeline.connectors.http import TIMEOUT, json_or_none, place
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.privacy import keep_secret

EARLY = 60.0  # seconds before expiry at which a token is renewed


class StaticToken:
    """A token that does not expire, sent as `Authorization: Bearer`."""

    def __init__(self, token: str) -> None:
        keep_secret(token)
        self._token = token

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def refresh(self) -> None:
        raise AuthError("the access token was refused and cannot be refreshed: put a new one into the environment")


class OAuthToken:
    """An OAuth 2 access token from a form-encoded token endpoint (RFC 6749, sections 4.4 and 6).

    A refresh token that the vendor rotates is written to `store` (mode 0600) before the access token is used; a lock
    file keeps two processes from spending the same refresh token. `on_token` sees the whole answer (Salesforce's
    `instance_url`). Raises AuthError when the vendor refuses, TransientError when it does not answer.
    """

    def __init__(
        self,
        token_url: str,
        form: Mapping[str, str],
        *,
        store: Path,
        lifetime: float = 1800.0,
        on_token: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        for name in ("client_secret", "refresh_token"):
            keep_secret(form.get(name, ""))
        self._url = token_url
        self._form = dict(form)
        self._store = store
        self._lifetime = lifetime
        self._on_token = on_token
        self._token = ""
        self._expires = 0.0

    def headers(self) -> Mapping[str, str]:
        if time.monotonic() > self._expires - EARLY:
            self.refresh()
        return {"Authorization": f"Bearer {self._token}"}

    def refresh(self) -> None:
        self._store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with fasteners.InterProcessLock(str(self._store) + ".lock"):
            answer = self._ask({**self._form, **self._rotated()})
            rotated = answer.get("refresh_token")
            if rotated and rotated != self._form.get("refresh_token"):
                keep_secret(rotated)
                _write_private(self._store, {"replaces": self._form.get("refresh_token", ""), "refresh_token": rotated})
        keep_secret(answer["access_token"])
        self._token = answer["access_token"]
        self._expires = time.monotonic() + float(answer.get("expires_in") or self._lifetime)
        if self._on_token:
            self._on_token(answer)

    def _rotated(self) -> Mapping[str, str]:
        """The refresh token that replaced the one in the environment, unless somebody put in a new one since."""
        if not self._store.is_file():
            return {}
        kept = json.loads(self._store.read_text())
        if kept["replaces"] != self._form.get("refresh_token", ""):
            return {}
        keep_secret(kept["refresh_token"])
        return {"refresh_token": kept["refresh_token"]}

    def _ask(self, form: Mapping[str, str]) -> Mapping[str, str]:
        try:
            response = requests.post(self._url, data=form, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            raise TransientError(f"token endpoint: {type(error).__name__}") from None
        body = json_or_none(response)
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError(f"{place(response)}: status {response.status_code}")
        if response.status_code != 200 or not isinstance(body, dict) or "access_token" not in body:
            reason = body.get("error") if isinstance(body, dict) else None
            raise AuthError(f"{place(response)}: status {response.status_code}, {reason or 'no access token in the answer'}")
        return body


def _write_private(path: Path, content: Mapping[str, str]) -> None:
    """Write atomically, readable by the owner alone."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
