"""The catalogue of metrics as a page: `python -m b2b_pipeline.metrics.docs > docs/metrics.md`."""

from __future__ import annotations

from b2b_pipeline.metrics.kinds import Cohort, Fitted, Quantile
from b2b_pipeline.metrics.model import Coefficient, Metric, Terms
from b2b_pipeline.metrics.query import free_axes
from b2b_pipeline.metrics.registry import ADDITIVITY, COMPONENTS, FAMILIES


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
        lines += [
            "| metric | formula | components | sums | split by | whose | example |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_row(metric) for metric in family.metrics]
    lines += [
        "",
        "## Components",
        "",
        "Stored per day, channel, campaign and currency in `kpi_component_daily`, where any sum of them is right. A",
        "`distinct` one is not stored: it is counted anew at the grain that is asked for. A `quantile` one is stored",
        "value by value, a `level` as its changes.",
        "",
    ]
    lines += ["| component | what it is of | aggregate | unit | from |", "|---|---|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.description} | {c.aggregate.value} | {c.unit} | {', '.join(sorted(c.tables))} |"
        for c in COMPONENTS.values()
    ]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    needs = " Needs gross margin." if metric.takes_margin else ""
    legs = [leg for name in metric.components for leg in COMPONENTS[name].legs]
    split = set.intersection(*({*leg.dataset.dimensions} for leg in legs)) | {axis.name for axis in free_axes(metric)}
    parts = _side(metric.numerator)
    if isinstance(metric.kind, Quantile):
        parts = f"{metric.kind.share} quantile of {parts}"
    if isinstance(metric.kind, Cohort) and metric.kind.within:
        parts += f" within {metric.kind.within} days"
    if metric.denominator:
        parts += f" / {_side(metric.denominator)}"
    if isinstance(metric.kind, Cohort) and metric.kind.within and metric.kind.is_resolved:
        parts += ", of those who have had them"
    if isinstance(metric.kind, Fitted):
        parts += f", estimated where {metric.kind.minimum_n} have had them"
    example = ""
    if metric.example:
        given, value = metric.example
        example = ", ".join(f"{name} {number}" for name, number in given.items()) + f": {value}"
    whose = f"{metric.owner}, {metric.stage}, {metric.tier}"
    cells = (
        f"`{metric.name}`", f"{metric.formula}.{needs}", parts, ADDITIVITY[metric.name], ", ".join(sorted(split)),
        whose, example,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _side(terms: Terms) -> str:
    def term(name: str, coefficient: Coefficient) -> str:
        if callable(coefficient):
            return f"{getattr(coefficient, '__name__', 'factor')} x {name}"
        return name if coefficient == 1 else f"{coefficient} x {name}"

    text = " + ".join(term(each.label, coefficient) for each, coefficient in terms.items()).replace("+ -1 x ", "- ")
    return f"({text})" if len(terms) > 1 else text


if __name__ == "__main__":
    print(page(), end="")
