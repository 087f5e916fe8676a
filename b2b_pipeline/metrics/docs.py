"""The catalogue of metrics as a page: `python -m b2b_pipeline.metrics.docs > docs/metrics.md`."""

from __future__ import annotations

from collections.abc import Mapping

from b2b_pipeline.metrics.base import Metric
from b2b_pipeline.metrics.registry import COMPONENTS, FAMILIES


def page() -> str:
    lines = [
        "# Metrics",
        "",
        "Written from `b2b_pipeline/metrics/` by `python -m b2b_pipeline.metrics.docs > docs/metrics.md`.",
        "Meanings: [semantics.md](semantics.md). `b2b kpi METRIC` asks for one,",
        "`b2b explain METRIC --on DAY` says where it comes from. A ratio is divided after its components are summed.",
    ]
    for family in FAMILIES.values():
        lines += ["", f"## {family.title} (`kpi/{family.name}`)", "", family.description, ""]
        lines += ["| metric | formula | components | split by | whose | example |", "|---|---|---|---|---|---|"]
        lines += [_row(metric) for metric in family.metrics]
    lines += [
        "",
        "## Components",
        "",
        "Additive: stored per day, channel, campaign and currency in `kpi_component_daily`.",
        "",
    ]
    lines += ["| component | what it sums | unit | from |", "|---|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.description} | {c.unit} | {', '.join(sorted(c.tables))} |" for c in COMPONENTS.values()
    ]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    needs = " Needs gross margin." if metric.takes_margin else ""
    legs = (
        [metric.median_of] if metric.median_of else [leg for name in metric.components for leg in COMPONENTS[name].legs]
    )
    split = set.intersection(*(set(leg.dimensions) for leg in legs))
    parts = "median" if metric.median_of else _side(metric.numerator)
    if metric.denominator:
        parts += f" / {_side(metric.denominator)}"
    example = ""
    if metric.example:
        given, value = metric.example
        example = ", ".join(f"{name} {number}" for name, number in given.items()) + f": {value}"
    whose = f"{metric.owner}, {metric.stage}, {metric.tier}"
    cells = (f"`{metric.name}`", f"{metric.formula}.{needs}", parts, ", ".join(sorted(split)), whose, example)
    return f"| {' | '.join(cells)} |"


def _side(terms: Mapping[str, object]) -> str:
    def term(name: str, coefficient: object) -> str:
        if callable(coefficient):
            return f"{getattr(coefficient, '__name__', 'factor')} x {name}"
        return name if coefficient == 1 else f"{coefficient} x {name}"

    text = " + ".join(term(name, coefficient) for name, coefficient in terms.items()).replace("+ -1 x ", "- ")
    return f"({text})" if len(terms) > 1 else text


if __name__ == "__main__":
    print(page(), end="")
