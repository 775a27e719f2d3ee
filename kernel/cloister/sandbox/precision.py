"""How precise a release shall be: ``epsilon=``, ``share=`` or ``within=``, turned into the rho a plan carries.

The plan carries rho only; the conversions are the public functions of ``plan/precision.py``, so anybody can repeat
them. With nothing said the contract's default share of the analyst's total is asked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec

from cloister.errors import PlanError
from cloister.plan.gaussian import half_width
from cloister.plan.precision import RHO_GRID, epsilon_of_rho, rho_of_epsilon, rho_of_share
from cloister.sandbox import literals

NORMAL_95 = 1.959964
_CLOSE = 1e-9


class Account(msgspec.Struct, frozen=True):
    """The privacy budget of one population, as ``describe`` states it (rho as exact fractions)."""

    population: str
    broker: str
    rho_total: str
    rho_analyst: str
    default_rho: str
    epsilon: str
    delta: str
    delta_keys: str = "0"

    @property
    def delta_conversion(self) -> Fraction:
        """The part of delta at which rho is converted to epsilon; threshold keys may spend the rest."""
        return Fraction(self.delta) - Fraction(self.delta_keys)

    @property
    def shown_delta(self) -> str:
        """The same for people: as the contract writes it where no delta is kept for keys."""
        return f"{float(self.delta_conversion):.3g}" if Fraction(self.delta_keys) else self.delta

    @property
    def mine(self) -> Fraction:
        """All rho this analyst may ever spend on the population."""
        return Fraction(self.rho_analyst)

    def epsilon_of(self, rho: Fraction) -> float:
        """Return the epsilon one release of ``rho`` amounts to, at the account's delta."""
        return float(epsilon_of_rho(rho, self.delta_conversion))

    def charged(self, rho: Fraction) -> Charged:
        """Return what paying ``rho`` means here."""
        return Charged(self.population, self.broker, rho, self.epsilon_of(rho), self.share_of(rho))

    def share_of(self, rho: Fraction) -> float:
        """Return ``rho`` as a share of the analyst's total."""
        return float(rho / self.mine) if self.mine else 0.0


@dataclasses.dataclass(frozen=True)
class Reach:
    """How precise a release is at one price, and so at any: noise falls with the root of rho.

    Attributes:
        rho: The price.
        whole: Noise scale and step of every count and sum that is shown: their noise is of whole steps.
        expected: Expected standard error of everything else that is shown.
    """

    rho: Fraction
    whole: tuple[tuple[float, float], ...]
    expected: tuple[float, ...]

    def at(self, rho: Fraction) -> float:
        """Return the largest half-width of a 95 % interval at another price."""
        factor = math.sqrt(self.rho / rho)
        whole = [half_width(sigma * factor) * step for sigma, step in self.whole]
        return max([*whole, *(NORMAL_95 * error * factor for error in self.expected)])

    def rho_for(self, within: float) -> Fraction:
        """Return the least price (by a part in 10^8) at which no half-width is more than ``within``."""
        factors = [_widest(math.floor(within / step * (1 + _CLOSE))) / sigma for sigma, step in self.whole]
        factors += [within / (NORMAL_95 * error) for error in self.expected]
        return self.rho / Fraction(min(factors)) ** 2 * Fraction(1 + _CLOSE)


@lru_cache(maxsize=256)
def _widest(reach: int) -> float:
    """Return the largest noise scale, from below, of which 95 % is within ``reach``."""
    low, high = 0.1, reach / 1.5 + 1.0
    while high - low > high * _CLOSE:
        middle = (low + high) / 2
        low, high = (middle, high) if half_width(middle) <= reach else (low, middle)
    return low


@dataclasses.dataclass(frozen=True)
class Charged:
    """What one account pays for a release: rho, the epsilon that is worth there, and the share of its part for you."""

    population: str
    broker: str
    rho: Fraction
    epsilon: float
    share: float


@dataclasses.dataclass(frozen=True)
class Precision:
    """What the analyst asked for; at most one of the three."""

    epsilon: Any = None
    share: Any = None
    within: Any = None
    n: Any = None

    def rho(self, account: Account, reach_at: Callable[[Fraction], Reach]) -> Fraction:
        """Return the rho to ask.

        Args:
            account: The budget of the population asked about.
            reach_at: How precise a release is at a given rho (used for ``within`` only).

        Raises:
            PlanError: More than one wish, one out of range, or a half-width that takes more than the whole budget.
        """
        if sum(wish is not None for wish in (self.epsilon, self.share, self.within)) > 1:
            raise PlanError("api.precision", "ask for one of epsilon=, share= and within=")
        if self.epsilon is not None:
            return rho_of_epsilon(literals.fraction(self.epsilon), account.delta_conversion)
        if self.share is not None:
            return rho_of_share(literals.fraction(self.share), account.mine)
        default = Fraction(account.default_rho)
        if self.within is None:
            return default
        if literals.fraction(self.within) <= 0:
            raise PlanError("api.precision", "within= is a half-width above zero")
        reach = reach_at(default)
        rho = Fraction(math.ceil(reach.rho_for(float(self.within)) * RHO_GRID), RHO_GRID)
        if rho > account.mine:
            raise PlanError(
                "api.within",
                f"within={float(self.within):g} takes more than your whole budget of this population",
                next_step=f"all of it reaches {reach.at(account.mine):.3g}; ask for less, for fewer cells, or for "
                "narrower bounds",
            )
        return rho


def text(rho: Fraction) -> str:
    """Return rho as the plan writes it."""
    return str(rho.numerator) if rho.denominator == 1 else f"{rho.numerator}/{rho.denominator}"
