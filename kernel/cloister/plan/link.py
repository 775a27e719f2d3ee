"""The sandbox's link to the vault: the only door between notebook code and data.

The sandbox sends ``Request`` documents; the agent adds a ``Context`` the sandbox cannot choose (who asks, in
which session, caused by which cell) and hands both to the vault; the vault answers with a ``Reply``. Values
in a reply are already released. A reply holds either ``result`` or ``error``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloister.contract.usage import Usage

MAX_REQUEST = 1 << 20


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request of the sandbox.

    ``describe``: contract, cards and default shares. ``budget``: every limit with what is spent.
    ``price``: what ``plan`` would cost and how noisy it would be; free. ``release``: run ``plan``.
    """

    id: int
    op: Literal["describe", "budget", "price", "release"]
    plan: dict[str, Any] | None = None


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a plan was sent: the Jupyter message being served. ``code`` digests its source text."""

    kind: Literal["cell", "comm", "background"]
    message: str = ""
    code: str = ""
    code_normalised: str = ""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the agent vouches for: the analyst's did, purpose, session, transcript hash and cause.

    ``source`` is the text whose digest the cause of a cell names, sent where the contract's tier rules keep it.
    """

    session: str
    analyst: str
    purpose: str
    transcript: str
    cause: Cause
    source: str = ""


class RehearsedCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a confidential run would charge to the account of a population (rho, an exact fraction)."""

    population: str
    rho: str


class Rehearsal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release of the mock vault: its key, the plan's digest and in words, what it would cost. No values."""

    release: str
    plan: str
    question: str
    costs: tuple[RehearsedCost, ...]
    usage: Usage


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a reply goes, and what the agent forwards to the proxy: receipts and admissions (DSSE envelopes as JSON).

    A mock vault has ``rehearsals`` instead.
    """

    session: str
    receipts: tuple[dict[str, Any], ...] = ()
    admissions: tuple[dict[str, Any], ...] = ()
    rehearsals: tuple[Rehearsal, ...] = ()


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vault's answer to request ``id``."""

    id: int
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
