"""Typeform's responses as rows of the core tables `survey_response` and `form_event`.

A form that `options: {lead_forms: ...}` names is one by which leads come; every other is a survey. The satisfaction of
a response is its answer to the first rating or opinion scale of the form as it is now, or to the question whose ref or
id `fields: {csat: ...}` names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.columns import channel_of, column, core_rows, email_key, local_day, require, utc

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext, Record

SATISFACTION = ("rating", "opinion_scale")
# Our columns -> the hidden fields of a form that they are taken from, unless `fields` names others.
HIDDEN = {"email": "email", "account_id": "account_id", "utm_medium": "utm_medium", "utm_campaign": "utm_campaign"}
LIKELIHOODS = 10  # the likelihood to recommend is from 0 to 10
OTHER = "other"  # what was written under it is free text


def hidden_fields(config: Config) -> dict[str, str]:
    named = config.sources["typeform"].fields
    return {ours: named.get(ours, theirs) for ours, theirs in HIDDEN.items()}


def lead_forms(config: Config) -> set[str]:
    """The ids of the forms by which leads come."""
    return {name.strip() for name in config.sources["typeform"].options.get("lead_forms", "").split(",")} - {""}


def tells_submissions(config: Config) -> Iterable[str]:
    """What rows of forms can state: nothing where none is named."""
    return ["submitted_at"] if lead_forms(config) else []


def identifier(form: Any, response: Any) -> Any:
    return form + ":" + response


def surveys(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per response to a survey. Satisfaction is from 1 to `csat_scale`, also where its scale begins with 0."""
    require(records, "answers", "form.id", "form.scales")
    named = context.settings.fields.get("csat", "")
    satisfaction = _each(records, lambda answers, scales: _satisfaction(answers, scales, named))
    rows = _rows(
        records, context,
        survey_id=column(records, "form.id"), survey_name=column(records, "form.title"),
        account_id=column(records, "hidden.account_id"),
        nps=_each(records, _likelihood), csat=satisfaction.map(lambda each: each[0]),
        csat_scale=satisfaction.map(lambda each: each[1]),
        codes=column(records, "answers").map(_codes, na_action="ignore"), is_partial=column(records, "is_partial"),
    )  # fmt: skip
    rows["response_id"] = rows["source_id"]
    return rows[~column(records, "form.id").isin(lead_forms(context.config))]


def submissions(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per submission of a form by which leads come, with the channel that its hidden `utm_medium` tells."""
    medium = column(records, "hidden.utm_medium")
    rows = _rows(
        records, context,
        form_id=column(records, "form.id"), form_name=column(records, "form.title"), page=column(records, "page"),
        channel=channel_of(
            context.config.channels, click_ids={}, utm_medium=medium, vendor_source=None, vendor_rules={},
            index=records.index,
        ),
        campaign_id=column(records, "hidden.utm_campaign"), capture_type="typeform", session_id=None,
    )  # fmt: skip
    rows["event_id"] = rows["source_id"]
    is_one = column(records, "form.id").isin(lead_forms(context.config)) & column(records, "is_partial").eq(False)
    return rows[is_one]


def _rows(records: pd.DataFrame, context: MappingContext, **columns: Any) -> pd.DataFrame:
    """A response is not changed once it is submitted; until then it may be. Its id is unique in its form alone."""
    at = utc(column(records, "answered_at"))
    ids = identifier(*(column(records, name).astype("string") for name in ("form.id", "response_id")))
    return core_rows(
        records, context, ids.astype(object),
        record_key=email_key(column(records, "email")), submitted_at=at, updated_at=at,
        date_day=local_day(at, context.config.zone), is_deleted=False, **columns,
    )  # fmt: skip


def _each(records: pd.DataFrame, of: Any) -> pd.Series:
    """What `of` makes of the answers of each response and the scales of its form."""
    cells = zip(column(records, "answers"), column(records, "form.scales"), strict=True)
    found = [of(answers or [], scales or []) for answers, scales in cells]
    return pd.Series(found, index=records.index, dtype=object)


def _likelihood(answers: list[Record], scales: list[Record]) -> Any:
    """That of the first question of type nps that was answered."""
    found = next((each["number"] for each in answers if (each.get("field") or {}).get("type") == "nps"), None)
    is_one = found is None or (isinstance(found, int) and 0 <= found <= LIKELIHOODS)
    return found if is_one else f"{found} of 0 to {LIKELIHOODS}"  # which no count is


def _satisfaction(answers: list[Record], scales: list[Record], named: str) -> tuple[Any, int | None]:
    """An answer that its scale does not have was given on another one, which nobody knows: it stays text."""
    asked = [scale for scale in scales if scale["type"] in SATISFACTION]
    if named:
        asked = [scale for scale in asked if named in (scale["ref"], scale["id"])]
    if not asked:
        return None, None
    scale = asked[0]
    value = next((each["number"] for each in answers if each["field"]["id"] == scale["id"]), None)
    if value is None:
        return None, None
    first = {True: 1, False: 0}.get(scale["start_at_one"]) if scale["type"] == "opinion_scale" else 1
    steps = scale["steps"]
    if first is None or not isinstance(steps, int) or not isinstance(value, int) or not 0 <= value - first < steps:
        return f"{value} on a scale of {steps} from {first}", None
    return value - first + 1, steps


def _codes(answers: list[Record]) -> str | None:
    found: list[str] = []
    for answer in answers:
        said = answer.get(answer["type"])
        if isinstance(said, dict):
            found += [said["label"]] if said.get("label") else said.get("labels") or []
            found += [OTHER] if said.get(OTHER) else []
    return json.dumps(found, ensure_ascii=False) if found else None
