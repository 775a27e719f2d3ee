"""Plots of released tables, always with their error bars; mock values are hatched and say so."""

from __future__ import annotations

from typing import Any, Protocol

import pandas as pd

from cloister.errors import PlanError


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
    """``release.plot.bar()`` and ``release.plot.barh()``: bars are values, whiskers the 95 % interval of the noise."""

    def __init__(self, release: Plotted) -> None:
        self._release = release

    def bar(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw vertical bars; returns the matplotlib axes (an array of them for several columns)."""
        return self._draw("bar", ax, title, options)

    def barh(self, *, ax: Any = None, title: str | None = None, **options: Any) -> Any:
        """Draw horizontal bars."""
        return self._draw("barh", ax, title, options)

    __call__ = bar

    def _draw(self, kind: str, ax: Any, title: str | None, options: dict[str, Any]) -> Any:
        import matplotlib.pyplot as plt  # noqa: PLC0415 (slow to import, and optional to use)

        value = self._release.value
        if not isinstance(value, pd.Series | pd.DataFrame):
            raise PlanError(
                "api.plot",
                "a single number has no bars",
                nearest=('visits.groupby("sex").bmi.mean().release.plot.bar()',),
            )
        columns = [value] if isinstance(value, pd.Series) else [value[name] for name in value.columns]
        lows, highs = self._release.low, self._release.high
        ends = (
            [(lows, highs)] if isinstance(value, pd.Series) else [(lows[name], highs[name]) for name in value.columns]
        )
        if ax is None:
            _, axes = plt.subplots(1, len(columns), squeeze=False, figsize=(5.5 * len(columns), 3.8))
            targets = list(axes[0])
        else:
            targets = list(ax) if isinstance(ax, list | tuple) else [ax]
        if len(targets) != len(columns):
            raise PlanError("api.plot", f"{len(columns)} columns need as many axes")
        for target, column, (low, high) in zip(targets, columns, ends, strict=True):
            _bars(target, kind, column, low, high, mock=self._release.mode in {"mock", "teaching"}, options=options)
            target.set_title(title if title is not None else self._title(column.name))
        targets[0].figure.tight_layout()
        return targets[0] if len(targets) == 1 else targets

    def _title(self, name: Any) -> str:
        assurance = self._release.assurance
        words = {"mock": "MOCK, invented values", "teaching": f"lesson, {assurance}"}
        mode = words.get(self._release.mode, f"enclave: {assurance}")
        return f"{'' if name is None else name} ({mode})\nwhiskers: 95 % of the privacy noise"


def _bars(
    target: Any, kind: str, column: pd.Series, low: pd.Series, high: pd.Series, *, mock: bool, options: dict[str, Any]
) -> None:
    labels = [" / ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in column.index]
    heights = column.fillna(0).to_numpy(dtype=float)
    known = column.notna().to_numpy()
    below = [max(value - end, 0) if ok else 0 for value, end, ok in zip(heights, low, known, strict=True)]
    above = [max(end - value, 0) if ok else 0 for value, end, ok in zip(heights, high, known, strict=True)]
    style = {"color": "#9aa5b1" if mock else "#3b6ea5", "capsize": 4, **options}
    if mock:
        style.setdefault("hatch", "//")
        style.setdefault("edgecolor", "white")
    error = "yerr" if kind == "bar" else "xerr"
    getattr(target, kind)(labels, heights, **{error: [below, above]}, **style)
    (target.set_ylabel if kind == "bar" else target.set_xlabel)(str(column.name or ""))
    names = [str(name) for name in column.index.names if name is not None]
    (target.set_xlabel if kind == "bar" else target.set_ylabel)(" / ".join(names))
    if kind == "bar" and max(map(len, labels), default=0) * len(labels) > 40:
        target.tick_params(axis="x", rotation=45)
