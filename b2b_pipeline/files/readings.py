"""How the cells of one column can be read: words of outcomes, formats of days, the decimal sign.

Where two readings fit, none is chosen: `propose.py` asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from b2b_pipeline.files import cells, vocabulary
from b2b_pipeline.files.look import DAYS, STAMPS, Seen, any_fits, fits
from b2b_pipeline.files.vocabulary import plain
from b2b_pipeline.files.yaml_text import listed

WORDS = 30  # of a column that are listed


def outcomes(stage: Seen) -> Iterator[str]:
    """The words that mean won, lost and open; those that could be two of them are asked for."""
    words = stage.values[:WORDS]
    won = [word for word in words if vocabulary.says("won", word)]
    lost = [word for word in words if word not in won and vocabulary.says("lost", word)]
    going = [
        w for w in words if w not in (*won, *lost) and vocabulary.says("open", w) and not vocabulary.says("ended", w)
    ]
    asked = [word for word in words if word not in (*won, *lost, *going)]
    if not won:
        yield '      won: ["?"]  # which words of the stage mean that the deal is won?'
    else:
        yield f"      won: [{listed(won)}]"
    if lost:
        yield f"      lost: [{listed(lost)}]"
    if going:
        yield f"      open: [{listed(going)}]"
    if asked:
        yield f"      # won, lost or open? put each into its list: {listed(asked)}"


def says(outcome: str, stage: Seen) -> bool:
    return any(vocabulary.says(outcome, word) for word in stage.values)


def words_of(name: str, column: Seen) -> dict[str, str]:
    """The words of a column -> ours."""
    return {value: vocabulary.meanings(name).get(plain(value), "?") for value in column.values[:WORDS]}


def category(word: str) -> str:
    return next((meant for part, meant in vocabulary.meanings("categories").items() if part in plain(word)), "?")


def currency_of(sign: str) -> str:
    codes = cells.SIGNS.get(sign, frozenset())
    return sign if len(sign) == 3 and sign.isalpha() else next(iter(codes)) if len(codes) == 1 else "?"


def several_formats(column: Seen) -> list[str]:
    """Formats that fit every cell between them, each cell one of them and no other, as one answer."""
    for among in (STAMPS, DAYS):
        left, chosen = column.values, list[str]()
        while left and any_fits(left[0], among):
            ways = [item for item in among if fits(left[0], item)]
            alike = [value for value in left if any(fits(value, item) for item in ways)]
            first = [item for item in ways if all(fits(value, item) for value in alike)]
            if len(first) != 1:
                break
            chosen += first
            left = [value for value in left if value not in alike]
        if chosen and not left and all(sum(fits(value, item) for item in chosen) == 1 for value in column.values):
            return ["|".join(chosen)]
    return []


def one_or_list(format_: str) -> str:
    both = [json.dumps(item) for item in format_.split("|")]
    return both[0] if len(both) == 1 else f"[{', '.join(both)}]"


def is_day_first(format_: str) -> bool:
    """Whether the day comes before the month."""
    month = next((format_.index(code) for code in ("%m", "%b", "%B") if code in format_), 0)
    return format_.index("%d") < month if "%d" in format_ else False


def reads_two_ways(column: Seen) -> bool:
    return proven(column) is None and any(_unclear(value) for value in column.values)


def _unclear(value: str) -> bool:
    try:
        cells.parse_number(value, None)
    except cells.Unfit as unfit:
        return "two ways" in unfit.reason
    return False


def proven(column: Seen) -> str | None:
    return cells.decimal_sign(pd.Series(column.values, dtype=object))
