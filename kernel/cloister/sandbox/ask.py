"""A question ready to be asked (rows, measures, keys, how to present the answer), and the terminals that hold it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import companions
from cloister.sandbox import naming
from cloister.sandbox.answer import Answer, Shown
from cloister.sandbox.cost import Cost
from cloister.sandbox.precision import Precision
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Ask(Generic[T]):
    """Measures over rows, per cell of the keys; ``present`` turns the answer into what pandas would return."""

    rows: Rows
    measures: tuple[a.Measure, ...]
    present: Callable[[Answer], T]
    keys: dict[str, Term] = dataclasses.field(default_factory=dict)
    shown: tuple[Shown, ...] = ()
    """What is shown of the measures, where that is not each of them: errors are stated and asked of these."""

    def plan(self, rho: str) -> a.Plan:
        """Return the plan at a price, with the companions of its measures (``plan/companions.py``)."""
        session, shown = self.rows.session, [measure.name for measure in self.measures]
        if len(set(shown)) != len(shown):
            twice = next(name for name in shown if shown.count(name) > 1)
            raise PlanError(
                "plan.name",
                f"two of the measures would be shown as {twice!r}",
                next_step="give the columns other labels, or ask for them one at a time",
            )
        asked = [self.measures[place] for place in naming.in_order(self.measures)]
        beside = companions.companions(asked, self.rows.schema, session.about.cards)
        plan = self._plan((*asked, *beside), rho)
        return plan if companions.fits(plan, session.about.cards) else self._plan(tuple(asked), rho)

    def as_asked(self, plan: Any) -> Any:
        """Return a plan of this question with its measures called as the analyst calls them."""
        names = [self.measures[place].name for place in naming.in_order(self.measures)]
        asked = (
            msgspec.structs.replace(measure, name=name) for measure, name in zip(plan.measures, names, strict=False)
        )
        return msgspec.structs.replace(plan, measures=(*asked, *plan.measures[len(names) :]))

    def _plan(self, wanted: tuple[a.Measure, ...], rho: str) -> a.VectorSum:
        found = naming.named(wanted)
        source, names = self.rows.asked(self.keys, found)
        return a.VectorSum(source, found, rho, names)

    def release(self, precision: Precision) -> T:
        """Ask the vault and present what it released."""
        return self.present(self.rows.session.release(self, precision))

    def cost(self, precision: Precision) -> Cost:
        """Return what the release would cost and how noisy it would be; free."""
        return self.rows.session.price(self, precision)


class ArgumentsError(PlanError, TypeError):
    """Arguments that a terminal does not take; also a ``TypeError``, as in Python."""


class Terminal(Generic[T]):
    """A method that spends budget when called, and tells its price with ``.cost(...)`` when not.

    Every terminal takes ``epsilon=`` (of this release), ``share=`` (of the analyst's total) or ``within=`` (half-width
    of the 95 % interval of the noise); with none of them the contract's default share is asked.
    """

    def __init__(self, build: Callable[..., Ask[T]], *first: object) -> None:
        self._build = functools.partial(build, *first)
        functools.update_wrapper(self, build)
        self.__signature__ = _signature(inspect.signature(self._build))

    def __call__(self, *args: Any, **options: Any) -> T:
        """Release the value."""
        wish, rest = _wish(options)
        return self._asked(args, rest).release(wish)

    def cost(self, *args: Any, **options: Any) -> Cost:
        """Return the price and the expected standard error; nothing is spent.

        Takes what the terminal takes. ``n=`` is the number of rows you expect behind a mean: its error depends on it.
        """
        wish, rest = _wish(options)
        return self._asked(args, rest).cost(wish)

    def _asked(self, args: tuple[Any, ...], options: dict[str, Any]) -> Ask[T]:
        name = self.__name__.lstrip("_")  # type: ignore[attr-defined]
        _fit(name, inspect.signature(self._build), args, options, shown=self.__signature__)
        return self._build(*args, **options)

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


def checked(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a method refuse arguments that do not fit with an ``ArgumentsError``; ``name`` is what the analyst calls."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)
        own = signature.replace(parameters=list(signature.parameters.values())[1:])

        @functools.wraps(method)
        def call(*args: P.args, **options: P.kwargs) -> R:
            _fit(name, own, args[1:], options, shown=own)
            return method(*args, **options)

        return call

    return decorate


def _fit(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any], *, shown: inspect.Signature
) -> None:
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise ArgumentsError(
            "api.arguments", f"{name}: {error}", next_step=f"it is called as {name}{_plain(shown)}"
        ) from None


def _plain(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature without its types."""
    empty = inspect.Parameter.empty
    parts = [part.replace(annotation=empty) for part in signature.parameters.values()]
    return inspect.Signature(parts)


_PRECISION = ("epsilon", "share", "within", "n")


def _signature(built: inspect.Signature) -> inspect.Signature:
    """What ``?`` and Tab show: the terminal's own parameters, and how precise it shall be."""
    kinds = inspect.Parameter
    own = [part for part in built.parameters.values() if part.kind is not kinds.VAR_KEYWORD]
    rest = [part for part in built.parameters.values() if part.kind is kinds.VAR_KEYWORD]
    asked = [kinds(name, kinds.KEYWORD_ONLY, default=None) for name in _PRECISION if name not in built.parameters]
    return inspect.Signature([*own, *asked, *rest])


def _wish(options: dict[str, Any]) -> tuple[Precision, dict[str, Any]]:
    """Split the options of a terminal into the precision asked and what pandas would take.

    NumPy's own options (``np.mean(column)`` adds them) are dropped where they say nothing, and refused otherwise.
    """
    rest = dict(options)
    # `n` is also a likely name of an aggregate: agg(n=("age", "count")).
    n = rest.pop("n", None) if isinstance(rest.get("n"), numbers.Real) else None
    wish = Precision(rest.pop("epsilon", None), rest.pop("share", None), rest.pop("within", None), n)
    axis, dtype, out = (rest.pop(name, None) for name in ("axis", "dtype", "out"))
    if axis not in (None, 0, "index") or dtype is not None or out is not None:
        raise PlanError(
            "api.axis",
            "sums run over rows (axis=0) and come back as they are (no dtype=, no out=)",
            nearest=("(visits.age + visits.cost).mean()",),
        )
    return wish, rest
