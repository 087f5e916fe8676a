"""A dropped file becomes a slice: its rows as text, as received, but for personal columns."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from b2b_pipeline.config import Config
from b2b_pipeline.connectors.base import Account, Page, Stream, Window
from b2b_pipeline.errors import PermanentError
from b2b_pipeline.files.mapping import FileMapping, personal_paths
from b2b_pipeline.files.reading import read_records
from b2b_pipeline.landing import Landing, Slice


def land_file(path: Path, mapping: FileMapping, stream: str, landing: Landing, config: Config, run_id: str) -> Slice:
    """Land the file as `files/<stream>`, its name as the account. A later version of the same name replaces its rows.

    Raises ContractError when the file as a whole does not fit its mapping, PermanentError when it is not there.
    """
    try:
        content, changed = path.read_bytes(), path.stat().st_mtime
    except OSError as error:
        raise PermanentError(f"{path.name}: cannot be read: {error.strerror}") from None
    records = read_records(content, mapping)
    day = datetime.fromtimestamp(changed, timezone.utc).astimezone(config.zone).date()
    drop = Stream(
        name=stream, kind="snapshot", description="", fetch=lambda *_: iter(()), day="", personal=personal_paths(mapping)
    )  # fmt: skip
    return landing.write(
        "files", drop, Account(path.name), Window.of_days(day, day + timedelta(days=1), config.zone), [Page(records)],
        zone=config.zone, api_version="csv", run_id=run_id,
    )  # fmt: skip
