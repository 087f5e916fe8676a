"""The way to a vendor: the environment's proxies and certificates, no credentials from elsewhere, a deadline an answer.

The timeouts of `requests` are those of one read of the socket: a vendor that sends a byte a second never meets them.
Here all of an answer, its headers too, must have come by a deadline.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError
from urllib3.util import Retry

ANSWER_SECONDS = 600.0  # for 256 MiB, 450 kB a second are enough
_by: ContextVar[float] = ContextVar("the moment by which the answer must be there", default=float("inf"))


class DeadlineError(Exception):
    """An answer did not end in time. No OSError: urllib3 would ask again, and wait as long again."""


class _Timed(io.RawIOBase):
    """A socket's bytes, until a moment."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, by: float) -> None:
        self._raw, self._sock, self._by = raw, sock, by

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left, own = self._by - time.monotonic(), self._sock.gettimeout()
        if left <= 0:
            raise DeadlineError
        if own is None or left < own:
            self._sock.settimeout(None if left == float("inf") else left)
        try:
            read: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            if time.monotonic() >= self._by:
                raise DeadlineError from None
            raise
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, _by.get()))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **more)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager


class Transport(requests.Session):
    """Goes through the environment's proxies and trusts its certificates, as is expected behind a corporate proxy.

    Unlike requests' own it takes no credentials from a .netrc or a URL, and reaches this machine without a proxy.
    Raises DeadlineError, also while a body is read, when an answer takes longer than `seconds`.
    """

    def __init__(self, retry: Retry | int = 0, seconds: float | None = None) -> None:
        super().__init__()
        self.auth = lambda request: request  # ours are in the headers; requests looks for others only without this
        self.seconds = ANSWER_SECONDS if seconds is None else seconds
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(max_retries=retry))
        if isinstance(retry, Retry):  # a sandbox that is not running does not come while we wait
            for local in ("http://127.0.0.1", "http://localhost"):
                self.mount(local, _Adapter(max_retries=retry.new(connect=0)))

    def request(self, *arguments: Any, **more: Any) -> requests.Response:
        before = _by.set(time.monotonic() + self.seconds)
        try:
            return super().request(*arguments, **more)
        finally:
            _by.reset(before)

    def merge_environment_settings(self, url: Any, *settings: Any, **more: Any) -> Any:
        merged = super().merge_environment_settings(url, *settings, **more)
        return {**merged, "proxies": {}} if is_local(urlsplit(url).hostname or "") else merged


def is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def unreachable(error: Exception, host: str) -> tuple[str, str] | None:
    """What kept us from a host, and the cure; None when it was reached. Never what was sent."""
    causes: list[BaseException] = [error]
    while (cause := _cause(causes[-1])) is not None and cause not in causes:
        causes.append(cause)
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused or is not there", "correct HTTPS_PROXY and NO_PROXY"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection (TLS)", "if a proxy opens it, give its certificate in REQUESTS_CA_BUNDLE"
    if any(isinstance(cause, NameResolutionError) for cause in causes):
        return "no such host (DNS)", f"see that {host} is spelt right and can be resolved from here"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        if is_local(host):
            return "connection refused", "the sandbox is not running: `b2b sandbox serve`"
        return "connection refused", f"see that {host} can be reached from here (firewall, HTTPS_PROXY)"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time", f"see that {host} can be reached from here (firewall, HTTPS_PROXY)"
    return None


def _cause(error: BaseException) -> BaseException | None:
    """What an error of requests or urllib3 is wrapped around."""
    inner = getattr(error, "reason", None) or next((arg for arg in error.args if isinstance(arg, Exception)), None)
    return inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
