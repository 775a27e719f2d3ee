"""What the vault's exits have in common: what is allowed, what is asked, what is executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from cloister.plan import algebra as a
from cloister.plan.link import Context
from cloister.receipt.ledger import ExitEntry
from cloister.receipt.receipt import ExitStatement
from cloister.vault.analyse import Analysis
from cloister.vault.config import Terms
from cloister.vault.deadline import GRACE_S
from cloister.vault.engine import Engine
from cloister.vault.permits import Grant
from cloister.vault.price import Price
from cloister.vault.question import Asked


class Allowed(NamedTuple):
    """What a clause of the contract allows: tables, the clause's position, the plan analysed, the planned cost.

    An answer that is late leaves ``grace_s`` after the planned time; ``counts_late``: it is one of few (``faults.py``).
    """

    grant: Grant
    clause: int
    analysis: Analysis
    price: Price
    grace_s: float = GRACE_S
    counts_late: bool = True


class Outside(Asked, frozen=True):
    """An exit that may be asked. ``salt`` opens the commitment that its receipt carries instead of the plan."""

    plan: a.Exit
    analysis: Analysis
    leaves: ExitEntry
    salt: bytes
    secret: bytes


class Executed(NamedTuple):
    """What an exit gave: what its receipt states, and, given the statement that stands, what goes to the asker."""

    statement: ExitStatement
    result: Callable[[ExitStatement], dict[str, Any]]


class Way(Protocol):
    """One kind of exit."""

    def allow(self, plan: Any, context: Context, terms: Terms) -> Allowed:
        """Return what the contract allows its asker; plan, cards, contract and approvals decide alone."""
        ...

    def targets(self, plan: Any, terms: Terms, secret: bytes) -> tuple[str, ...]:
        """Return the opaque tags of the units it asks about, in a total order."""
        ...

    def execute(self, engine: Engine, terms: Terms, asked: Outside) -> Executed:
        """Return what it gives; exact, and the same whenever it is executed."""
        ...
