"""Too little epsilon: what the noise would do to an answer, said with the price and before anything is paid.

A question that is charged for a model or a figure is ``Checked``: it says what its noise comes to in the words of its
reader (``Expected``: a weight to about so many log odds) and from which error on that is of use. What it says it from
is public: the noise that a price buys, bounds and declared sizes, or the rows the analyst says there are. An error is
stated for the best that could be, all rows that are declared; whoever has fewer knows less.

``Cost.doubts`` holds what is too little, so ``.cost(...)`` shows it. ``release`` says it as a ``UserWarning`` before it
asks; what makes several releases says it of all of them before the first (``said``), with the price of the whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from fractions import Fraction
from typing import NamedTuple, TypeVar

from cloister.plan.layout import Layout
from cloister.sandbox import cost as prices
from cloister.sandbox.ask import Ask
from cloister.sandbox.cost import Cost
from cloister.sandbox.precision import Account, Precision

T = TypeVar("T")
_ROUNDS = 60
ENOUGH = 0.95
"""What is said to be needed is a little more: some errors are simulated, and prices are rounded."""
_OURS = ("cloister.", "contextlib")
_quiet: ContextVar[bool] = ContextVar("cloister_doubts_said", default=False)


@dataclasses.dataclass(frozen=True)
class Noise:
    """What is public of a release before it is made.

    Attributes:
        layout: What it consists of.
        stderr: Standard error of every component, in the unit of its measure.
        sigmas: Noise scale of every component, in its integers.
        rows: The most rows there can be, or as many as the analyst says.
        measure: Of several measures the one that is meant.
    """

    layout: Layout
    stderr: tuple[float, ...]
    sigmas: tuple[float, ...]
    rows: float
    measure: str = ""

    @property
    def error(self) -> float:
        """The largest expected standard error of the measures; of a mean, at an even part of the rows per cell."""
        found = prices.expected_errors(self.layout, list(self.stderr), max(self.rows / self.layout.cells, 1.0))
        return found[self.measure] if self.measure else max(found.values())

    def of(self, measure: str) -> Noise:
        """Return the noise of one measure of several."""
        return dataclasses.replace(self, measure=measure)

    def times(self, factor: float) -> Noise:
        """Return so many times the noise."""
        stderr, sigmas = (tuple(value * factor for value in part) for part in (self.stderr, self.sigmas))
        return dataclasses.replace(self, stderr=stderr, sigmas=sigmas)


class Expected(NamedTuple):
    """What noise comes to.

    Attributes:
        error: The expected standard error, in any unit.
        most: The largest error that is of use, in the same.
        text: What would be known, and about how well: ``a weight would be known to about ± 12 log odds``.
        helps: What would do beside more epsilon: ``fewer features``.
    """

    error: float
    most: float
    text: str
    helps: str


Expects = Callable[[Noise], Expected]


@dataclasses.dataclass(frozen=True)
class Doubt:
    """A price at which something is not known well enough to be of use.

    Attributes:
        what: What is asked for: ``a LogisticRegression``.
        expected: See ``Expected``.
        rows: At how many rows, in words.
        needed: How many times the price would do.
        account: The account that prices are told in.
        rho: The price.
        whole: Whether it is that of several releases together.
    """

    what: str
    expected: Expected
    rows: str
    needed: float
    account: Account
    rho: Fraction
    whole: bool = False

    def __str__(self) -> str:
        """What is expected at this price, and what would do instead."""
        account, whole = self.account, " of all together" if self.whole else ""
        first = f"epsilon {number(account.epsilon_of(self.rho))}{whole} is too little for {self.what}: "
        first += self.expected.text
        wanted = self.rho * math.ceil(self.needed * 1_000) / 1_000
        if wanted > account.mine:
            most = f"epsilon {number(account.epsilon_of(account.mine))}"
            return f"{first}, {self.rows}. Not even your whole total ({most}) is enough; try {self.expected.helps}"
        better, part = _up(account.epsilon_of(wanted)), number(100 * account.share_of(wanted))
        needed = f"At least epsilon={better:g}{whole} is needed ({part} % of your total)"
        return f"{first}, {self.rows}. {needed}, or {self.expected.helps}"


@dataclasses.dataclass(frozen=True)
class Checked(Ask[T]):
    """A question whose price says whether its answer would be of use.

    Attributes:
        what: What is asked for.
        expects: What its noise comes to.
        most: The most rows there can be; by default those of the relation, by the sizes that are declared.
    """

    what: str = dataclasses.field(kw_only=True)
    expects: Expects = dataclasses.field(kw_only=True)
    most: int | None = dataclasses.field(kw_only=True, default=None)

    def release(self, precision: Precision) -> T:
        """Ask the vault; before that, and before anything is paid, warn of a price that is too little."""
        if not _quiet.get():
            warn(self.cost(precision))
        return super().release(precision)

    def cost(self, precision: Precision) -> Cost:
        """Return the price, the expected errors, and whether it is too little."""
        return self.doubted(super().cost(precision), precision)

    def doubted(self, found: Cost, precision: Precision) -> Cost:
        """Return a price with what is too little about it."""
        if found.layout is None:
            raise ValueError("the price of one question says what it consists of")
        stated = prices.check_n(precision.n)
        if stated is None:
            rows = float(self.most or self.rows.schema.limit)
            at = f"even if all {rows:,.0f} rows that are declared were there"
        else:
            # Of a mean, those behind each.
            rows = stated * (found.cells if prices.needs_n(found.layout) else 1)
            at = f"at {rows:,.0f} rows"
        noise = Noise(found.layout, found.stderrs, found.sigmas, rows)
        expected = self.expects(noise)
        if expected.error <= expected.most:
            return found
        account = self.rows.session.tightest(self.rows.tables)
        needed, rho = _needed(self.expects, noise, expected), _paid(found, account)
        return dataclasses.replace(found, doubts=(Doubt(self.what, expected, at, needed, account, rho),))


def checked(ask: Ask[T], what: str, expects: Expects, most: int | None = None) -> Checked[T]:
    """Return a question that says whether its answer would be of use."""
    return Checked(ask.rows, ask.measures, ask.present, ask.keys, ask.shown, what=what, expects=expects, most=most)


def together(costs: Sequence[Cost], *, whole: bool) -> tuple[Doubt, ...]:
    """Return the doubts of several releases: of everything that is asked for the worst.

    Args:
        costs: Their prices.
        whole: Whether one price is said for all of them: then that is what would have to be more.
    """
    worst: dict[str, Doubt] = {}
    for doubt in (found for cost in costs for found in cost.doubts):
        if doubt.what not in worst or doubt.needed > worst[doubt.what].needed:
            worst[doubt.what] = doubt
    if not whole:
        return tuple(worst.values())
    most = max((doubt.needed for doubt in worst.values()), default=1.0)
    return tuple(
        dataclasses.replace(
            doubt, needed=most, rho=sum((_paid(cost, doubt.account) for cost in costs), Fraction(0)), whole=True
        )
        for doubt in worst.values()
    )


def warn(cost: Cost) -> None:
    """Say what is too little about a price, at the line of the analyst that asks."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame = frame.f_back
    # A cell's file is one of the kernel's, of no use to its reader and another one every time.
    name = "cell" if "ipykernel" in frame.f_code.co_filename else frame.f_code.co_filename
    for doubt in cost.doubts:
        # A registry of its own: said each time that something would be paid, not once per line.
        warnings.warn_explicit(str(doubt), UserWarning, name, frame.f_lineno, registry={})


