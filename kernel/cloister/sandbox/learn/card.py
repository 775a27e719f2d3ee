"""How a fitted model of any kind is shown: warnings, numbers with errors, and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from cloister.sandbox import html, ridge
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import words
from cloister.sandbox.learn.features import Feature, bin_labels
from cloister.sandbox.learn.numbers import table
from cloister.sandbox.render import number

__all__ = ["ModelCard", "derived", "escape", "html_of", "numbers", "text", "warnings"]

escape = html.text
numbers = table
derived = words.derived
_MARK = {
    "mock": "MOCK: invented rows; this model describes nobody",
    "teaching": "LESSON: invented people; this model describes nobody",
}
_SHOWN = 40
_EXPORTS = "leaves as JSON and ONNX, never as a pickle"


def warnings(model: k.Head) -> list[str]:
    """Return what a reader must know before anything else."""
    found = [_MARK[model.mode]] if model.mode in _MARK else []
    if not model.reliable:
        margin = ""
        if isinstance(model, k.LinearRegression):
            margin = f" ({float(model.metrics.margin):.2g} noise levels, {ridge.RELIABLE:g} needed)"
        found.append(
            f"NOT RELIABLE: the data do not stand out of the noise{margin}; take fewer features, more rows, or more "
            "epsilon"
        )
    return [*found, *model.notes]


def text(model: k.Head, facts: Sequence[str]) -> str:
    """Return the model as lines of text."""
    lines = _written(model)
    names, *parts = zip(*lines[:_SHOWN], strict=True)
    body = pd.DataFrame(dict(zip(("value", "±", "95 % interval"), parts, strict=True)), index=list(names)).to_string()
    more = [f"... {len(lines) - _SHOWN} more: model.table()"] if len(lines) > _SHOWN else []
    return "\n".join([*warnings(model), body, *more, words.fit_line(model), *facts])


def html_of(model: k.Head, facts: Sequence[str]) -> str:
    """Return the model as HTML: warnings, numbers with error bars, how well it fits."""
    return html.block(_badges(model), _numbers(model, _SHOWN), *map(html.note, [words.fit_line(model), *facts]))


class ModelCard:
    """A model card: Markdown as text, HTML in a notebook."""

    def __init__(self, model: k.Head) -> None:
        self._model = model

    def __str__(self) -> str:
        rows = [f"| {cell(name)} | {' | '.join(parts)} |" for name, *parts in _written(self._model)]
        parts = [f"# Model card: {cell(words.subject(self._model))}"]
        parts += [f"**{cell(line)}**" for line in warnings(self._model)]
        for title, lines in sections(self._model).items():
            parts.append(f"## {title}")
            parts.append("\n".join(f"- {cell(line)}" for line in lines))
        head = "| coefficient | value | ± privacy noise | 95 % interval |\n|---|---|---|---|"
        parts.append("## Coefficients")
        parts.append("\n".join([head, *rows]))
        return "\n\n".join(parts) + "\n"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        model = self._model
        head = html.paragraph(html.strong(f"Model card: {words.subject(model)}"))
        body = [
            html.paragraph(html.strong(title)) + "".join(html.paragraph(html.text(line)) for line in lines)
            for title, lines in sections(model).items()
        ]
        return html.block(head, _badges(model), *body, html.paragraph(html.strong("Coefficients")), _numbers(model))


def sections(model: k.Head) -> dict[str, list[str]]:
    """Return the sections of a model card, each with its lines."""
    made, privacy, origin = model.training, model.privacy, model.provenance
    n, _ = words.rows(model)
    unit = f"one {made.unit} has at most {made.rows_per_unit} row{'s' if made.rows_per_unit > 1 else ''} in it"
    chosen = ", ".join(f"{name} {_short(value)}" for name, value in made.parameters.items())
    return {
        "Purpose": [f"{words.purpose(model)}; the contract allows: {', '.join(made.purposes)}"],
        "Data": [f"{made.title} ({made.rows}); {unit}; about {n:,.0f} rows", *words.target(model), *model.notes],
        "Features": [_feature(feature) for feature in model.features],
        "Logic": [
            *words.logic(model),
            f"algorithm {model.algorithm.name}@{model.algorithm.version}, code {model.algorithm.code}",
            *([f"parameters: {chosen}"] if chosen else []),
            _EXPORTS,
        ],
        "Privacy": [
            *(
                f"epsilon {float(paid.epsilon):.3g} at delta {float(paid.delta):.1g} for every {made.unit} of "
                f"{paid.population} (zCDP rho {float(Fraction(paid.rho)):.3g})"
                for paid in privacy.accounts
            ),
            f"discrete Gaussian noise, standard deviation {float(privacy.noise):.4g} in {privacy.noisy}",
        ],
        "Metrics (on the rows it was made from)": [words.fit_line(model)],
        "Limits": list(words.limits(model)),
        "Receipt": [
            f"receipt: {origin.receipt or f'none ({model.mode})'}",
            f"contract: {origin.contract}",
            f"plan: {origin.plan}",
            f"enclave: {model.assurance if model.mode == 'confidential' else f'none ({model.mode})'}",
        ],
    }


def _short(value: str) -> str:
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return value


def _feature(feature: Feature) -> str:
    filled = "; missing values are marked by a column of their own" if feature.fill is not None else ""
    match feature.kind:
        case "number":
            what = f"{feature.low} to {feature.high}"
        case "condition" | "flag":
            what = "yes or no"
        case "category":
            what = f"{', '.join(feature.levels)}; reference: {feature.levels[0]}, and whatever is not listed"
        case "levels":
            what = ", ".join(feature.levels)
        case "bins":
            what = f"in bins {', '.join(bin_labels(feature.edges))}"
    return f"{feature.name}: {what}{filled}"


def _badges(model: k.Head) -> str:
    doubt = "" if model.reliable else html.badge("not reliable", "#a3243b")
    return html.paragraph(html.mark(model.mode, model.assurance), doubt, *(html.text(line) for line in warnings(model)))


def _numbers(model: k.Head, most: int | None = None) -> str:
    rows = [
        [html.text(name), html.strong(value), html.text(f"± {error}"), html.text(interval), ""]
        for name, value, error, interval in _written(model)
    ]
    if isinstance(model, k.LinearRegression):
        from cloister.sandbox.learn.views import Bars  # noqa: PLC0415 (matplotlib)

        bars = Bars.of(model, scaled=True)
        reach = max(float(np.abs([bars.low, bars.high]).max()), 1e-300)
        for line, ends in zip(rows[1:], zip(bars.low, bars.value, bars.high, strict=True), strict=True):
            line[-1] = html.whisker(*(float(end) / reach for end in ends))
    head = ["", "value", "privacy noise", "95 % interval", "from lowest to highest"]
    more = html.note(f"{len(rows) - most} more: model.table()") if most is not None and len(rows) > most else ""
    return html.table(head, rows[:most]) + more


def _written(model: k.Head) -> list[tuple[str, str, str, str]]:
    """Return name, value, error and interval of every number, with the digits the error leaves meaningful."""
    return [
        (
            str(row.Index),
            number(row.value, row.stderr),
            number(row.stderr, row.stderr),
            f"[{number(row.low, row.stderr)}, {number(row.high, row.stderr)}]",
        )
        for row in table(model).itertuples()
    ]


def cell(value: str) -> str:
    """Return a text that cannot break out of a line or a cell of Markdown."""
    plain = " ".join(value.split())
    return "".join("\\" + char if char in "\\|`*_<>[]#" else char for char in plain)
