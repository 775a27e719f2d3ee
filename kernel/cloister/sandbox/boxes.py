"""Boxes from released quantiles: the middle half as a box, the outermost quantiles asked as ends of the lines."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import plot

_MIDDLE = (0.25, 0.5, 0.75)
_CAPTION = "boxes: {low:g}, 25, 50, 75 and {high:g} % quantiles (privacy noise in their ranks)"


def draw(release: Any, ax: Any, title: str | None, options: dict[str, Any]) -> Any:
    """Draw one box per column or group.

    Raises:
        PlanError: The release does not hold the 25 %, 50 % and 75 % quantiles.
    """
    table = _table(release.value)
    if table is None or not set(_MIDDLE) <= set(table.columns):
        raise PlanError(
            "api.plot",
            "boxes are drawn of released quantiles, 25 %, 50 % and 75 % among them",
            nearest=(
                'visits.groupby("sex").bmi.quantile([0.05, 0.25, 0.5, 0.75, 0.95]).release.plot.box()',
                "visits.bmi.plot.box()",
            ),
        )
    target = plot.axes(ax, 1)[0]
    low, high = min(table.columns), max(table.columns)
    boxes = [
        {"whislo": row[low], "q1": row[0.25], "med": row[0.5], "q3": row[0.75], "whishi": row[high], "label": name}
        for name, row in zip(plot.labels_of(table.index), (row for _, row in table.iterrows()), strict=True)
        if not row.isna().any()
    ]
    mock = plot.is_mock(release)
    found = target.bxp(boxes, showfliers=False, patch_artist=True, widths=0.5, **options)
    for box in found["boxes"]:
        box.set(facecolor="#c9d1d9" if mock else "#a9c4e2", edgecolor="#333333", hatch="///" if mock else None)
    for line in found["medians"]:
        line.set(color="#a3243b", linewidth=2)
    name = plot.words_of(getattr(release.value, "name", None))
    unit = next(iter(release.units.values()), "") if len(set(release.units.values())) == 1 else ""
    target.set_ylabel(f"{name} ({unit})" if unit and name else name or unit)
    plot.finish(target, release, name, title, _CAPTION.format(low=100 * low, high=100 * high))
    return target


def _table(value: Any) -> pd.DataFrame | None:
    """Return quantiles as columns, one row per group or column, if the values are quantiles of numbers."""
    if isinstance(value, pd.Series) and isinstance(value.index, pd.MultiIndex):
        found = value.unstack()
    elif isinstance(value, pd.Series):
        found = value.to_frame(value.name or "value").T
    elif isinstance(value, pd.DataFrame):
        found = value.T
    else:
        return None
    numeric = all(isinstance(label, float) and 0 < label < 1 for label in found.columns)
    return found.astype(float).rename_axis(columns=None) if numeric else None
