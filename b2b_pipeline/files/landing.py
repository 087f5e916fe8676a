"""A dropped file becomes a slice: its rows as text, as received, but for personal columns."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from b2b_pipeline.config import Config
from b2b_pipeline.connectors.base import Account, Page, Stream, Window
from b2b_pipeline.errors import PermanentError
from b2b_pipeline.files.formats import LIMIT_HINT, MEGABYTE
from b2b_pipeline.files.mapping import FileMapping, personal_paths
from b2b_pipeline.files.reading import read_records
from b2b_pipeline.landing import Landing, Slice


def land_file(path: Path, mapping: FileMapping, stream: str, landing: Landing, config: Config, run_id: str) -> Slice:
    """Land the file as `files/<stream>`, its name as the account. A later version of the same name replaces its rows.

    The slice knows the file by its `signature`, the page's request.

    Raises ContractError when the file as a whole does not fit its mapping, PermanentError when it is not there.
    """
    content, state = read_file(path, config)
    if path.resolve().parent != path.parent.resolve():
        raise PermanentError(f"{path.name}: a link that leaves the inbox: put the file itself there")
    records = read_records(content, mapping, config.limits.max_file_mb * MEGABYTE)
    day = datetime.fromtimestamp(state.st_mtime, UTC).astimezone(config.zone).date()
    window = Window.of_days(day, day + timedelta(days=1), config.zone)
    page = Page(records, signature(state))
    personal = personal_paths(mapping)
    drop = Stream(name=stream, kind="snapshot", description="", fetch=lambda *_: iter(()), day="", personal=personal)
    return landing.write(
        "files", drop, Account(path.name), window, [page], zone=config.zone, api_version="csv", run_id=run_id
    )


def read_file(path: Path, config: Config) -> tuple[bytes, os.stat_result]:
    """What is in the file, and what it was when it was opened. Raises PermanentError; a file that is too large is not
    read."""
    limit = config.limits.max_file_mb
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())  # first: a file that grows while it is read is another one next time
            if state.st_size > limit * MEGABYTE:
                size = state.st_size / MEGABYTE
                raise PermanentError(f"{path.name}: {size:,.0f} MB, more than the {limit} MB allowed: {LIMIT_HINT}")
            return file.read(limit * MEGABYTE + 1), state
    except OSError as error:
        raise PermanentError(f"{path.name}: cannot be read: {error.strerror}") from None


def landed(path: Path, stream: str, landing: Landing) -> bool:
    """Whether the newest slice of that file name holds this version of the file, undamaged. Raises OSError."""
    request = hashlib.sha256(signature(path.stat()).encode()).hexdigest()[:16]  # as an envelope sums up its requests
    newest = landing.slices("files", stream, path.name)[-1:]
    return [item.requests for item in newest if not landing.damage(item, thorough=False)] == [request]


def signature(state: os.stat_result) -> str:
    """What tells one version of a file from another: when it was changed, and its size."""
    return f"{state.st_mtime_ns}:{state.st_size}"
