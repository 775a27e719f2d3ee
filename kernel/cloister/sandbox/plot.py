"""Plots of released values, always with their error bars; mock values are hatched and say so.

Whiskers are the 95 % interval of the privacy noise. A value whose noisy count is under three standard errors is drawn
hollow and marked with a question mark; a missing value is left out. Quantiles have no whiskers: their noise is one of
rank, and how many rows lie between two values is not released.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

import numpy as np
import pandas as pd

from cloister.errors import PlanError

_BLUE, _GREY = "#3b6ea5", "#9aa5b1"
_INK = "#333333"
_MANY, _LONG = 12, 40


class Plotted(Protocol):
    """Values with the ends of their intervals: a release, or a model's coefficients."""

    @property
    def value(self) -> Any:
        """A Series or DataFrame."""
        ...

    @property
    def low(self) -> Any:
        """Lower ends."""
        ...

    @property
    def high(self) -> Any:
        """Upper ends."""
        ...

    @property
    def mode(self) -> str:
        """``confidential`` or ``mock``."""
        ...

    @property
    def assurance(self) -> str:
        """What vouches for the enclave."""
        ...


class Plot:
    """``release.plot.bar()``, ``barh``, ``line``, ``hist``, ``box``: values with the 95 % interval of the noise."""

    def __init__(self, release: Plotted) -> None:
        self._release = release

    def bar(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw vertical bars; returns the matplotlib axes (a list of them for several columns)."""
        return self._draw("bar", ax, title, options)

    def barh(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw horizontal bars."""
        return self._draw("barh", ax, title, options)

    def line(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw a line with a band: for keys that have an order, such as months."""
        return self._draw("line", ax, title, options)

    def hist(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw released counts per bin as a histogram: bars that touch."""
        return self._draw("hist", ax, title, options)

    def box(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw released quantiles as boxes: needs 25 %, 50 % and 75 %; the outermost ones asked end the lines."""
        from cloister.sandbox import boxes  # noqa: PLC0415 (boxes builds on this)

        return boxes.draw(self._release, ax, title, options)

    __call__ = bar

    def scatter(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refused: a point is a person."""
        raise scattered()

    def _draw(self, kind: str, ax: Any, title: str | None, options: dict[str, Any]) -> Any:
        value = self._release.value
        if not isinstance(value, pd.Series | pd.DataFrame):
            raise PlanError(
                "api.plot",
                "a single number has no bars",
                nearest=('visits.groupby("sex").bmi.mean().release.plot.bar()',),
            )
        columns = _columns(self._release)
        targets = axes(ax, len(columns))
        for target, column in zip(targets, columns, strict=True):
            _SHAPES[kind](target, column, is_mock(self._release), options)
            finish(target, self._release, column["value"].name, title)
        return targets[0] if len(targets) == 1 else targets


def scattered() -> PlanError:
    """Return the refusal of scatter plots."""
    return PlanError(
        "api.scatter",
        "in a scatter plot every point is a person",
        clause="only released aggregates leave (release gate)",
        nearest=(
            "visits.age.corr(visits.bmi)",
            "visits.groupby(cl.cut(visits.age, [0, 25, 50, 75])).bmi.mean().release.plot.line()",
        ),
    )


def axes(ax: Any, count: int) -> list[Any]:
    """Return as many matplotlib axes as there are columns, new ones if none were given."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 (slow to import, and optional to use)

    if ax is None:
        _, made = plt.subplots(1, count, squeeze=False, figsize=(5.8 * count, 4.0))
        return list(made[0])
    targets = list(ax) if isinstance(ax, list | tuple | np.ndarray) else [ax]
    if len(targets) != count:
        raise PlanError("api.plot", f"{count} columns need as many axes", nearest=("release.plot.bar()",))
    return targets


def is_mock(release: Plotted) -> bool:
    """Whether values are invented, so that they are drawn hatched."""
    return release.mode in {"mock", "teaching"}


def finish(target: Any, release: Plotted, name: Any, title: str | None, noise: str = "") -> None:
    """Write title and caption: where the values come from, and what the whiskers are."""
    words = {"mock": "MOCK: invented values", "teaching": f"lesson, {release.assurance}"}
    mode = words.get(release.mode, f"enclave: {release.assurance}")
    target.set_title(title if title is not None else f"{words_of(name)} ({mode})".strip(), fontsize=11)
    caption = noise or "whiskers: 95 % interval (privacy noise)"
    if target.get_gid() == "unreliable":
        caption += "; ? = unreliable"
    target.text(0, -0.02, f"{mode}\n{caption}", transform=target.transAxes, fontsize=8, color="#666666", va="top")
    target.texts[-1].set_gid("caption")
    _below(target)
    for side in ("top", "right"):
        target.spines[side].set_visible(False)


def words_of(name: Any) -> str:
    """Return the name of a column as a title."""
    return "" if name is None else ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _below(target: Any) -> None:
    """Move the caption under the labels of the axis, wherever these end."""
    figure = target.figure
    figure.tight_layout()
    box = target.get_tightbbox(figure.canvas.get_renderer(), for_layout_only=True)
    lowest = min(
        (item.get_window_extent().y0 for item in (*target.get_xticklabels(), target.xaxis.label) if item.get_text()),
        default=box.y0,
    )
    height = target.get_window_extent().height
    bottom = target.get_window_extent().y0
    target.texts[-1].set_y((lowest - bottom) / height - 0.03)
    figure.tight_layout()


def _columns(release: Plotted) -> list[dict[str, Any]]:
    doubts = getattr(release, "unreliable", None)
    units = getattr(release, "units", {})
    parts = {"value": release.value, "low": release.low, "high": release.high}
    parts["unreliable"] = doubts if doubts is not None else release.value.isna()
    if isinstance(release.value, pd.Series):
        return [{**parts, "unit": _unit(units, release.value.name)}]
    return [
        {**{part: table[name] for part, table in parts.items()}, "unit": _unit(units, name)}
        for name in release.value.columns
    ]


def _unit(units: Any, name: Any) -> str:
    return str(units.get(".".join(map(str, name)) if isinstance(name, tuple) else str(name), ""))


def labels_of(index: pd.Index) -> list[str]:
    """Return the labels of cells as text; days without their time."""
    if isinstance(index, pd.DatetimeIndex):
        return [day.strftime("%Y-%m-%d") for day in index]
    return [" / ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in index]


def _ends(column: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return heights, how far the whiskers reach down and up, and which values there are."""
    value = column["value"].to_numpy(dtype=float)
    known = ~np.isnan(value)
    heights = np.where(known, value, 0.0)
    below = np.where(known, np.maximum(heights - column["low"].to_numpy(dtype=float), 0), 0)
    above = np.where(known, np.maximum(column["high"].to_numpy(dtype=float) - heights, 0), 0)
    return heights, np.nan_to_num(below), np.nan_to_num(above), known


def _bars(target: Any, column: dict[str, Any], mock: bool, options: dict[str, Any], *, flat: bool, wide: bool) -> None:
    labels = labels_of(column["value"].index)
    heights, below, above, known = _ends(column)
    places = np.arange(len(labels))
    width = 1.0 if wide else 0.72
    style = {
        "color": _GREY if mock else _BLUE, "edgecolor": "white", "error_kw": {"elinewidth": 1.3, "ecolor": _INK},
        "capsize": 0 if len(labels) > 2 * _MANY else 3, **options,
    }  # fmt: skip
    if mock:
        style.setdefault("hatch", "///")
    draw, size, error = (target.barh, "height", "xerr") if flat else (target.bar, "width", "yerr")
    bars = draw(places, heights, **{size: width, error: [below, above]}, **style)
    for place, bar in enumerate(bars):
        if known[place] and bool(column["unreliable"].iloc[place]):
            _doubt(target, bar, place, float(heights[place] + above[place]), flat=flat)
    _ticks(target, labels, flat=flat)
    _names(target, column, flat=flat)
    if flat:
        target.invert_yaxis()


def _doubt(target: Any, bar: Any, place: float, end: float, *, flat: bool) -> None:
    """Mark a value that is mostly noise: a hollow bar and a question mark."""
    bar.set_facecolor("white")
    bar.set_edgecolor("#a3243b")
    bar.set_linestyle("--")
    target.set_gid("unreliable")
    at, shift, side = (
        ((end, place), (4, 0), ("left", "center")) if flat else ((place, end), (0, 2), ("center", "bottom"))
    )
    target.annotate("?", at, shift, textcoords="offset points", color="#a3243b", ha=side[0], va=side[1], weight="bold")


def _line(target: Any, column: dict[str, Any], mock: bool, options: dict[str, Any]) -> None:
    index = column["value"].index
    heights, below, above, known = _ends(column)
    shown = np.where(known, heights, np.nan)
    places: Any = index if isinstance(index, pd.DatetimeIndex) else np.arange(len(index))
    colour = options.pop("color", _GREY if mock else _BLUE)
    target.plot(places, shown, color=colour, marker="o", markersize=4, linestyle="--" if mock else "-", **options)
    target.errorbar(places, shown, yerr=[below, above], fmt="none", ecolor=colour, elinewidth=1.1, capsize=2, alpha=0.8)
    doubts = column["unreliable"].to_numpy(dtype=bool) & known
    if doubts.any():
        target.set_gid("unreliable")
        target.plot(places[doubts], shown[doubts], "o", markerfacecolor="white", markeredgecolor="#a3243b")
        for place, height in zip(places[doubts], shown[doubts], strict=True):
            target.annotate("?", (place, height), (4, 4), textcoords="offset points", color="#a3243b", weight="bold")
    if not isinstance(index, pd.DatetimeIndex):
        _ticks(target, labels_of(index), flat=False)
    else:
        target.figure.autofmt_xdate(rotation=45)
    _names(target, column, flat=False)


def _ticks(target: Any, labels: list[str], *, flat: bool) -> None:
    every = max(1, len(labels) // (2 * _MANY))
    places = range(0, len(labels), every)
    shown = [labels[place] for place in places]
    if flat:
        target.set_yticks(list(places), shown, fontsize=7 if len(shown) > _MANY else 9)
        return
    turned = sum(map(len, shown)) > _LONG
    target.set_xticks(list(places), shown, rotation=45 if turned else 0, ha="right" if turned else "center")
    target.tick_params(axis="x", labelsize=8 if len(shown) > _MANY else 9)


def _names(target: Any, column: dict[str, Any], *, flat: bool) -> None:
    name, unit = words_of(column["value"].name), column["unit"]
    values = f"{name} ({unit})" if name and unit and name != unit else name or unit
    keys = " / ".join(str(name) for name in column["value"].index.names if name is not None)
    (target.set_xlabel if flat else target.set_ylabel)(values)
    (target.set_ylabel if flat else target.set_xlabel)(keys)


_SHAPES: dict[str, Any] = {
    "bar": lambda *args: _bars(*args, flat=False, wide=False),
    "barh": lambda *args: _bars(*args, flat=True, wide=False),
    "hist": lambda *args: _bars(*args, flat=False, wide=True),
    "line": _line,
}
