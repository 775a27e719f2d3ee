"""Pivot tables: released cells side by side, with margins made of those cells.

Margins are post-processing of the same release: of counts and sums they are the sums of the cells as shown; of means,
variances and their like they are computed from the sums of the cells' released integers. Margins of quantiles and of
numbers of people cannot be made of cells (one person can stand in several) and are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import measures, release
from cloister.sandbox.answer import PARTS, Answer, Shown
from cloister.sandbox.ask import Ask
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

NOTE = "margins are computed from the released cells"


def pivot(
    rows: Rows,
    keys: tuple[Mapping[str, Term], Mapping[str, Term]],
    items: Mapping[tuple[Any, ...], tuple[str, Term | None]],
    margins: str | None,
) -> Ask[pd.DataFrame]:
    """Ask for aggregates per cell of two sets of keys.

    Args:
        rows: Of the table.
        keys: Those that stand as rows, and those as columns (may be none).
        items: Aggregates by the labels that stand above the columns' keys.
        margins: The label of the margins, or None.

    Raises:
        PlanError: Margins that cannot be made of cells.
    """
    found, names = measures.collect({" ".join(map(str, label)) or "size": item for label, item in items.items()})
    if margins is not None:
        _addable(found)
    summed = {item.name for item in found if isinstance(item, a.Count | a.Sum)}
    down = len(keys[0])

    def present(answer: Answer) -> Any:
        labels = [_labels(answer, position, margins) for position in range(len(answer.keys))]
        index = _index(labels[:down], list(keys[0]), margins)
        columns = _columns(list(items), labels[down:], list(keys[1]), margins)
        blocks = [_block(answer, part, down, summed, margins is not None) for part in names.values()]
        tables = {part: pd.DataFrame(np.hstack([block[part] for block in blocks]), index, columns) for part in PARTS}
        return release.bind(tables, answer.fact, "" if margins is None else NOTE)

    return Ask(rows, found, present, {**keys[0], **keys[1]})


def _block(answer: Answer, part: Shown, down: int, summed: set[str], margins: bool) -> dict[str, np.ndarray]:
    """Return the cells of one aggregate, rows by columns, with its margins."""
    sizes = [len(key.labels) for key in answer.shaped.keys]
    shape = (math.prod(sizes[:down]), math.prod(sizes[down:]))
    cells = {name: values.reshape(shape) for name, values in answer._parts(part).items()}
    if not margins:
        return cells
    added = part in summed
    foot = _margin(answer, part, range(down, len(sizes)), (1, shape[1]), cells["value"].sum(0, keepdims=True), added)
    if len(sizes) == down:
        return {name: np.vstack([cells[name], foot[name]]) for name in PARTS}
    end = _margin(answer, part, range(down), (shape[0], 1), cells["value"].sum(1, keepdims=True), added)
    whole = _margin(answer, part, (), (1, 1), cells["value"].sum(keepdims=True), added)
    return {name: np.block([[cells[name], end[name]], [foot[name], whole[name]]]) for name in PARTS}


def _margin(  # noqa: PLR0917 (one call site, in this order)
    answer: Answer, part: Shown, kept: Sequence[int], shape: tuple[int, int], shown: np.ndarray, added: bool
) -> dict[str, np.ndarray]:
    found = {name: values.reshape(shape) for name, values in answer.margin(kept)._parts(part).items()}
    if added:
        # The sum of what is shown: counts under zero are shown as zero, so the interval reaches up to it.
        found |= {"value": shown, "high": np.maximum(found["high"], shown)}
    return found


def _labels(answer: Answer, position: int, margins: str | None) -> list[Any]:
    labels = list(answer.level(position))
    return labels if margins is None else [str(label) if isinstance(label, bool) else label for label in labels]


def _index(labels: list[list[Any]], names: list[str], margins: str | None) -> Any:
    cells = list(product(*labels))
    if margins is not None:
        cells.append((margins, *[""] * (len(names) - 1)))
    if len(names) == 1:
        return pd.Index([cell[0] for cell in cells], name=names[0])
    return pd.MultiIndex.from_tuples(cells, names=names)


def _columns(tops: list[tuple[Any, ...]], labels: list[list[Any]], names: list[str], margins: str | None) -> Any:
    cells = list(product(*labels))
    if margins is not None and names:
        cells.append((margins, *[""] * (len(names) - 1)))
    found = [(*top, *cell) for top in tops for cell in cells]
    levels = [None] * len(tops[0]) + names
    if len(levels) == 1:
        return pd.Index([label[0] for label in found], name=levels[0])
    return pd.MultiIndex.from_tuples(found, names=levels)


def _addable(found: tuple[a.Measure, ...]) -> None:
    for item in found:
        if isinstance(item, a.Quantile | a.Units):
            what = "a quantile" if isinstance(item, a.Quantile) else "a number of people"
            raise PlanError(
                "api.margins",
                f"the margin of {what} cannot be made of released cells",
                nearest=('visits.pivot_table("cost", "sex", "region", aggfunc="mean", margins=True)',),
            )
