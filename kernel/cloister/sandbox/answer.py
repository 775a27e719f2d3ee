"""An answer: shaped values on this side of the gate, with the facts of the release they came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cloister.plan import algebra
from cloister.plan.combine import Answered
from cloister.plan.layout import Layout
from cloister.plan.shape import Shaped, ShapedMeasure
from cloister.sandbox.terms import Term

PARTS = ("value", "stderr", "low", "high", "unreliable")


@dataclasses.dataclass(frozen=True)
class Part:
    """One answer a value rests on: its plan, its raw integers and their noise, and its receipt."""

    plan: algebra.VectorSum
    answered: Answered
    receipt: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is known about a release besides its values.

    ``parts`` are the answers it rests on (several, if it was refined), ``ask`` the question for who refines it, and
    ``paid`` the share of the budget that the last of them took.
    """

    release: str
    plan: algebra.VectorSum
    plan_digest: str
    charge_id: str
    rho: Fraction
    epsilon: float
    share: float
    recalled: bool
    mode: str
    assurance: str
    receipt: dict[str, Any] | None
    parts: tuple[Part, ...] = ()
    ask: Any = None
    paid: float | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """Shaped measures over the cells of the keys; builds the pandas objects a terminal returns."""

    shaped: Shaped
    layout: Layout
    fact: Fact
    keys: tuple[tuple[str, Term], ...]

    def measure(self, name: str) -> ShapedMeasure:
        """Return one measure by its name in the plan."""
        return next(found for found in self.shaped.measures if found.name == name)

    def index(self) -> Any:
        """Return the cells as pandas names them: a category, or a product of the keys."""
        levels = [_level(name, term, key.labels) for (name, term), key in zip(self.keys, self.shaped.keys, strict=True)]
        if len(levels) == 1:
            return levels[0]
        return pd.MultiIndex.from_product(levels, names=[name for name, _ in self.keys])

    def scalar(self, name: str) -> Any:
        """Return the only value of a measure as a number that carries its release."""
        from cloister.sandbox import release  # noqa: PLC0415 (release builds on answers)

        return release.number(self._parts(name), self.fact)

    def series(self, name: str, label: Any) -> Any:
        """Return a measure over the cells."""
        return self._bind(lambda values: pd.Series(values[name], self.index(), name=label), [name])

    def row(self, columns: Mapping[Any, str], label: Any = None) -> Any:
        """Return several measures without keys, labelled."""
        return self._bind(
            lambda values: pd.Series([values[name][0] for name in columns.values()], list(columns), name=label),
            list(columns.values()),
        )

    def frame(self, columns: Mapping[Any, str]) -> Any:
        """Return several measures over the cells, one labelled column each."""

        def build(values: Mapping[str, np.ndarray]) -> pd.DataFrame:
            table = pd.DataFrame(
                {position: values[name] for position, name in enumerate(columns.values())}, self.index()
            )
            labels = list(columns)
            tuples = bool(labels) and all(isinstance(label, tuple) for label in labels)
            table.columns = pd.MultiIndex.from_tuples(labels) if tuples else pd.Index(labels)
            return table

        return self._bind(build, list(columns.values()))

    def _bind(self, build: Callable[[Mapping[str, np.ndarray]], Any], names: list[str]) -> Any:
        from cloister.sandbox import release  # noqa: PLC0415 (release builds on answers)

        parts = {name: self._parts(name) for name in names}
        objects = {part: build({name: found[part] for name, found in parts.items()}) for part in PARTS}
        return release.bind(objects, self.fact)

    def _parts(self, name: str) -> dict[str, np.ndarray]:
        found = self.measure(name)
        values = np.asarray(found.values, dtype=float)
        part = next(item for item in self.layout.measures if item.name == name)
        main = self.layout.components[part.components[0]]
        whole = found.kind == "count" or (found.kind == "sum" and main.step.denominator == 1)
        parts = {
            "value": values.astype(np.int64) if whole else values,
            "stderr": np.asarray(found.stderr, dtype=float),
            "low": np.asarray(found.low, dtype=float),
            "high": np.asarray(found.high, dtype=float),
            "unreliable": np.asarray(found.unreliable, dtype=bool),
        }
        if found.kind == "mean":
            # A noisy count near zero says nothing about a mean: pandas shows an empty group as NaN, so do we.
            low, high = (float(main.offset) + float(main.step) * end for end in (main.lo, main.hi))
            nothing = parts["unreliable"] & (parts["low"] <= low) & (parts["high"] >= high)
            parts["value"] = np.where(nothing, np.nan, values)
        return parts


def _level(name: str, term: Term, labels: tuple[Any, ...]) -> Any:
    if term.grid.kind == "category":
        shown = list(term.labels or labels)
        return pd.CategoricalIndex(shown, categories=shown, ordered=False, name=name)
    if term.grid.kind == "date":
        return pd.DatetimeIndex(list(labels), name=name)
    return pd.Index(list(labels), name=name)
