"""ROC, precision-recall, calibration and KS curves: tables with 95 % intervals of the noise, and their plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cloister.sandbox import plot, render
from cloister.sandbox.answer import Fact
from cloister.sandbox.ask import Ask, Terminal
from cloister.sandbox.learn.metrics import counts as asking
from cloister.sandbox.learn.metrics import figures, noise, spec
from cloister.sandbox.learn.metrics.counts import Counts
from cloister.sandbox.learn.metrics.edges import BINS, edges_of
from cloister.sandbox.learn.metrics.scores import probability
from cloister.sandbox.precision import NORMAL_95
from cloister.sandbox.release import Release

_COLOURS, _MOCK = ("#3b6ea5", "#a3243b"), ("#9aa5b1", "#5f6b78")
_RED = "#a3243b"
_BAND = "bands: 95 % interval (privacy noise)"


@dataclasses.dataclass(frozen=True, repr=False)
class Curve:
    """A curve of a score.

    Attributes:
        name: What it is.
        table: Its points, one line each, with the ends of their intervals.
        axes: The columns drawn along and up.
        lines: Columns drawn, and what they are called; their bands are ``<column> low`` and ``<column> high``.
        note: How it was computed.
        doubtful: Whether a class does not stand out of the noise.
        fact: Price, receipt and mode of the release.
    """

    name: str
    table: pd.DataFrame
    axes: tuple[str, str]
    lines: Mapping[str, str]
    note: str
    doubtful: bool
    fact: Fact

    @property
    def mode(self) -> str:
        """``confidential`` or ``mock``."""
        return self.fact.mode

    @property
    def assurance(self) -> str:
        """What vouches for the enclave."""
        return self.fact.assurance

    @property
    def value(self) -> pd.Series:
        """The heights of the curve."""
        return self.table[next(iter(self.lines))]

    @property
    def low(self) -> pd.Series:
        """Lower ends of their intervals."""
        return self.table[f"{next(iter(self.lines))} low"]

    @property
    def high(self) -> pd.Series:
        """Upper ends of their intervals."""
        return self.table[f"{next(iter(self.lines))} high"]

    @property
    def release(self) -> Release:
        """The facts of the release, with the heights of the curve as its values."""
        doubt = pd.Series(self.doubtful, self.table.index)
        # Half of a 95 % interval is about two standard errors.
        error = (self.high - self.low) / (2 * NORMAL_95)
        return Release(self.value, error, self.low, self.high, doubt, self.fact, self.note)

    def plot(self, *, ax: Any = None, title: str | None = None) -> Any:
        """Draw the curve with the band of the noise; returns the matplotlib axes."""
        (target,) = plot.axes(ax, 1)
        mock = plot.is_mock(self)
        along = self.table[self.axes[0]].to_numpy()
        for colour, (name, label) in zip(_MOCK if mock else _COLOURS, self.lines.items(), strict=False):
            low, high = (self.table[f"{name} {end}"].to_numpy() for end in ("low", "high"))
            target.fill_between(along, low, high, color=colour, alpha=0.25, linewidth=0, hatch="///" if mock else None)
            marker = "o" if len(along) <= 20 else ""
            line = target.plot(
                along, self.table[name].to_numpy(), color=colour, marker=marker, markersize=4, label=label
            )
            line[0].set_linestyle("--" if mock else "-")
        if "chance" in self.table:
            target.plot(along, self.table["chance"].to_numpy(), color="#999999", linewidth=0.8, linestyle=":")
        if len(self.lines) > 1:
            target.legend(frameon=False, fontsize=8)
        target.set_xlabel(self.axes[0])
        target.set_ylabel(self.axes[1])
        if self.doubtful:
            target.set_gid("unreliable")
            target.annotate("?", (0.5, 0.5), xycoords="axes fraction", color=_RED, fontsize=24, ha="center")
        plot.finish(target, self, self.name, title, _BAND)
        return target

    def __repr__(self) -> str:
        body = self.table.to_string(float_format="{:.4g}".format, max_rows=20)
        doubt = ["NOT RELIABLE: a class does not stand out of the noise"] if self.doubtful else []
        return "\n".join([self.name, *doubt, body, *render.facts(self.release)])

    def _repr_html_(self) -> str:
        from cloister.sandbox import html  # noqa: PLC0415 (only when shown)

        doubt = html.badge("not reliable", _RED) if self.doubtful else ""
        head = html.paragraph(html.strong(self.name), html.mark(self.mode, self.assurance), doubt)
        table = self.table.to_html(float_format="{:.4g}".format, max_rows=20)
        return html.block(head, table, *map(html.note, render.facts(self.release)))


def roc(found: Counts) -> Curve:
    """Return the ROC curve: thresholds from high to low."""
    counts, tables = _drawn(found)
    shares, many = figures.above(counts), figures.above(tables)
    data = {"threshold": _thresholds(found)}
    for place, name in enumerate(("false positive rate", "true positive rate")):
        data |= _banded(name, shares[:, place], many[..., place])
    table = pd.DataFrame(data)
    table["chance"] = table["false positive rate"]
    axes = ("false positive rate", "true positive rate")
    return _curve("ROC curve", found, table, axes, {"true positive rate": "score"})


def precision_recall(found: Counts) -> Curve:
    """Return the precision-recall curve: thresholds from high to low."""
    counts, tables = _drawn(found)
    data = {"threshold": _thresholds(found)[1:]}
    data |= _banded("recall", figures.above(counts)[1:, 1], figures.above(tables)[:, 1:, 1])
    data |= _banded("precision", figures.precisions(counts), figures.precisions(tables), rises=False)
    table = pd.DataFrame(data)
    table["chance"] = float(figures.precisions(counts)[-1])
    return _curve("precision-recall curve", found, table, ("recall", "precision"), {"precision": "score"})


def ks_curve(found: Counts) -> Curve:
    """Return both classes' distribution functions over the score; KS is their largest distance."""
    counts, tables = _drawn(found)
    data = {"score": np.append(found.edges.lows, found.edges.highs[-1])}
    shares, many = figures.above(counts), figures.above(tables)
    for place, name in enumerate(("negatives", "positives")):
        data |= _banded(name, 1 - shares[::-1, place], 1 - many[:, ::-1, place])
    lines = {"negatives": "negatives", "positives": "positives"}
    return _curve("distribution of the score", found, pd.DataFrame(data), ("score", "share below"), lines)


