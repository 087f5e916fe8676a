"""What sources of marketing e-mail share: rows of what became of a send, and of the people it goes to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.configuration.config import Config, dimension_fields
from b2b_pipeline.connectors.columns import (
    column,
    core_rows,
    described,
    email_domain,
    email_key,
    excluded_by,
    local_day,
    utc,
)

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

LEAD_FIELDS = ("company", "country", "region", "owner", "status", "source_original", "capture_type")


def event_rows(
    records: pd.DataFrame, context: MappingContext, event_id: pd.Series, *, sent_at: pd.Series, event_at: pd.Series,
    **columns: Any,
) -> pd.DataFrame:  # fmt: skip
    """Rows of `email_event`, dated by the send; of one that comes again the newer reading counts."""
    sent, at = utc(sent_at), utc(event_at)
    return core_rows(
        records, context, event_id,
        event_id=event_id, sent_at=sent, event_at=at, date_day=local_day(sent, context.config.zone), updated_at=at,
        **columns,
    )  # fmt: skip


def click_touches(
    records: pd.DataFrame, context: MappingContext, event_id: pd.Series, *, recipient: pd.Series, at: pd.Series,
    campaign_id: pd.Series,
) -> pd.DataFrame:  # fmt: skip
    """Rows of `touchpoint`: one per click of a person in an e-mail. Who has no address is nobody that others know."""
    clicked, person = utc(at), email_key(recipient)
    rows = core_rows(
        records, context, event_id,
        touch_id=f"{context.source}:email_event:" + event_id.astype("string"), record_key=person,
        touched_at=clicked, date_day=local_day(clicked, context.config.zone), channel="email", campaign_id=campaign_id,
        touch_type="email_click", evidence="CLICK", is_deleted=False, updated_at=clicked, account_id=None,
        account_domain=None, asset=None,
    )  # fmt: skip
    return rows[person.notna()]


def leads_wanted(config: Config, source: str) -> str:
    """Whose people count as leads: `all`, or what the source says of other words; nobody's unless it is said.

    An e-mail tool holds whom a company writes to: customers, partners, everybody whom a CRM sends there. That somebody
    gets a newsletter is no sign that they might buy, and the day a list was imported is not the day they came.
    """
    return config.sources[source].options.get("leads", "")


def states_leads(source: str) -> Callable[[Config], tuple[str, ...]]:
    """For `Stream.states`: without a word of leads there are none, and not 0."""
    return lambda config: ("lead",) if leads_wanted(config, source) else ()


def lead_rows(
    records: pd.DataFrame, context: MappingContext, lead_id: pd.Series, fields: Mapping[str, str], *,
    email: pd.Series, created: pd.Series, updated: pd.Series, is_deleted: pd.Series | bool,
) -> pd.DataFrame:  # fmt: skip
    """Rows of `lead`. `fields`: our name -> where a record has it, if `sources.<source>.fields` says nothing else."""
    domain, asked = email_domain(email), {**fields, **context.settings.fields}
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    return core_rows(
        records, context, lead_id,
        lead_id=lead_id, record_key=person_key(context, lead_id), email_hash=email, email_domain=domain,
        created_at=utc(created), updated_at=utc(updated), date_day=local_day(created, context.config.zone),
        **{name: column(records, asked.get(name, "")) for name in LEAD_FIELDS},
        lifecycle_stage=None, source_latest=None, is_converted=False, is_deleted=is_deleted,
        converted_contact_id=None, converted_account_id=None, converted_opp_id=None, converted_at=None,
        merged_into=None, excluded_by=excluded_by(records).fillna(own),
        dimensions=described(
            {
                name: column(records, path)
                for name, path in dimension_fields(context.config, context.source, "lead").items()
            },
            records.index,
        ),
    )  # fmt: skip


def person_key(context: MappingContext, ids: pd.Series) -> pd.Series:
    return f"{context.source}:contact:" + ids.astype("string").astype(object)


def digest(words: pd.Series) -> pd.Series:
    """Of a subject, by which two can be told apart."""
    return words.map(lambda text: hashlib.sha256(str(text).encode()).hexdigest()[:32], na_action="ignore")
