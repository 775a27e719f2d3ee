"""Messages between vault and broker. Requests are signed by ``vault_id``, replies by the broker's did.

Both are DSSE envelopes over the canonical JSON of these structs; the agent relays them as opaque bytes. A
reply that is unsigned, stale (another ``request`` or ``nonce``) or unexpected stops the release.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloister.contract.terms import Limits
from cloister.contract.usage import Usage, Used
from cloister.receipt.refusals import Told

REQUEST_TYPE = "application/vnd.cloister.ledger-request.v1+json"
REPLY_TYPE = "application/vnd.cloister.ledger-reply.v1+json"


class ExitEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an entry says of an exit: which, under which clause of the contract, and about whom.

    ``clause`` is the position among the contract's ``matches`` or ``deliveries``; ``targets`` are opaque tags of the
    units a match asks about, the same for the same unit in every request under the contract.
    """

    name: Literal["match", "deliver"]
    clause: int
    targets: tuple[str, ...] = ()


class Matched(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many targets were asked under a match clause of a contract, and how often the one asked most."""

    clause: int
    targets: int = 0
    most: int = 0


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account entry. It is a function of plan, policy and asker only, so a retry writes the same bytes.

    ``usage`` counts against the contract's limits once per release, however many accounts the release charges. An
    entry of an exit names it, costs no rho, and its ``plan`` is the commitment that the receipt carries. ``maxima`` is
    how much of rho is for noisy maxima (quantiles), if any: only reports read it.
    """

    charge_id: str
    population: str
    contract: str
    analyst: str
    rho: str
    delta: str
    plan: str
    usage: Usage
    version: Literal[1] = 1
    exit: ExitEntry | msgspec.UnsetType = msgspec.UNSET
    maxima: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def exits(self) -> ExitEntry | None:
        """The exit of the entry, if it is one."""
        return self.exit if isinstance(self.exit, ExitEntry) else None


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="session", tag_field="op"):
    """Opens a vault's session: evidence for the broker's hello, and the HPKE key data keys are sealed to."""

    request: str
    nonce: str
    contract: str
    vault_id: str
    vault_hpke: str
    offer: dict[str, Any]


class AppendRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="append", tag_field="op"):
    """Charges an account: idempotent per ``entry.charge_id``; refused if another body or an old epoch.

    ``approvals`` are the digests of those the release rests on, where it needs any: the broker refuses the charge if it
    does not hold one of them, or it was withdrawn. They are no part of the entry, for an approval may be renewed, and a
    retry must meet its own charge.
    """

    request: str
    nonce: str
    vault_id: str
    epoch: int
    entry: Entry
    approvals: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def approved(self) -> tuple[str, ...]:
        """The digests of the approvals; none where the request names none."""
        return self.approvals if isinstance(self.approvals, tuple) else ()


class SettleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="settle", tag_field="op"):
    """Deposits the sealed receipt of a charge, once, before the reply leaves the vault."""

    request: str
    nonce: str
    vault_id: str
    epoch: int
    population: str
    charge_id: str
    sealed: str


class TipRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tip", tag_field="op"):
    """Reads the account's tip and what contract and analyst have spent.

    With ``told`` it also tells the broker what the enclave refused by itself (``receipt.refusals``).
    """

    request: str
    nonce: str
    vault_id: str
    epoch: int
    population: str
    contract: str
    analyst: str
    told: Told | msgspec.UnsetType = msgspec.UNSET


class OwnAlert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an analyst is told of an alert about herself: the rule in words, what was counted, when and how much.

    ``bucket`` is an hour or a day (UTC) as RFC 3339 begins.
    """

    rule: int
    text: str
    what: str
    bucket: str
    count: int
    most: int


class DeltaSums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second sum of an account (delta spent on threshold keys) and its limits, as exact fractions."""

    spent: str = "0"
    limit: str = "0"
    contract_spent: str = "0"
    analyst_spent: str = "0"
    analyst_limit: str = "0"


class LedgerReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every reply of a broker: bound to request and nonce, with the account's tip and the broker's time.

    ``status`` is ``ok`` or an error code; ``sealed`` is the settled receipt of the charge, if any;
    ``keys`` are HPKE-sealed data keys by manifest digest (session replies only), ``admission`` the envelope.
    ``used`` and ``analyst_*`` are the counts and sums under this contract, ``limits`` is what it grants. ``delta`` is
    there only where the contract grants delta for keys or some was spent. ``alerts`` (tip replies only) are those of
    the last days about the analyst who asks, under this contract.
    """

    op: Literal["session", "append", "settle", "tip"]
    request: str
    nonce: str
    broker: str
    vault_id: str
    population: str
    size: int
    root: str
    spent: str
    limit: str
    contract_spent: str
    analyst_spent: str
    analyst_limit: str
    used: Used
    limits: Limits
    epoch: int
    lease: str
    time: str
    status: str
    reason: str = ""
    sealed: str = ""
    admission: dict[str, Any] | None = None
    keys: dict[str, str] = {}
    delta: DeltaSums | msgspec.UnsetType = msgspec.UNSET
    version: Literal[1] = 1
    matched: tuple[Matched, ...] | msgspec.UnsetType = msgspec.UNSET
    alerts: tuple[OwnAlert, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def deltas(self) -> DeltaSums:
        """The second sum of the account: zeros where the reply does not state it."""
        return self.delta if isinstance(self.delta, DeltaSums) else DeltaSums()

    @property
    def matches(self) -> tuple[Matched, ...]:
        """What was asked under the contract's match clauses: nothing where the reply does not state it."""
        return () if isinstance(self.matched, msgspec.UnsetType) else self.matched

    @property
    def own_alerts(self) -> tuple[OwnAlert, ...]:
        """The alerts about the analyst: none where the reply states none."""
        return () if isinstance(self.alerts, msgspec.UnsetType) else self.alerts
