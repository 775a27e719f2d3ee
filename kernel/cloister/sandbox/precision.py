"""How precise a release shall be: ``epsilon=``, ``share=`` or ``within=``, turned into the rho a plan carries.

The plan carries rho only; the conversions are the public functions of ``plan/precision.py``, so anybody can repeat
them. With nothing said the contract's default share of the analyst's total is asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec

from cloister.errors import PlanError
from cloister.plan.precision import RHO_GRID, epsilon_of_rho, rho_of_epsilon, rho_of_share
from cloister.sandbox import literals

NORMAL_95 = 1.959964


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

    def rho(self, account: Account, stderr_at: Callable[[Fraction], float]) -> Fraction:
        """Return the rho to ask.

        Args:
            account: The budget of the population asked about.
            stderr_at: The standard error a release has at a given rho (used for ``within`` only).

        Raises:
            PlanError: More than one wish, or one out of range.
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
        # The standard error falls with the square root of rho.
        factor = NORMAL_95 * stderr_at(default) / float(self.within)
        return max(Fraction(1, RHO_GRID), Fraction(round(float(default) * factor**2 * RHO_GRID), RHO_GRID))


def text(rho: Fraction) -> str:
    """Return rho as the plan writes it."""
    return str(rho.numerator) if rho.denominator == 1 else f"{rho.numerator}/{rho.denominator}"
