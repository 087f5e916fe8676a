"""Errors, named by what the reader can do about them. A message is status, host and path: never a secret or a query."""

from __future__ import annotations

from datetime import UTC, datetime


class PipelineError(Exception):
    """Anything this project raises on purpose. `fix`: what to do about it, where the kind of error tells."""

    fix = ""


class ConfigError(PipelineError):
    """The configuration or the environment is wrong; the message names the file, the line and the fix."""


class TransientError(PipelineError):
    """It may work when tried again: an outage, a wait that outlasted its budget, an answer that was cut off."""

    fix = "this may pass: try again later"


class UnreachableError(TransientError):
    """No connection to the vendor: nothing is said about credentials. `fix` is what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}: {fix}")
        self.what, self.fix = what, fix


class QuotaError(PipelineError):
    """The vendor wants to be left alone until `until` (aware); trying sooner only makes it worse."""

    fix = "nothing is wrong here: try again then"

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(f"{message}; wait until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
        self.until = until


class PermanentError(PipelineError):
    """It will fail the same way again until somebody changes something. `status`: that of a vendor's refusal."""

    status = 0


class AuthError(PermanentError):
    """Credentials are missing, wrong or lack a scope."""


class SplitError(PipelineError):
    """The vendor wants a smaller question: ask for half the window."""


class SkippedError(PipelineError):
    """The vendor says this one thing is not to be had: the message says why. `closed`: an account that has ended."""

    def __init__(self, message: str, closed: bool = False) -> None:
        super().__init__(message)
        self.closed = closed


class ContractError(PermanentError):
    """A slice does not fit its contract as a whole: a missing column, a wrong total, too many bad rows."""


class DamagedError(PermanentError):
    """What is stored is not what was landed; the message names the slice, and how to read it again."""
