"""The exits: the plans whose answers carry no noise, and which the formal guarantee excludes.

An exit is not a ``Plan``: nothing that prices, executes or shapes a noisy release accepts one, and it is asked for
under a clause of the contract that allows exactly it (``contract/exits.py``).
"""

from __future__ import annotations

from typing import Literal

from cloister.plan.algebra.relations import Relation
from cloister.plan.algebra.scalars import Node, Scalar


class Match(Node, frozen=True, tag="match"):
    """For each unit key the asker supplies, whether the match column that the clause declares holds for the unit.

    There is no source, no predicate and no expression in it: ``targets`` are unit keys as text, and nothing else is
    asked about them.
    """

    table: str
    column: str
    targets: tuple[str, ...]
    version: Literal[1] = 1


class Deliver(Node, frozen=True, tag="deliver"):
    """One score per unit, the nearest multiple of ``step`` (ties to even), sealed to a receiver of the contract.

    ``source`` has at most one row per unit, and ``score`` has bounds. There is no ``draw``: the scores are exact, so
    there is one answer.
    """

    source: Relation
    score: Scalar
    step: str
    receiver: str
    version: Literal[1] = 1


Exit = Match | Deliver
