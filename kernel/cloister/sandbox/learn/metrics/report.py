"""``evaluate(model, X, y)``: every figure of a model's predictions from one release, at one price.

report = evaluate(model, test[features], test.default, share=0.05)
report.roc_auc                  # a number with .release
report.table()                  # all figures with errors, intervals and what binning may hide
report.plot()                   # ROC, precision-recall, calibration, distributions, with bands of the noise
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import html, plot, release, render, terms
from cloister.sandbox.answer import Answer, Fact
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.column import Column
from cloister.sandbox.doubts import Expected, Noise, checked, worst
from cloister.sandbox.frame import Frame
from cloister.sandbox.gram import MEASURE
from cloister.sandbox.gram import ask as gram_of
from cloister.sandbox.learn import asking, expected, views
from cloister.sandbox.learn.metrics import counts as counting
from cloister.sandbox.learn.metrics import curves, figures, noise, spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import BINS, Edges, edges_of, log_odds_edges
from cloister.sandbox.learn.metrics.labels import labels
from cloister.sandbox.learn.metrics.positive import FORM, score_of
from cloister.sandbox.learn.metrics.regression import residual
from cloister.sandbox.learn.metrics.scores import shown as shown_figure
from cloister.sandbox.learn.tables import PARTS, line, population, release_of, table
from cloister.sandbox.release import Release
from cloister.sandbox.rows import same

WHAT = "an evaluation"


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """Figures of one model on one handle, each a released number (``report.roc_auc``), all from one release.

    Attributes:
        name: What was predicted.
        figures: Released numbers by name.
        binning: How far each may lie from that of the unbinned score.
        fact: Price, receipt and mode.
        counts: The counts behind them; None for a predicted number.
        by: The figures in every group, if groups were asked: (group, figure) by value, error and interval.
    """

    name: str
    figures: dict[str, Any]
    binning: dict[str, float]
    fact: Fact
    counts: Counts | None = None
    by: pd.DataFrame | None = None
    matrix: pd.DataFrame | None = None
    """The confusion matrix of predicted labels."""

    @property
    def release(self) -> Release:
        """Price, receipt and mode, with the figures as values."""
        return release_of(self.table(), self.fact, self._note())

    @property
    def mode(self) -> str:
        """``confidential`` or ``mock``."""
        return self.fact.mode

    @property
    def assurance(self) -> str:
        """What vouches for the enclave."""
        return self.fact.assurance

    def table(self) -> pd.DataFrame:
        """Return all figures: value, standard error and 95 % interval of the noise, and what binning may hide.

        ``population_low`` and ``population_high`` are the ends of the 95 % interval for the population that the units
        were drawn from: noise and sampling together (NaN: not known).
        """
        lines = {
            name: line(found) | population(found) | {"binning": self.binning.get(name, 0.0)}
            for name, found in self.figures.items()
        }
        return table(lines, "figure")

    @property
    def roc(self) -> curves.Curve:
        """The ROC curve."""
        return curves.roc(self._counted())

    @property
    def precision_recall(self) -> curves.Curve:
        """The precision-recall curve."""
        return curves.precision_recall(self._counted())

    @property
    def distribution(self) -> curves.Curve:
        """Both classes' distributions over the score."""
        return curves.ks_curve(self._counted())

    @property
    def calibration(self) -> curves.Curve:
        """Predicted and observed rates.

        Raises:
            PlanError: The score is no probability.
        """
        return curves.calibration(self._counted())

    def confusion_matrix(self, threshold: float = 0.5) -> pd.DataFrame:
        """Return true by predicted label, of a score at the edge nearest to a threshold, from the same release."""
        if self.matrix is not None:
            return self.matrix
        held = self._counted().whole
        cells = figures.matrix(held.values[0], held.edges.nearest(threshold)).reshape(2, 2)
        labels = [False, True]
        return pd.DataFrame(
            cells.round().astype(int), pd.Index(labels, name="true"), pd.Index(labels, name="predicted")
        )

    def plot(self, *, ax: Any = None) -> Any:
        """Draw ROC, precision-recall, distributions and, of a probability, calibration; returns the axes."""
        drawn = [self.roc, self.precision_recall, self.distribution]
        if "brier" in self.figures:
            drawn.append(self.calibration)
        targets = plot.axes(ax, len(drawn))
        for curve, target in zip(drawn, targets, strict=True):
            curve.plot(ax=target)
        return targets

    def _counted(self) -> Counts:
        if self.counts is None:
            raise PlanError("api.metrics.curve", "a predicted number has no such curve", nearest=(FORM,))
        return self.counts

    def _note(self) -> str:
        if self.counts is None:
            return "figures of predictions, from one release"
        return f"figures of a score counted in {self.counts.edges.bins} public bins per class; one release for all"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.figures:
            raise AttributeError(f"this report has no {name!r}; it has {', '.join(self.figures)}")
        return self.figures[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.figures})

    def _lines(self) -> pd.DataFrame:
        rows = []
        for name, found in self.figures.items():
            held, hidden = found.release, self.binning.get(name, 0.0)
            parts = (held.value, held.stderr, held.low, held.high, *population(found).values())
            value, error, low, high, first, last = (render.number(part, held.stderr) for part in parts)
            doubt = "unreliable" if held.unreliable else ""
            known = f"[{first}, {last}]" if first != "n/a" else "not known"
            binned = f"± {hidden:.2g}" if hidden else ""
            rows.append([name, value, f"± {error}", f"[{low}, {high}]", known, binned, doubt])
        return pd.DataFrame(
            rows, columns=["", "value", "privacy noise", "95 % of the noise", "95 % with sampling", "binning", " "]
        )

    def __repr__(self) -> str:
        body = self._lines().set_index("").to_string()
        return "\n".join([f"evaluation of {self.name}", body, *render.facts(self.release)])

    def _repr_html_(self) -> str:
        lines = self._lines()
        rows = [[html.text(cell) for cell in line] for line in lines.itertuples(index=False)]
        head = html.paragraph(html.strong(f"evaluation of {self.name}"), html.mark(self.mode, self.assurance))
        return html.block(head, html.table(list(lines.columns), rows), *map(html.note, render.facts(self.release)))


