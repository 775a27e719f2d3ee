"""The contract: one canonical document that every party signs, and the only source of permission.

A contract names its tables with the digests of card and capsule manifest, who may ask, for which purposes and
with which operations, the budgets at each broker, the policies and the validity. No wildcards exist in it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import msgspec

from cloister.contract.clauses import Access, Approver, Obligation, PackTerms, Software, Tariff
from cloister.contract.exits import Exits

CONTRACT_TYPE = "application/vnd.cloister.contract.v1+json"


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signer: a short name, a did:key and a role."""

    name: str
    did: str
    role: Literal["provider", "analyst"]


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker: who signs its replies, and where the enclave's relay finds it (the address is not trusted)."""

    name: str
    did: str
    url: str


class TableTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table under contract, pinned by the digests of its card and of its capsule's manifest."""

    name: str
    provider: str
    broker: str
    card: str
    manifest: str


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The privacy budget of one population at one broker.

    ``epsilon`` and ``delta`` are exact decimals as text. ``delta_keys`` is the part of delta that threshold keys may
    spend, a second exact sum of the account; the rest converts the zCDP ``rho`` that is the account's limit to epsilon
    (CKS20). ``default_share`` is what a release costs if nothing is said, as a fraction of the analyst's total.
    """

    population: str
    broker: str
    epsilon: str
    delta: str
    default_share: str
    delta_keys: str = "0"

    @property
    def delta_conversion(self) -> Fraction:
        """The part of delta at which rho is converted to epsilon; above zero in a contract without findings."""
        return Fraction(self.delta) - Fraction(self.delta_keys)


class AnalystLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sub-limit: the part of a population's budget that one analyst may spend (fraction as text)."""

    analyst: str
    population: str
    share: str


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits beside privacy, of all releases together; broker and vault refuse beyond each. 0 means none at all.

    ``rows`` are rows scanned by declared size, ``compute`` planned reply time in units of 100 ms, ``models`` releases
    of the operation *model* (``usage.Usage``). Each broker counts the releases that charge an account it keeps.
    """

    releases: int
    rows: int
    compute: int
    models: int


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The terms. Times are RFC 3339 in UTC; ``policies`` maps a party's name to its policy digest.

    Regime ``dp`` is what the guarantee is about. ``screened`` stands outside it: its releases would follow disclosure
    rules instead of noise. This version has no such rules and refuses every plan under it. ``exits`` is written only
    where there are any: what leaves through them is outside the guarantee too. ``algorithms`` is written only where the
    parties list which may run (``name@version``, ``contract/algorithms.py``); without it every one may that the
    operations allow. The optional clauses after it are described in ``clauses``; ``amends`` is the digest of the
    contract that ends at a broker when it takes up this one; ``hosts`` are the machines that may run the enclave, by
    the names that evidence gives them (``chip:...``, ``ppid:...``, ``operator:...``).
    """

    name: str
    title: str
    parties: tuple[Party, ...]
    brokers: tuple[Broker, ...]
    tables: tuple[TableTerms, ...]
    purposes: tuple[str, ...]
    operations: tuple[Literal["aggregate", "model"], ...]
    regime: Literal["dp", "screened"]
    budgets: tuple[Budget, ...]
    analyst_limits: tuple[AnalystLimit, ...]
    limits: Limits
    policies: dict[str, str]
    placement: Literal["split", "colocated"]
    tenancy: Literal["exclusive", "shared"]
    accept_simulated: bool
    share_releases: bool
    not_before: str
    not_after: str
    version: Literal[1] = 1
    exits: Exits | msgspec.UnsetType = msgspec.UNSET
    algorithms: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    access: tuple[Access, ...] | msgspec.UnsetType = msgspec.UNSET
    approvers: tuple[Approver, ...] | msgspec.UnsetType = msgspec.UNSET
    pack: PackTerms | msgspec.UnsetType = msgspec.UNSET
    obligations: tuple[Obligation, ...] | msgspec.UnsetType = msgspec.UNSET
    tariffs: tuple[Tariff, ...] | msgspec.UnsetType = msgspec.UNSET
    amends: str | msgspec.UnsetType = msgspec.UNSET
    hosts: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    software: Software | msgspec.UnsetType = msgspec.UNSET
    display_mark: Literal[True] | msgspec.UnsetType = msgspec.UNSET

    @property
    def listed(self) -> tuple[str, ...] | None:
        """The algorithms that may run; None where the contract has no such clause."""
        return self.algorithms if isinstance(self.algorithms, tuple) else None

    @property
    def outside(self) -> Exits:
        """The exits, none where the contract has no such clause."""
        return self.exits if isinstance(self.exits, Exits) else Exits()

    @property
    def who_approves(self) -> tuple[Approver, ...]:
        """The persons who may approve; nobody where the contract has no such clause."""
        return self.approvers if isinstance(self.approvers, tuple) else ()

    @property
    def duties(self) -> tuple[Obligation, ...]:
        """The obligations; none where the contract has no such clause."""
        return self.obligations if isinstance(self.obligations, tuple) else ()

    @property
    def prices(self) -> tuple[Tariff, ...]:
        """The tariffs; none where the contract has no such clause."""
        return self.tariffs if isinstance(self.tariffs, tuple) else ()

    @property
    def allowed_hosts(self) -> tuple[str, ...] | None:
        """The hosts that may run the enclave; None where the contract has no such clause."""
        return self.hosts if isinstance(self.hosts, tuple) else None

    @property
    def signed_software(self) -> Software | None:
        """The clause about software releases; None where the contract has none."""
        return self.software if isinstance(self.software, Software) else None

    @property
    def former(self) -> str:
        """The digest of the contract that this one amends, or ``""``."""
        return self.amends if isinstance(self.amends, str) else ""

    @property
    def excluded(self) -> tuple[str, ...]:
        """What the formal guarantee excludes under this contract, in words; empty if nothing."""
        return (*(("screened",) if self.regime == "screened" else ()), *self.outside.excluded())
