"""Released values on this side: ordinary numbers and pandas objects, with the facts of their release beside them.

A scalar is a ``float`` or ``int`` that knows its release; arithmetic on it gives plain numbers. Series and DataFrames
are plain pandas; the ``.release`` accessor finds the release they came from and answers only while the values are
still the released ones (a selection keeps it, ``table * 2`` does not).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import OrderedDict
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from cloister.errors import CloisterError, PlanError
from cloister.sandbox.answer import PARTS, Fact
from cloister.sandbox.plot import Plot

if TYPE_CHECKING:
    from cloister.contract.rights import Rights
    from cloister.sandbox.refine import Refine

_ATTRIBUTE = "cloister.release"
_MAX_KNOWN = 10_000
_OWN = PARTS[:5]
_numbers = itertools.count(1)
_known: OrderedDict[str, Release] = OrderedDict()


class Interval(NamedTuple):
    """A 95 % interval: of the privacy noise, or of noise and sampling error."""

    low: float
    high: float


class Share(NamedTuple):
    """A share of the rows behind a value, with its 95 % interval of the noise; each in the shape of the value."""

    share: Any
    low: Any
    high: Any

    def __repr__(self) -> str:
        if isinstance(self.share, pd.Series | pd.DataFrame):
            return "\n".join(f"{name}:\n{part!r}" for name, part in self._asdict().items())
        if self.share != self.share:
            return "not known"
        return f"{100 * self.share:.2f} % [{100 * self.low:.2f} %, {100 * self.high:.2f} %]"


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Release:
    """One release: values, errors and facts. Everything in it has passed the gate.

    Attributes:
        value: The released value, Series or DataFrame.
        stderr: Standard error of the privacy noise, in the same shape.
        low: Lower end of the 95 % interval of the noise.
        high: Upper end.
        unreliable: True where the noisy count is under three of its standard errors.
        fact: Plan, price, receipt and mode.
        derived: How the values were computed from released ones, if they were.
        more: What else is known of every value, by name, in the same shape; see ``answer.PARTS``.
    """

    value: Any
    stderr: Any
    low: Any
    high: Any
    unreliable: Any
    fact: Fact
    derived: str = ""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def clipped(self) -> Share:
        """The share of the values behind each value that storage limited to the bounds or domain of the card.

        NaN where the value depends on no such column, or was computed from others.
        """
        return self._share("clipped")

    @property
    def capped(self) -> Share:
        """The share of the rows behind each value that are of units that had more rows than are kept."""
        return self._share("capped")

    @property
    def notes(self) -> tuple[str, ...]:
        """What storage limited or left out of this release, where it is more than noise: its values may be biased."""
        return self.fact.notes

    @property
    def rho(self) -> Fraction:
        """The zCDP price of the release, exact."""
        return self.fact.rho

    @property
    def epsilon(self) -> float:
        """The epsilon this release alone amounts to at the contract's delta."""
        return self.fact.epsilon

    @property
    def share(self) -> float:
        """The price as a share of the analyst's total budget."""
        return self.fact.share

    @property
    def cost(self) -> float:
        """What this call was charged, as a share of the analyst's total: nothing if recalled or mock."""
        last = self.share if self.fact.paid is None else self.fact.paid
        return 0.0 if self.recalled or self.mode == "mock" else last

    @property
    def recalled(self) -> bool:
        """Whether the same question was answered before: same answer, no charge."""
        return self.fact.recalled

    @property
    def mode(self) -> str:
        """``confidential`` or ``mock``."""
        return self.fact.mode

    @property
    def assurance(self) -> str:
        """What vouches for the enclave: ``simulated``, or a TEE's name."""
        return self.fact.assurance

    @property
    def receipt(self) -> dict[str, Any] | None:
        """The signed receipt (a DSSE envelope); mock values have none."""
        return self.fact.receipt

    @property
    def units(self) -> Mapping[str, str]:
        """Units of measure by measure, from the data card."""
        return self.fact.units

    @property
    def plan_digest(self) -> str:
        """The digest of the plan that was run."""
        return self.fact.plan_digest

    @property
    def rights(self) -> Rights:
        """What may be done with the value: the meet of the contract and of every table and column it was made of."""
        return self.fact.rights

    @property
    def receipts(self) -> tuple[dict[str, Any], ...]:
        """The receipts of every answer the value rests on: more than one if it was refined."""
        return tuple(part.receipt for part in self.fact.parts if part.receipt is not None)

    @property
    def refine(self) -> Refine:
        """The whole answer again, more precise, for the difference in price; ``.cost()`` tells it first."""
        from cloister.sandbox.refine import Refine  # noqa: PLC0415 (only when refined)

        return Refine(self.fact)

    def interval(self, *, population: bool = False) -> Any:
        """Return the 95 % interval of the privacy noise: a pair, or a table with ``low`` and ``high``.

        Args:
            population: Of a mean, a rate or a figure of a score: for the population that the people in the data were
                drawn from, so with the error of sampling added. Free. It does not hold the bias of clipped values or
                left out rows.

        Raises:
            PlanError: ``api.population``: a value that is no mean.
        """
        low, high = (self.low, self.high) if not population else self._population()
        if isinstance(self.value, pd.DataFrame):
            return pd.concat({"low": low, "high": high}, axis=1).swaplevel(0, 1, axis=1)[list(self._ends())]
        if isinstance(self.value, pd.Series):
            return pd.DataFrame({"low": low, "high": high})
        return Interval(float(low), float(high))

    def _population(self) -> tuple[Any, Any]:
        low, high = (self.more.get(f"population_{end}") for end in ("low", "high"))
        if low is None or high is None or not np.isfinite(np.asarray(low, dtype=float)).any():
            raise PlanError(
                "api.population",
                "what the value of the population may be is known of means and rates only, and of figures of scores",
                nearest=(
                    "visits.bmi.mean().release.interval(population=True)",
                    "(visits.age >= 65).mean().release.interval(population=True)",
                ),
            )
        return low, high

    def _share(self, kind: str) -> Share:
        nothing = self.stderr * np.nan
        return Share(*(self.more.get(f"{kind}{end}", nothing) for end in ("", "_low", "_high")))

    def table(self) -> pd.DataFrame:
        """Return values, errors and intervals side by side, one row per released value."""
        parts = {"value": self.value, "stderr": self.stderr, "low": self.low, "high": self.high}
        parts["unreliable"] = self.unreliable
        if isinstance(self.value, pd.DataFrame):
            return pd.DataFrame({name: part.stack(future_stack=True) for name, part in parts.items()})
        if isinstance(self.value, pd.Series):
            return pd.DataFrame(parts)
        return pd.DataFrame({name: [part] for name, part in parts.items()})

    @property
    def plot(self) -> Plot:
        """Plots with error bars: ``release.plot.bar()``."""
        return Plot(self)

    def select(self, rows: pd.Index, columns: pd.Index | None) -> Release:
        """Return the part of a tabular release at these labels."""

        def cut(part: Any) -> Any:
            return part.reindex(rows) if columns is None else part.reindex(index=rows, columns=columns)

        return self._each(cut)

    def column(self, label: Any, rows: pd.Index) -> Release:
        """Return one column of a release of a DataFrame."""
        return self._each(lambda part: part[label].reindex(rows))

    def line(self, label: Any, columns: pd.Index) -> Release:
        """Return one row of a release of a DataFrame."""
        return self._each(lambda part: part.loc[label].reindex(columns))

    def _each(self, cut: Any) -> Release:
        parts = {name: cut(getattr(self, name)) for name in _OWN}
        return dataclasses.replace(self, **parts, more={name: cut(part) for name, part in self.more.items()})

    def _ends(self) -> list[Any]:
        return [
            (*(label if isinstance(label, tuple) else (label,)), end)
            for label in self.value.columns
            for end in ("low", "high")
        ]

    def __repr__(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.release_text(self)

    def _repr_html_(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.release_html(self)


class ReleasedFloat(float):
    """A released number. It is a float; ``release`` has its error, interval, price and receipt."""

    release: Release

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(_short(self.release))

    def __reduce__(self) -> Any:
        return float, (float(self),)


class ReleasedInt(int):
    """A released whole number (a count, or a sum of whole numbers)."""

    release: Release

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(_short(self.release))

    def __reduce__(self) -> Any:
        return int, (int(self),)


@pd.api.extensions.register_series_accessor("release")
@pd.api.extensions.register_dataframe_accessor("release")
class _Accessor:
    """``table.release``: the release a pandas object came from, or a clear refusal."""

    def __new__(cls, obj: Any) -> Any:
        found = _known.get(str(obj.attrs.get(_ATTRIBUTE)))
        part = None if found is None else _part(found, obj)
        if part is None:
            raise NotReleasedError(
                "release.derived",
                "these values are not those of a release: they were computed from one, or never came from the vault",
                next_step="ask the table the vault returned: g = visits.groupby('sex').bmi.mean(); g.release",
            )
        return part


class NotReleasedError(CloisterError, AttributeError):
    """Also an ``AttributeError``: ``hasattr(table, "release")`` tells released tables from others."""


def number(parts: Mapping[str, np.ndarray], fact: Fact, derived: str = "") -> ReleasedFloat | ReleasedInt:
    """Return one released number with its release."""
    value = parts["value"][0]
    found = ReleasedInt(value) if np.issubdtype(parts["value"].dtype, np.integer) else ReleasedFloat(value)
    found.release = _made({name: part[0].item() for name, part in parts.items()}, fact, derived)
    return found


def bind(objects: Mapping[str, Any], fact: Fact, derived: str = "") -> Any:
    """Return ``objects["value"]`` (a Series or DataFrame) bound to a release of all its parts."""
    value = objects["value"]
    token = f"{fact.release}#{next(_numbers)}"
    value.attrs[_ATTRIBUTE] = token
    _known[token] = _made({**objects, "value": value.copy()}, fact, derived)
    while len(_known) > _MAX_KNOWN:
        _known.popitem(last=False)
    return value


def reshape(value: Any, change: Any) -> Any:
    """Return a bound object after ``change`` (sorting, renaming) was applied to all its parts."""
    found: Release = value.release
    parts = {
        name: change(part) for name, part in [*((name, getattr(found, name)) for name in _OWN), *found.more.items()]
    }
    return bind(parts, found.fact, found.derived)


def _made(parts: Mapping[str, Any], fact: Fact, derived: str = "") -> Release:
    own = {name: parts[name] for name in _OWN}
    more = {name: parts[name] for name in PARTS if name in parts and name not in own}
    return Release(**own, fact=fact, derived=derived, more=more)


def _part(found: Release, obj: Any) -> Release | None:
    """Return the part of a release that ``obj`` shows unchanged, if it does."""
    whole = found.value
    try:
        if isinstance(obj, pd.DataFrame):
            part = found.select(obj.index, obj.columns) if isinstance(whole, pd.DataFrame) else None
        elif isinstance(whole, pd.Series):
            part = found.select(obj.index, None)
        elif obj.name in whole.columns:
            part = found.column(obj.name, obj.index)
        else:
            part = found.line(obj.name, obj.index)
    except (KeyError, TypeError, IndexError):
        return None
    if part is None or np.shape(part.value) != obj.shape:
        return None
    same = (part.value.to_numpy() == obj.to_numpy()) | (part.value.isna().to_numpy() & obj.isna().to_numpy())
    return part if bool(np.all(same)) else None


def _short(release: Release) -> str:
    from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

    return render.number_text(release)
