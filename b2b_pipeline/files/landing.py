"""A dropped file becomes a slice: the columns that its mapping names, as received, but for personal ones."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_mapping import FILES, FileMapping
from b2b_pipeline.connectors.base import Account, Page, Window
from b2b_pipeline.errors import ContractError, PermanentError, TransientError
from b2b_pipeline.files.formats import LIMIT_HINT, MEGABYTE
from b2b_pipeline.files.reading import mapped_columns, read_records
from b2b_pipeline.files.refusals import Refusal, Refusals, meaning_of
from b2b_pipeline.files.source import stream_of
from b2b_pipeline.landing.store import Landing, Slice


def land_file(path: Path, mapping: FileMapping, stream: str, landing: Landing, config: Config, run_id: str) -> Slice:
    """Land the file as `files/<stream>`, its name as the account. A later version of the same name replaces its rows.

    The slice knows the file by its `signature` and the columns that the mapping names, the page's request. What cannot
    be landed is noted beside landing, with its reason, until another version is; a file whose reading dies too.

    Raises ContractError when the file as a whole does not fit its mapping, PermanentError when it is not there,
    TransientError when it changes while it is read.
    """
    refusals = Refusals(landing.root)
    try:
        seen = Refusal(path.name, signature(path.stat()), "unread", "its reading did not end", meaning_of(mapping))
    except OSError as error:
        raise PermanentError(f"{path.name}: cannot be read: {error.strerror}") from None
    refusals.note(seen)
    try:
        content, state = read_file(path, config)
        if path.resolve().parent != path.parent.resolve():
            raise PermanentError(f"{path.name}: a link that leaves the inbox: put the file itself there")
        if not seen.signature == signature(state) == signature(path.stat()):
            raise TransientError(f"{path.name} is still being written: it is taken once it stands still")
        item = _land(path.name, state, content, mapping, stream, landing, config, run_id)
    except PermanentError as error:
        # What is not about the content may be mended without a change of the file: it is tried again.
        meaning = seen.meaning if isinstance(error, ContractError) else ""
        refusals.note(replace(seen, state="refused", reason=str(error).removeprefix(f"{path.name}: "), meaning=meaning))
        raise
    refusals.clear(path.name)
    return item


def _land(
    name: str, state: os.stat_result, content: bytes, mapping: FileMapping, stream: str, landing: Landing,
    config: Config, run_id: str,
) -> Slice:  # fmt: skip
    records = read_records(content, mapping, config.limits.max_file_mb * MEGABYTE)
    day = datetime.fromtimestamp(state.st_mtime, UTC).astimezone(config.zone).date()
    window = Window.of_days(day, day + timedelta(days=1), config.zone)
    page = Page(mapped_columns(records, mapping, landing.pseudonyms.text), _request(signature(state), mapping))
    drop = replace(stream_of(mapping), name=stream)
    return landing.write(FILES, drop, Account(name), window, [page], zone=config.zone, api_version="csv", run_id=run_id)


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


def settled(path: Path, mapping: FileMapping, stream: str, landing: Landing) -> bool:
    """Whether that version of a file is landed, or was refused or withdrawn, so that nothing is to be done.

    Raises OSError.
    """
    now = signature(path.stat())
    noted = Refusals(landing.root).of(path.name)
    if noted is not None:
        return noted.settles(now, mapping)
    request = hashlib.sha256(_request(now, mapping).encode()).hexdigest()[:16]  # as an envelope sums up its requests
    newest = landing.slices(FILES, stream, path.name)[-1:]
    return [item.requests for item in newest if not landing.damage(item, thorough=False)] == [request]


def _request(signature: str, mapping: FileMapping) -> str:
    """What was asked of a file: a mapping that names further columns asks for more than was landed."""
    return " ".join([signature, *sorted(mapping.headers())])


def signature(state: os.stat_result) -> str:
    """What tells one version of a file from another: when it was changed, and its size."""
    return f"{state.st_mtime_ns}:{state.st_size}"
