"""How a fitted model is shown: table, one-screen summary, bars and model card."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cloister.sandbox import html, release, ridge
from cloister.sandbox.gram import Gram
from cloister.sandbox.learn import document as d
from cloister.sandbox.learn.features import columns
from cloister.sandbox.plot import Plot
from cloister.sandbox.precision import NORMAL_95
from cloister.sandbox.render import number

escape = html.text
_MARK = {
    "mock": "MOCK: invented rows; this model describes nobody",
    "teaching": "LESSON: invented people; this model describes nobody",
}
_LIMITS = (
    "The intervals are those of the privacy noise, to first order, around the coefficients the same penalty gives "
    "without noise. A penalty pulls coefficients towards zero; nothing corrects for that.",
    "Values outside the bounds of the data card were clipped before fitting; a prediction beyond them is "
    "extrapolation.",
    "A linear model of associations in these rows: not causes, and not a statement about one person.",
)


@dataclasses.dataclass(frozen=True)
class Bars:
    """What a plot needs of a model: coefficients without the intercept, as a release has them."""

    value: pd.Series
    low: pd.Series
    high: pd.Series
    mode: str
    assurance: str

    @classmethod
    def of(cls, model: d.Document, *, scaled: bool = False) -> Bars:
        """Return the bars of a model: per unit of each feature, or (``scaled``) over its whole public range."""
        shown = table(model).drop(index="intercept")[["value", "low", "high"]]
        label = f"{model.target.name} per unit of the feature"
        if scaled:
            ranges = [
                d.number(column.feature.high) - d.number(column.feature.low) if column.role == "value" else 1.0
                for column in columns(model.features)
            ]
            shown, label = shown.mul(ranges, axis=0), f"{model.target.name} from lowest to highest"
        return cls(shown["value"].rename(label), shown["low"], shown["high"], model.mode, model.assurance)


class CoefficientPlot(Plot):
    """``model.plot.bar()``: coefficients with the 95 % interval of the privacy noise; mock values are hatched."""

    def __init__(self, model: d.Document) -> None:
        super().__init__(Bars.of(model))
        self._model = model

    def bar(self, *, scaled: bool = False, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw vertical bars; returns the axes.

        Args:
            scaled: Show what a feature changes between its public bounds, so that features in different units compare.
            ax: Axes to draw on.
            title: Instead of what is shown and by which enclave.
            options: Of ``matplotlib``'s bars.
        """
        return Plot(Bars.of(self._model, scaled=scaled)).bar(ax=ax, title=title, **options)

    def barh(self, *, scaled: bool = False, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw horizontal bars; see ``bar``."""
        return Plot(Bars.of(self._model, scaled=scaled)).barh(ax=ax, title=title, **options)

    __call__ = bar


def table(model: d.Document, *, population: bool = False) -> pd.DataFrame:
    """Return intercept and coefficients with errors and 95 % intervals."""
    lines = model.lines
    value = np.array([d.number(line.value) for line in lines])
    error = np.array([math.hypot(float(line.stderr), float(line.sampling) * population) for line in lines])
    return pd.DataFrame(
        {
            "value": value,
            "stderr": error,
            "low": value - NORMAL_95 * error,
            "high": value + NORMAL_95 * error,
            "unreliable": not model.reliable,
        },
        index=pd.Index([line.name for line in lines], name="coefficient"),
    )


def score(gram: Gram) -> float:
    """Return R2 from a Gram of (residual, target), as a number that knows its release."""
    offset, scale = (float(part.iloc[0]) / float(gram.scales.iloc[1]) for part in (gram.offsets, gram.scales))
    value, error = ridge.explained(gram.matrix.to_numpy(), np.array([offset, scale, 0.0]), gram.stderr)
    ends = (max(value - NORMAL_95 * error, 0.0), min(value + NORMAL_95 * error, 1.0))
    parts = {"value": value, "stderr": error, "low": ends[0], "high": ends[1]}
    doubtful = {"unreliable": np.array([gram.n < ridge.RELIABLE * ridge.noise_level(gram.stderr, 3)])}
    return release.number({name: np.array([part]) for name, part in parts.items()} | doubtful, gram.fact)


def warnings(model: d.Document) -> list[str]:
    """Return what a reader must know before anything else."""
    found = [_MARK[model.mode]] if model.mode in _MARK else []
    if not model.reliable:
        found.append(
            f"NOT RELIABLE: the data do not stand out of the noise ({float(model.metrics.margin):.2g} noise levels, "
            f"{ridge.RELIABLE:g} needed); take fewer features, more rows, or more epsilon"
        )
    return found


def text(model: d.Document, facts: list[str]) -> str:
    """Return the model as lines of text."""
    names, *parts = zip(*_written(model), strict=True)
    body = pd.DataFrame(dict(zip(("value", "±", "95 % interval"), parts, strict=True)), index=list(names)).to_string()
    return "\n".join([*warnings(model), body, _fit_line(model), *facts])


def html_of(model: d.Document, facts: list[str]) -> str:
    """Return the model as HTML: warnings, coefficients with error bars, how well it fits."""
    return html.block(_badges(model), _coefficients(model), *map(html.note, [_fit_line(model), *facts]))


class ModelCard:
    """A model card: Markdown as text, HTML in a notebook."""

    def __init__(self, model: d.Document) -> None:
        self._model = model

    def __str__(self) -> str:
        rows = [f"| {_cell(name)} | {' | '.join(parts)} |" for name, *parts in _written(self._model)]
        parts = [f"# Model card: {_cell(self._model.target.name)}"]
        parts += [f"**{line}**" for line in warnings(self._model)]
        for title, lines in _sections(self._model).items():
            parts.append(f"## {title}")
            parts.append("\n".join(f"- {_cell(line)}" for line in lines))
        head = "| coefficient | value | ± privacy noise | 95 % interval |\n|---|---|---|---|"
        parts.append("## Coefficients")
        parts.append("\n".join([head, *rows]))
        return "\n\n".join(parts) + "\n"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        model = self._model
        head = html.paragraph(html.strong(f"Model card: {model.target.name}"))
        body = [
            html.paragraph(html.strong(title)) + "".join(html.paragraph(html.text(line)) for line in lines)
            for title, lines in _sections(model).items()
        ]
        return html.block(
            head, _badges(model), *body, html.paragraph(html.strong("Coefficients")), _coefficients(model)
        )


def _sections(model: d.Document) -> dict[str, list[str]]:
    made, privacy, origin, metrics = model.training, model.privacy, model.provenance, model.metrics
    features = []
    for feature in model.features:
        what = f"{feature.low} to {feature.high}" if feature.kind == "number" else "yes or no"
        if feature.kind == "category":
            what = f"{', '.join(feature.levels)}; reference: {feature.levels[0]}, and whatever is not listed"
        filled = "; missing values are marked by a column of their own" if feature.fill is not None else ""
        features.append(f"{feature.name}: {what}{filled}")
    ends = _range(model)
    unit = f"one {made.unit} has at most {made.rows_per_unit} row{'s' if made.rows_per_unit > 1 else ''} in it"
    return {
        "Purpose": [f"predicts {model.target.name}; the contract allows: {', '.join(made.purposes)}"],
        "Data": [
            f"{made.title} ({made.rows}); {unit}; about {float(metrics.n):,.0f} rows",
            f"target {model.target.name}, {model.target.low} to {model.target.high}",
        ],
        "Features": features,
        "Logic": [
            f"ridge regression, penalty {float(made.alpha):.4g} on features scaled to [-1, 1] by their public bounds; "
            "computed from one noisy Gram matrix",
            "prediction = intercept + sum of coefficient times column; "
            f"within the bounds: {ends[0]:,.4g} to {ends[1]:,.4g}",
        ],
        "Privacy": [
            *(
                f"epsilon {float(paid.epsilon):.3g} at delta {float(paid.delta):.1g} for every {made.unit} of "
                f"{paid.population} (zCDP rho {float(Fraction(paid.rho)):.3g})"
                for paid in privacy.accounts
            ),
            f"discrete Gaussian noise, standard deviation {float(privacy.noise):.4g} in every entry of the Gram",
        ],
        "Metrics (on the rows it was made from)": [_fit_line(model)],
        "Limits": list(_LIMITS),
        "Receipt": [
            f"receipt: {origin.receipt or f'none ({model.mode})'}",
            f"contract: {origin.contract}",
            f"plan: {origin.plan}",
            f"enclave: {model.assurance if model.mode == 'confidential' else f'none ({model.mode})'}",
        ],
    }


def _fit_line(model: d.Document) -> str:
    metrics = model.metrics
    error = float(metrics.r2_stderr)
    return (
        f"R2 {number(float(metrics.r2), error)} ± {number(error, error)} (privacy noise); residuals "
        f"± {float(metrics.residual):.3g} {model.target.name}; alpha {float(model.training.alpha):.4g}"
    )


def _range(model: d.Document) -> tuple[float, float]:
    """Return between which values predictions lie while every feature is in its bounds."""
    low = high = d.number(model.intercept.value)
    groups: dict[str, list[float]] = {}
    for column, line in zip(columns(model.features), model.coefficients, strict=True):
        value = d.number(line.value)
        if column.role == "level":
            groups.setdefault(column.feature.name, [0.0]).append(value)
            continue
        ends = (
            (0.0, 1.0) if column.role == "missing" else tuple(map(d.number, (column.feature.low, column.feature.high)))
        )
        low, high = low + min(value * end for end in ends), high + max(value * end for end in ends)
    return low + sum(map(min, groups.values())), high + sum(map(max, groups.values()))


def _badges(model: d.Document) -> str:
    doubt = "" if model.reliable else html.badge("not reliable", "#a3243b")
    return html.paragraph(html.mark(model.mode, model.assurance), doubt, *(html.text(line) for line in warnings(model)))


def _coefficients(model: d.Document) -> str:
    bars = Bars.of(model, scaled=True)
    reach = max(float(np.abs([bars.low, bars.high]).max()), 1e-300)
    rows = [
        [html.text(name), html.strong(value), html.text(f"± {error}"), html.text(interval), ""]
        for name, value, error, interval in _written(model)
    ]
    for line, ends in zip(rows[1:], zip(bars.low, bars.value, bars.high, strict=True), strict=True):
        line[-1] = html.whisker(*(float(end) / reach for end in ends))
    return html.table(["", "value", "privacy noise", "95 % interval", "from lowest to highest"], rows)


def _written(model: d.Document) -> list[tuple[str, str, str, str]]:
    """Return name, value, error and interval of every coefficient, with the digits the error leaves meaningful."""
    return [
        (
            str(row.Index),
            number(row.value, row.stderr),
            number(row.stderr, row.stderr),
            f"[{number(row.low, row.stderr)}, {number(row.high, row.stderr)}]",
        )
        for row in table(model).itertuples()
    ]


def _cell(value: str) -> str:
    """Return a text that cannot break out of a line or a cell of Markdown."""
    plain = " ".join(value.split())
    return "".join("\\" + char if char in "\\|`*_<>[]#" else char for char in plain)
