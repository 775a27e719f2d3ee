"""``cl.rehearsal()``: what this mock kernel's releases would cost on real data, as *Promote* estimates it.

Every release counts once, however often it was asked. Releases that were paid earlier are counted too, although
recalling them is free: a mock kernel does not know them. ``cloister run --mock`` prints the same for a notebook.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pandas as pd

from cloister.errors import RefusedError
from cloister.sandbox.session import Session


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """The price of everything asked since this mock kernel started.

    Attributes:
        releases: How many different releases.
        rho: zCDP by population.
        epsilon: What that amounts to at the contract's delta, by population.
        share: The part (0..1) of the analyst's total, by population.
    """

    releases: int
    rho: dict[str, Fraction]
    epsilon: dict[str, float]
    share: dict[str, float]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per population."""
        columns = {"epsilon": self.epsilon, "share": self.share}
        return pd.DataFrame(columns, index=pd.Index(list(self.rho), name="population"))

    def __repr__(self) -> str:
        price = "; ".join(
            f"{100 * self.share[name]:.2g} % of {name} (epsilon {self.epsilon[name]:.3g})" for name in self.rho
        )
        count = f"{self.releases} release{'' if self.releases == 1 else 's'}"
        return f"MOCK: {count} so far; on real data they would cost {price or 'nothing'}"


def rehearsal(session: Session) -> Rehearsal:
    """Return what was rehearsed in this kernel.

    Raises:
        RefusedError: ``api.rehearsal``: a confidential kernel rehearses nothing.
    """
    if not session.mock:
        raise RefusedError(
            "api.rehearsal",
            "this kernel releases; nothing in it is a rehearsal",
            next_step="cl.budget() shows what is spent; pick the mock kernel of this contract to rehearse",
        )
    rho: dict[str, Fraction] = {}
    for charges in session.rehearsed.values():
        for charge in charges:
            rho[charge.population] = rho.get(charge.population, Fraction(0)) + Fraction(charge.rho)
    accounts = {account.population: account for account in session.about.budgets}
    return Rehearsal(
        releases=len(session.rehearsed),
        rho=rho,
        epsilon={name: accounts[name].epsilon_of(spent) for name, spent in rho.items()},
        share={name: accounts[name].share_of(spent) for name, spent in rho.items()},
    )