def _evaluate(
    model: Any,
    X: Frame,  # noqa: N803 (scikit-learn's names)
    y: Column,
    *,
    bins: Any = BINS,
    by: Any = None,
    threshold: float = 0.5,
    pos_label: Any = None,
) -> Ask[Report]:
    """Release everything there is to say about a model on a handle, at one price.

    Of a condition: AUC, Gini, KS, average precision, accuracy, precision and recall at a threshold, and of a
    probability log loss and Brier score, with curves. Of a closed column: accuracy and confusion matrix. Of a number:
    R2 and mean absolute error.

    Args:
        model: A fitted model.
        X: The handle with its features.
        y: The target, of the same rows.
        bins: Public bins of the score, or their edges (of a classifier of two classes probabilities).
        by: Closed columns: the figures in each of their groups too (of a condition).
        threshold: From which score on a row counts as positive.
        pos_label: The value of a closed ``y`` that is positive.

    Raises:
        PlanError: Not handles of the same rows, or a target that cannot be evaluated. Nothing was charged.
    """
    asking.check_handles(X, y, FORM, what="evaluate")
    if pos_label is None and _is_number(y):
        return _of_numbers(model.predict(X), y)
    if pos_label is None and y._term.grid.kind == "category":
        return _of_labels(model.predict(X), y)
    score, log_odds = score_of(model, X, y, pos_label)
    bins = log_odds_edges(score._term, bins) if log_odds else bins
    return evaluation(y, score, bins=bins, by=by, threshold=threshold, pos_label=pos_label)


def figure_names(model: Any, X: Frame, y: Column) -> list[str]:  # noqa: N803
    """Return which figures an evaluation has; nothing is asked."""
    if _is_number(y):
        return ["r2", "mean_absolute_error"]
    if y._term.grid.kind == "category":
        return ["accuracy"]
    score, log_odds = score_of(model, X, y)
    edges = log_odds_edges(score._term) if log_odds else edges_of(score._term)
    return [figure.name for figure in specs(edges, 0.5)]


def _is_number(y: Column) -> bool:
    return y._term.grid.kind == "number" and y._term.grid.points > 2


def evaluation(
    y: Column, score: Column, *, bins: Any = BINS, by: Any = None, threshold: float = 0.5, pos_label: Any = None
) -> counting.CountsAsk[Report]:
    """Return the question for the report of a score."""
    counting.checked(y, score, pos_label)
    made = specs(edges_of(score._term, bins=bins), threshold)

    def present(found: Counts) -> Report:
        return of_counts(found, made, y.name or "the target")

    asked = tuple((figure.name, figure.held) for figure in made if figure.name in {"roc_auc", "ks"})
    return counting.ask(y, score, present, figures=asked, bins=bins, by=by, pos_label=pos_label, what=WHAT)


def specs(edges: Edges, threshold: float) -> list[spec.Figure]:
    """Return the figures of a score; log loss and Brier score of a probability only."""
    found = [spec.roc_auc(), spec.gini(), spec.ks(), spec.average_precision()]
    if edges.reaches(threshold):
        found += [made(edges, threshold) for made in (spec.accuracy, spec.precision, spec.recall)]
    if edges.probability:
        found += [spec.log_loss(edges), spec.brier(edges)]
    return found


