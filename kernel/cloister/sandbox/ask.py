"""A question ready to be asked (rows, measures, keys, how to present the answer), and the terminals that hold it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox.answer import Answer
from cloister.sandbox.cost import Cost
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Ask(Generic[T]):
    """Measures over rows, per cell of the keys; ``present`` turns the answer into what pandas would return."""

    rows: Rows
    measures: tuple[a.Measure, ...]
    present: Callable[[Answer], T]
    keys: dict[str, Term] = dataclasses.field(default_factory=dict)

    def plan(self, rho: str) -> a.VectorSum:
        """Return the plan at a price."""
        source, names = self.rows.keyed(self.keys)
        return a.VectorSum(source, self.measures, rho, names)

    def release(self, precision: Precision) -> T:
        """Ask the vault and present what it released."""
        return self.present(self.rows.session.release(self, precision))

    def cost(self, precision: Precision, n: float | None) -> Cost:
        """Return what the release would cost and how noisy it would be; free."""
        return self.rows.session.price(self, precision, n)


class Terminal(Generic[T]):
    """A method that spends budget when called, and tells its price with ``.cost(...)`` when not.

    Every terminal takes ``epsilon=`` (of this release), ``share=`` (of the analyst's total) or ``within=`` (half-width
    of the 95 % interval of the noise); with none of them the contract's default share is asked.
    """

    def __init__(self, method: Callable[..., Ask[T]], instance: object) -> None:
        self._build = functools.partial(method, instance)
        functools.update_wrapper(self, method)

    def __call__(
        self,
        *args: Any,
        epsilon: float | None = None,
        share: float | None = None,
        within: float | None = None,
        n: float | None = None,
        **options: Any,
    ) -> T:
        """Release the value."""
        return self._build(*args, **_known(options)).release(Precision(epsilon, share, within, n))

    def cost(
        self,
        *args: Any,
        epsilon: float | None = None,
        share: float | None = None,
        within: float | None = None,
        n: float | None = None,
        **options: Any,
    ) -> Cost:
        """Return the price and the expected standard error; nothing is spent.

        Args:
            *args: As for the terminal itself.
            epsilon: Price as an epsilon of this release.
            share: Price as a share of the analyst's total.
            within: Price as the wished half-width of the 95 % interval.
            n: Rows you expect behind a mean; its standard error depends on it.
            **options: As for the terminal itself.
        """
        return self._build(*args, **_known(options)).cost(Precision(epsilon, share, within, n), n)

    def __repr__(self) -> str:
        return f"<{self.__name__}: call it to release, or .cost() for its price>"  # type: ignore[attr-defined]


class terminal(Generic[T]):  # noqa: N801 (a decorator)
    """Make a method that returns an ``Ask`` into a terminal of its object."""

    def __init__(self, method: Callable[..., Ask[T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> terminal[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Terminal[T]: ...
    def __get__(self, instance: object | None, owner: type) -> Terminal[T] | terminal[T]:
        if instance is None:
            return self
        return Terminal(self._method, instance)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """Drop what NumPy adds when ``np.mean(column)`` is called; refuse what would change the meaning."""
    kept = {name: value for name, value in options.items() if name not in {"axis", "dtype", "out"}}
    if (
        options.get("axis") not in {None, 0, "index"}
        or options.get("dtype") is not None
        or options.get("out") is not None
    ):
        raise PlanError(
            "api.axis",
            "sums run over rows (axis=0) and come back as they are (no dtype=, no out=)",
            nearest=("(visits.a + visits.b).mean()",),
        )
    return kept
