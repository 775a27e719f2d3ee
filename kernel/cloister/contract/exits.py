"""Exits: clauses that let answers without noise out, which the formal guarantee excludes.

Each clause is signed with the contract by every party, providers included: the signatures are the approval. A contract
without exits is written without the clause, and has the digest it always had.
"""

from __future__ import annotations

import msgspec

MAX_TARGETS = 20_000


class Receiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may open deliveries: a name, and an HPKE public key (X25519, base64), whose private half stays with him."""

    name: str
    key: str


class MatchTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A match column of a table: what may be asked about the units whose keys the asker already has.

    The column is of booleans, or ``value`` names the one value of it that counts as a match; a unit matches if one of
    its rows does. Or it is the table's key column, and a unit matches that is in the table at all. ``per_contract``
    limits the targets asked about in all, ``per_target`` how often one unit is asked about, by everybody and for ever.
    """

    table: str
    column: str
    per_contract: int
    per_target: int
    value: str = ""


class DeliverTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One approved delivery: the digest of exactly this plan, to this receiver, at most ``times`` times.

    The same analyst asking again is the same delivery and is not counted; another analyst of the contract is.
    """

    plan: str
    receiver: str
    times: int


class Exits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The exits of a contract. An account entry names its clause by its position in ``matches`` or ``deliveries``."""

    receivers: tuple[Receiver, ...] = ()
    matches: tuple[MatchTerms, ...] = ()
    deliveries: tuple[DeliverTerms, ...] = ()

    def receiver(self, name: str) -> Receiver | None:
        """Return the receiver called ``name``, if there is one."""
        return next((found for found in self.receivers if found.name == name), None)

    def excluded(self) -> tuple[str, ...]:
        """Return what the formal guarantee excludes because of these clauses, in words."""
        named = (("match", self.matches), ("deliver", self.deliveries))
        return tuple(f"{name} releases" for name, clauses in named if clauses)