def of_counts(found: Counts, made: list[spec.Figure], name: str) -> Report:
    """Return the report that released counts hold."""
    whole = found.whole
    groups = None
    if found.groups is not None:
        each = [
            dataclasses.replace(found, values=found.values[place : place + 1]) for place in range(len(found.values))
        ]
        # Group by group: all figures of a group are computed from the same draws.
        lines = [{figure.name: figure.parts(one, population=False) for figure in made} for one in each]
        parts = {
            figure.name: pd.DataFrame(
                {name: np.concatenate([held[figure.name][name] for held in lines]) for name in PARTS},
                index=found.groups,
            )
            for figure in made
        }
        groups = pd.concat(parts, names=["figure"]).swaplevel(0, -1).sort_index(level=0, sort_remaining=False)
    return Report(
        name,
        {figure.name: shown_figure(figure, whole) for figure in made},
        {figure.name: figure.hidden(whole) for figure in made},
        found.fact,
        found,
        groups,
    )


def _of_numbers(prediction: Column, y: Column) -> Ask[Report]:
    grid = y._term.grid
    # What lies outside of the target's bounds is wrong for certain; held to them, the noise is that of their width.
    held = Column(prediction._rows, terms.clip(prediction._term, grid.lo * grid.step, grid.hi * grid.step), None)
    rows, rest = residual(y, held, None)
    gram = gram_of(Frame(rows, {"rest": rest, "target": y._term}))
    error = a.Mean("mean_absolute_error", terms.absolute(rest).scalar)

    def present(answer: Answer) -> Report:
        found = {"r2": views.score(gram.present(answer)), error.name: answer.scalar(error.name)}
        return Report(y.name or "the target", found, {}, answer.fact)

    share = expected.explained("r2", expected.spans(rest, y._term))
    width = float((rest.grid.hi - rest.grid.lo) * rest.grid.step) / 2
    middle = expected.mean(error.name, width, expected.ERROR)

    def expects(held: Noise) -> Expected:
        return worst([share(held.of(MEASURE)), middle(held.of(error.name))])

    return checked(Ask(rows, (*gram.measures, error), present, shown=(error.name, MEASURE)), WHAT, expects)


def _of_labels(prediction: Column, y: Column) -> Ask[Report]:
    true, found = labels(y, prediction)
    keys = {"true": true._term, "predicted": found._term}
    if keys["true"].grid.kind != keys["predicted"].grid.kind:
        raise PlanError("api.metrics.target", "the model predicts something else than this target", nearest=(FORM,))
    rows_of = same(true._rows, found._rows)

    def present(answer: Answer) -> Report:
        raw, sigma = counting.raw_counts(answer)
        rows, columns = answer.level(0), answer.level(1)
        hits = np.array([[one == two for two in columns] for one in rows])
        cells = raw.reshape(hits.shape)

        def right(values: np.ndarray) -> np.ndarray:
            whole = np.maximum(values.sum(axis=(-1, -2)), figures.LEAST)
            return np.asarray(np.clip((values * hits).sum(axis=(-1, -2)) / whole, 0.0, 1.0))

        spread = noise.spread(right, cells, noise.drawn(cells, sigma), (0.0, 1.0))
        doubt = bool(cells.sum() < 3 * noise.total_error(sigma, cells.size))
        parts = {"value": np.nan if doubt else float(right(cells)), "stderr": float(spread.stderr)}
        parts |= {"low": 0.0 if doubt else float(spread.low), "high": 1.0 if doubt else float(spread.high)}
        arrays = {name: np.array([part]) for name, part in parts.items()} | {"unreliable": np.array([doubt])}
        wide = noise.spread(right, cells, noise.sampled(cells, sigma, rows_of.schema.rows), (0.0, 1.0))
        low, high = (0.0, 1.0) if doubt else (float(min(wide.low, spread.low)), float(max(wide.high, spread.high)))
        arrays |= {"population_low": np.array([low]), "population_high": np.array([high])}
        accuracy = release.number(arrays, answer.fact, "share of the confusion matrix on its diagonal")
        table = answer.series("rows", None).unstack()
        return Report(y.name or "the target", {"accuracy": accuracy}, {}, answer.fact, matrix=table)

    cells = keys["true"].grid.points * keys["predicted"].grid.points
    return checked(Ask(rows_of, (a.Count("rows"),), present, keys), WHAT, expected.share("accuracy", cells))


evaluate: Terminal[Report] = Terminal(_evaluate)
