"""How a number is written for people: with its unit and currency. JSON and CSV have it bare."""

from __future__ import annotations

from b2b_pipeline.metrics.answer import Answer, decimal_text


def shown(answer: Answer, currency: str) -> str:
    """`EUR 1,234.50`, `12.5 %`, `3.2x`, `45 days`, `75.3 s`, `1,234`, `1,234.5`; `no value` where there is none."""
    value = answer.value
    if value is None:
        return "no value"

    def text(places: int, factor: int = 1) -> str:
        whole, _, rest = decimal_text(value * factor, places).partition(".")
        return f"{int(whole):,}" + (f".{rest}" if rest else "") if int(whole) else decimal_text(value * factor, places)

    match answer.metric.unit:
        case "money":
            return f"{currency} {text(answer.places)}"
        case "rate":
            return f"{text(2 if 0 < abs(value) * 100 < 1 else 1, 100)} %"
        case "multiple":
            return f"{text(2)}x"
        case "days" | "minutes" as unit:
            return f"{text(0 if value.denominator == 1 else 1)} {unit}"
        case "seconds":
            return f"{text(0 if value.denominator == 1 else 1)} s"
    return text(0 if value.denominator == 1 else 1)  # platforms share a conversion out