@contextlib.contextmanager
def said(cost: Cost) -> Iterator[None]:
    """Say what is too little about the price of several releases, and then nothing more while they are made."""
    if not _quiet.get():
        warn(cost)
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def number(value: float) -> str:
    """Return a number with two digits that mean something."""
    if not 100 <= value < 1e12:
        return f"{value:.2g}"
    return f"{round(value, 1 - math.floor(math.log10(value))):,.0f}"


def _paid(cost: Cost, account: Account) -> Fraction:
    """Return what an account pays."""
    return next(
        (one.rho for one in cost.accounts if (one.population, one.broker) == (account.population, account.broker)),
        cost.rho,
    )


def _needed(expects: Expects, noise: Noise, expected: Expected) -> float:
    """Return how many times the price would do: noise falls with its root, and errors mostly with the noise."""

    def useful(factor: float) -> bool:
        found = expects(noise.times(factor))
        return found.error <= ENOUGH * found.most

    low = ENOUGH * expected.most / expected.error * (1 - 1e-9)
    high = 1.0 if not useful(low) else low
    for _ in range(_ROUNDS):
        if useful(low):
            break
        low, high = low * 0.5, low
    for _ in range(_ROUNDS if high > low else 0):
        if high < 1.05 * low:
            break
        middle = math.sqrt(low * high)
        low, high = (middle, high) if useful(middle) else (low, middle)
    return 1 / low**2


def _up(value: float) -> float:
    """Return a number rounded up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.2g}")


def worst(expectations: Sequence[Expected]) -> Expected:
    """Return the one that is farthest from being of use."""
    return max(expectations, key=lambda found: found.error / found.most)
