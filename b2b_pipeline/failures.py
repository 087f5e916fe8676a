"""What nobody expected, as one sentence: a disk that is full or read-only, Dagster's own tables damaged, or worse.

The warehouse's engines have theirs in `warehouse/failures.py`.
"""

from __future__ import annotations

import errno
import os
import sqlite3

from b2b_pipeline.errors import ConfigError, PermanentError, PipelineError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_MAKE_ROOM = "make room and run the same command again: what was written before is whole"


def explained(error: Exception) -> PipelineError:
    """The error as one of ours, in one line; its type is named where it is not foreseen."""
    found = getattr(error, "orig", None) or error  # SQLAlchemy wraps what a driver raised
    if isinstance(found, OSError) and found.errno is not None and found.strerror:
        return _disk(found)
    if isinstance(found, sqlite3.Error) and found is not error:  # the sandbox speaks to its world without SQLAlchemy
        return _dagster(str(found))
    words = [line for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {words[0].strip() if words else 'without a word'}"
    return PermanentError(f"unexpected {said}; B2B_DEBUG=1 shows where")


def _disk(found: OSError) -> PipelineError:
    where = os.fsdecode(found.filename) if isinstance(found.filename, str | bytes) else "a file of B2B_HOME"
    if found.errno in _FULL:
        return PermanentError(f"the disk is full at {where} ({found.strerror}): {_MAKE_ROOM}")
    if found.errno in _CLOSED:
        return ConfigError(f"{where}: {found.strerror}: let this user write there, or name another place")
    return PermanentError(f"{where}: {found.strerror}")


def _dagster(said: str) -> PipelineError:
    where = f"Dagster's tables in {os.environ.get('DAGSTER_HOME', 'DAGSTER_HOME')}"
    if "full" in said or "disk I/O" in said:
        return PermanentError(f"{where} cannot be written: the disk is full ({said}): {_MAKE_ROOM}")
    if "readonly" in said or "unable to open" in said:
        return ConfigError(f"{where} cannot be written ({said}): let this user write there, or set DAGSTER_HOME")
    if "malformed" in said or "not a database" in said:
        cure = "restore the folder from a backup, or move it away and run `b2b setup`: no number is kept there"
        return PermanentError(f"{where} are damaged ({said}): {cure}")
    return PermanentError(f"{where}: {said}")
