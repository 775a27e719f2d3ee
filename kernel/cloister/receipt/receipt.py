"""Receipts: one signed statement per release, enough to check a number without data.

The payload is canonical JSON in a DSSE envelope signed by ``vault_id``. Raw values are the noisy integers as
decimal strings, row-major (cell of the keys, component); ``plan/shape.py`` turns them into what the notebook
shows, so a verifier recomputes the shown value.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloister.contract.usage import Used
from cloister.plan.link import Cause

RECEIPT_TYPE = "application/vnd.cloister.receipt.v1+json"
ADMISSION_TYPE = "application/vnd.cloister.admission.v1+json"


class ComponentNoise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Noise of one component: sigma as ``float.hex`` in grid units, and the exact rho it costs."""

    sigma: str
    rho: str


class Charge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One account entry this release rests on: population, broker did and rho; the rest is the account after it.

    ``size`` and ``root`` are those of its log, ``spent`` (rho) is everybody's, ``analyst_spent`` the asker's under this
    contract, ``used`` counts the contract's releases: as the broker signed them with the charge. ``parts`` are the rho
    of each component where they are not those of the receipt's noise: a release on several accounts costs each of them
    what its own units can change. ``delta`` is what it spends of the second sum, the rest how that sum stands.
    """

    population: str
    broker: str
    rho: str
    size: int
    root: str
    spent: str
    analyst_spent: str
    used: Used
    parts: tuple[str, ...] = ()
    delta: str = "0"
    delta_spent: str = "0"
    analyst_delta_spent: str = "0"


class ExitStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the receipt of an exit says in place of plan, noise and values. No formal guarantee covers it.

    ``clause`` is the position among the contract's ``matches`` or ``deliveries``. Of a delivery: the ``receiver``, the
    digest of the sealed ``file``, its ``size`` in bytes (a function of the card), and the content key as sealed to the
    receiver (base64). Of a match: how many ``targets`` were asked about.
    """

    name: Literal["match", "deliver"]
    clause: int
    receiver: str = ""
    file: str = ""
    size: int = 0
    key: str = ""
    targets: int = 0


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was released. ``time`` is the broker's. ``assurance`` is ``simulated`` or a TEE's name.

    ``labels`` (values of the keys as text, sorted) and ``delta`` (an exact fraction) are there if the keys themselves
    were released, and only then. ``exit`` is there for an exit, and only then: the plan is left out (empty), its digest
    is a salted commitment (``naming.commitment``), and there is neither noise nor price nor value.
    ``tier``: of the most sensitive column that the result depends on, or what approvals lowered it to; earlier versions
    did not write it.
    """

    release: str
    plan: dict[str, Any]
    plan_digest: str
    rho: str
    mechanism: Literal["discrete-gaussian"]
    noise: tuple[ComponentNoise, ...]
    raw: tuple[str, ...]
    contract: str
    manifests: tuple[str, ...]
    cards: tuple[str, ...]
    env_digest: str
    admissions: tuple[str, ...]
    charge_id: str
    charges: tuple[Charge, ...]
    time: str
    analyst: str
    purpose: str
    session: str
    transcript: str
    cause: Cause
    assurance: str
    seeded: bool = False
    version: Literal[1] = 1
    delta: str | msgspec.UnsetType = msgspec.UNSET
    labels: tuple[tuple[str, ...], ...] | msgspec.UnsetType = msgspec.UNSET
    exit: ExitStatement | msgspec.UnsetType = msgspec.UNSET
    tier: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def exits(self) -> ExitStatement | None:
        """What is stated about an exit, if the receipt is of one."""
        return self.exit if isinstance(self.exit, ExitStatement) else None


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker's signed statement that it appraised the evidence of ``vault_id`` and let it in."""

    broker: str
    vault_id: str
    evidence: str
    env_digest: str
    contract: str
    binding: str
    epoch: int
    status: str
    assurance: str
    time: str
    version: Literal[1] = 1