def calibration(found: Counts, groups: int = 10) -> Curve:
    """Return predicted and observed rates in groups of neighbouring bins."""
    counts, tables = _drawn(found)
    edges = probability(found.edges)
    place = np.minimum((edges.middles * groups).astype(int), groups - 1)
    place = np.unique(place, return_inverse=True)[1]
    rate = figures.observed(counts, place)
    spread = noise.spread(lambda c: figures.observed(c, place), counts, tables, (0.0, 1.0))
    rows = np.array([counts[place == group].sum() for group in range(place.max() + 1)])
    held = np.maximum(counts.sum(axis=1), 1e-9)
    predicted = np.array([np.average(edges.middles[place == g], weights=held[place == g]) for g in range(len(rows))])
    table = pd.DataFrame(
        {
            "predicted": predicted,
            "observed": rate,
            "observed low": spread.low,
            "observed high": spread.high,
            "rows": rows,
            "chance": predicted,
        }
    )
    # A group that the noise could have made says nothing about a rate.
    least = 3 * np.array([noise.total_error(found.sigma, 2 * int((place == g).sum())) for g in range(len(rows))])
    table.loc[rows < least, ["observed"]] = np.nan
    table.loc[rows < least, ["observed low", "observed high"]] = [0.0, 1.0]
    note = "the middle of its bin stands for each score; groups under three standard errors of their noise are left out"
    return _curve("calibration", found, table, ("predicted", "observed"), {"observed": "score"}, note=note)


def _curve(
    name: str, found: Counts, table: pd.DataFrame, axes: tuple[str, str], lines: Mapping[str, str], *, note: str = ""
) -> Curve:
    made = f"from counts per class in {found.edges.bins} public bins of the score"
    if not note:
        note = "bands are those of each point alone; points rise as the curve must"
    return Curve(name, table, axes, lines, f"{made}; {note}", bool(found.whole.doubtful[0]), found.fact)


def _drawn(found: Counts) -> tuple[np.ndarray, np.ndarray]:
    whole = found.whole
    return whole.values[0], noise.drawn(whole.values[0], whole.sigma)


def _thresholds(found: Counts) -> np.ndarray:
    # As in scikit-learn: above every score there is nobody.
    return np.append(found.edges.lows, np.inf)[::-1]


def _banded(name: str, values: np.ndarray, tables: np.ndarray, *, rises: bool = True) -> dict[str, np.ndarray]:
    low, high = np.percentile(tables, (2.5, 97.5), axis=0)
    low, high = np.minimum(low, 2 * values - high), np.maximum(high, 2 * values - low)
    shown = figures.rising(values) if rises else np.clip(values, 0, 1)
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    return {name: shown, f"{name} low": np.minimum(low, shown), f"{name} high": np.maximum(high, shown)}


def _asked(
    y: Any, score: Any, made: Any, figure: tuple[str, noise.Statistic], *, bins: Any, pos_label: Any
) -> Ask[Curve]:
    name, values = figure
    held = (name, lambda counts: np.clip(values(counts), 0.0, 1.0))
    return asking.ask(y, score, made, figures=(held,), bins=bins, pos_label=pos_label)


def _roc_curve(y: Any, score: Any, *, bins: Any = BINS, pos_label: Any = None) -> Ask[Curve]:
    """Release the ROC curve of a score; ``.plot()`` draws it, ``.table`` has its points. See ``roc_auc``."""
    return _asked(y, score, roc, ("roc_curve", figures.above), bins=bins, pos_label=pos_label)


def _precision_recall_curve(y: Any, score: Any, *, bins: Any = BINS, pos_label: Any = None) -> Ask[Curve]:
    """Release the precision-recall curve of a score; see ``roc_curve``."""
    figure = ("precision_recall_curve", spec.average_precision().value)
    return _asked(y, score, precision_recall, figure, bins=bins, pos_label=pos_label)


def _distribution(y: Any, score: Any, *, bins: Any = BINS, pos_label: Any = None) -> Ask[Curve]:
    """Release the distribution functions of a score in both classes; see ``roc_curve``."""
    return _asked(y, score, ks_curve, ("ks_curve", figures.above), bins=bins, pos_label=pos_label)


def _calibration(y: Any, score: Any, *, groups: int = 10, bins: Any = BINS, pos_label: Any = None) -> Ask[Curve]:
    """Release predicted and observed rates in ``groups`` of a probability; see ``roc_curve``."""
    asking.checked(y, score, pos_label)
    edges = probability(edges_of(score._term, bins=bins))
    place = np.minimum((edges.middles * groups).astype(int), groups - 1)
    place = np.unique(place, return_inverse=True)[1]
    figure = ("calibration_curve", lambda c: figures.observed(c, place))
    return _asked(y, score, lambda found: calibration(found, groups), figure, bins=bins, pos_label=pos_label)


roc_curve: Terminal[Curve] = Terminal(_roc_curve)
precision_recall_curve: Terminal[Curve] = Terminal(_precision_recall_curve)
ks_distribution: Terminal[Curve] = Terminal(_distribution)
calibration_curve: Terminal[Curve] = Terminal(_calibration)
