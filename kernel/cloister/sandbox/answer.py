"""An answer: shaped values on this side of the gate, with the facts of the release they came from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from cloister.contract.card import Card
from cloister.contract.rights import EVERYTHING, Rights
from cloister.plan import algebra
from cloister.plan.combine import Answered
from cloister.plan.layout import Layout
from cloister.plan.shape import COUNTED, Shaped, ShapedMeasure, shape
from cloister.sandbox import more
from cloister.sandbox.precision import Charged
from cloister.sandbox.terms import Term

PARTS = (
    "value", "stderr", "low", "high", "unreliable",
    "clipped", "clipped_low", "clipped_high", "capped", "capped_low", "capped_high",
    "population_low", "population_high",
)  # fmt: skip
"""What is known of every value; the rest of a row after ``unreliable`` is NaN where it does not apply."""
Shown = str | tuple[str, ...]
"""A measure by name, or how a value is computed from several: ``("sem", std, count)``."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One answer a value rests on: its plan, its raw integers and their noise, and its receipt."""

    plan: algebra.Plan
    answered: Answered
    receipt: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is known about a release besides its values.

    ``rho``, ``epsilon`` and ``share`` are the largest of its ``accounts``. ``parts`` are the answers it rests on
    (several, if it was refined), ``ask`` the question for who refines it, and ``paid`` the share of the budget that the
    last of them took. ``notes`` say what storage limited or left out.
    """

    release: str
    plan: algebra.Plan
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
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    accounts: tuple[Charged, ...] = ()
    rights: Rights = EVERYTHING
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Answer:
    """Shaped measures over the cells of the keys; builds the pandas objects a terminal returns.

    ``plan`` is the plan that was run, with its measures called as the analyst calls them.
    """

    shaped: Shaped
    layout: Layout
    fact: Fact
    keys: tuple[tuple[str, Term], ...]

    raw: tuple[int, ...]
    sigmas: tuple[float, ...]
    cards: Mapping[str, Card]
    plan: algebra.Plan

    def measure(self, name: str) -> ShapedMeasure:
        """Return one measure by its name in the plan; a quantile of several by name and level."""
        return next(found for found in self.shaped.measures if found.name == name)

    def index(self) -> Any:
        """Return the cells as pandas names them: a category, or a product of the keys."""
        levels = [self.level(position) for position in range(len(self.keys))]
        if len(levels) == 1:
            return levels[0]
        return pd.MultiIndex.from_product(levels, names=[name for name, _ in self.keys])

    def level(self, position: int) -> Any:
        """Return the values of one key as pandas shows them."""
        name, term = self.keys[position]
        return _level(name, term, self.shaped.keys[position].labels)

    def margin(self, kept: Sequence[int]) -> Answer:
        """Return the answer over some of the keys only: the released integers of the other keys' cells added up.

        Post-processing, so free. The noise of a sum of k cells is that of one cell times the root of k.
        """
        keys = self.shaped.keys
        sizes = [len(key.labels) for key in keys]
        gone = tuple(position for position in range(len(keys)) if position not in kept)
        # Whole numbers of Python: sums of cells need not fit 64 bits.
        numbers = np.array(self.raw, dtype=object).reshape(*sizes, self.layout.width).sum(axis=gone)
        grown = math.sqrt(math.prod(sizes[position] for position in gone))
        plan = msgspec.structs.replace(self.plan, keys=tuple(self.plan.keys[position] for position in kept))
        held = [keys[position] for position in kept]
        frame = msgspec.structs.replace(self.layout, keys=tuple(held), cells=math.prod(len(key.labels) for key in held))
        raw, sigmas = [int(value) for value in numbers.reshape(-1)], [sigma * grown for sigma in self.sigmas]
        shaped = shape(plan, self.cards, raw, sigmas)
        return dataclasses.replace(
            self, shaped=shaped, layout=frame, keys=tuple(self.keys[position] for position in kept), raw=tuple(raw),
            sigmas=tuple(sigmas), plan=plan,
        )  # fmt: skip

    def scalar(self, name: Shown) -> Any:
        """Return the only value of a measure as a number that carries its release."""
        from cloister.sandbox import release  # noqa: PLC0415 (release builds on answers)

        return release.number(self._parts(name), self.fact)

    def series(self, name: Shown, label: Any) -> Any:
        """Return a measure over the cells."""
        return self.bind(lambda values: pd.Series(values[name], self.index(), name=label), [name])

    def row(self, columns: Mapping[Any, Shown], label: Any = None) -> Any:
        """Return several measures without keys, labelled."""
        return self.bind(
            lambda values: pd.Series([values[name][0] for name in columns.values()], list(columns), name=label),
            list(columns.values()),
        )

    def frame(self, columns: Mapping[Any, Shown]) -> Any:
        """Return several measures over the cells, one labelled column each."""

        def build(values: Mapping[Shown, np.ndarray]) -> pd.DataFrame:
            table = pd.DataFrame(
                {position: values[name] for position, name in enumerate(columns.values())}, self.index()
            )
            labels = list(columns)
            tuples = bool(labels) and all(isinstance(label, tuple) for label in labels)
            table.columns = pd.MultiIndex.from_tuples(labels) if tuples else pd.Index(labels)
            return table

        return self.bind(build, list(columns.values()))

    def bind(self, build: Callable[[Mapping[Shown, np.ndarray]], Any], names: list[Shown], derived: str = "") -> Any:
        """Return what ``build`` makes of the values of some parts, bound to the release with errors and intervals."""
        from cloister.sandbox import release  # noqa: PLC0415 (release builds on answers)

        parts = {name: self._parts(name) for name in names}
        objects = {part: build({name: found[part] for name, found in parts.items()}) for part in PARTS}
        return release.bind(objects, self.fact, derived)

    def _parts(self, name: Shown) -> dict[str, np.ndarray]:
        if isinstance(name, tuple):
            return _COMPUTED[name[0]](*(self._parts(item) for item in name[1:]))
        found = self.measure(name)
        values = np.asarray(found.values, dtype=float)
        parts = {
            "value": values,
            "stderr": np.asarray(found.stderr, dtype=float),
            "low": np.asarray(found.low, dtype=float),
            "high": np.asarray(found.high, dtype=float),
            "unreliable": np.asarray(found.unreliable, dtype=bool),
            **more.parts(self, name),
        }
        if found.kind == "quantile":
            # As in pandas for an empty group.
            parts["value"] = np.where(parts["unreliable"], np.nan, values)
            return parts
        part = next(item for item in self.layout.measures if item.name == name)
        main = self.layout.components[part.components[0]]
        if found.kind in COUNTED or (found.kind == "sum" and main.step.denominator == 1):
            parts["value"] = values.astype(np.int64)
        if found.kind in {"variance", "std", "covariance", "correlation"}:
            # As in pandas for an empty group; where it is unreliable the interval is everything that is possible.
            parts["value"] = np.where(parts["unreliable"], np.nan, values)
        if found.kind == "mean":
            # A noisy count near zero says nothing about a mean: pandas shows an empty group as NaN, so do we.
            low, high = (float(main.offset) + float(main.step) * end for end in (main.lo, main.hi))
            nothing = parts["unreliable"] & (parts["low"] <= low) & (parts["high"] >= high)
            parts["value"] = np.where(nothing, np.nan, values)
        return parts


def _standard_error(spread: dict[str, np.ndarray], count: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``std / sqrt(n)``: the error of a mean by sampling; the noise of both by the delta method."""
    size = np.maximum(count["value"].astype(float), 1.0)
    value = spread["value"] / np.sqrt(size)
    error = np.hypot(spread["stderr"] / np.sqrt(size), value * count["stderr"] / (2 * size))
    return {
        "value": value,
        "stderr": error,
        "low": spread["low"] / np.sqrt(np.maximum(count["high"], 1.0)),
        "high": spread["high"] / np.sqrt(np.maximum(count["low"], 1.0)),
        "unreliable": spread["unreliable"],
        **{part: spread[part] for part in PARTS if part.startswith(("clipped", "capped"))},
        **dict.fromkeys(("population_low", "population_high"), np.full(len(value), np.nan)),
    }


_COMPUTED: dict[str, Callable[..., dict[str, np.ndarray]]] = {"sem": _standard_error}


def _level(name: str, term: Term, labels: tuple[Any, ...]) -> Any:
    if term.grid.kind == "category":
        if term.freq:
            return pd.DatetimeIndex(list(term.labels), name=name, freq=term.freq)
        shown = list(term.labels or labels)
        return pd.CategoricalIndex(shown, categories=shown, ordered=False, name=name)
    if term.grid.kind == "date":
        return pd.DatetimeIndex(list(labels), name=name)
    return pd.Index(list(labels), name=name)
