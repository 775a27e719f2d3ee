"""Requests of vaults as a broker reads them: who signed one, and what a refusal of it may leave in the log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Literal, TypeVar

import msgspec

from cloister.contract.terms import Contract
from cloister.errors import MalformedError, SignatureError
from cloister.provider.accounts import Granted, Tip
from cloister.receipt.events import Event
from cloister.receipt.ledger import (
    REQUEST_TYPE,
    AppendRequest,
    DeltaSums,
    LedgerReply,
    SessionRequest,
    SettleRequest,
    TipRequest,
)
from cloister.receipt.refusals import Told
from cloister.wire import documents, envelope

Op = Literal["session", "append", "settle", "tip"]
Request = SessionRequest | AppendRequest | SettleRequest | TipRequest
R = TypeVar("R", SessionRequest, AppendRequest, SettleRequest, TipRequest)


class StrangersReply(bytes):
    """A signed reply to a vault without a session: anybody can ask for as many of them as he likes."""


def open_request(body: bytes, kind: type[R]) -> R:
    """Return a request after checking that the vault it names, and nobody else, signed it.

    Raises:
        MalformedError: ``ledger.request``, or not a request of this kind.
        SignatureError: ``ledger.signature``, or a signature that is missing or wrong.
    """
    try:
        document = msgspec.json.decode(body, type=envelope.Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("ledger.request", "not a signed request") from error
    request = documents.decode(envelope.unverified_payload(document), kind)
    if len(document.signatures) != 1:
        raise SignatureError("ledger.signature", "a request has exactly one signature, the vault's")
    envelope.open_envelope(document, REQUEST_TYPE, request.vault_id)
    return request


def population_of(request: Request) -> str:
    """Return the population a request is about, or ``""``."""
    if isinstance(request, SessionRequest):
        return ""
    return request.entry.population if isinstance(request, AppendRequest) else request.population


def sender_of(body: bytes) -> str:
    """Return the did of the vault that signed a request, of whatever kind.

    Raises:
        MalformedError: ``ledger.request``.
        SignatureError: The vault it names has not signed it.
    """
    try:
        document = msgspec.json.decode(body, type=envelope.Envelope)
        vault_id = msgspec.json.decode(envelope.unverified_payload(document), type=_Sender).vault_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("ledger.request", "not a signed request") from error
    envelope.open_envelope(document, REQUEST_TYPE, vault_id)
    return vault_id


class _Sender(msgspec.Struct, frozen=True):
    vault_id: str


class Heard:
    """Which message of refusals of each vault was the latest: a vault sends one again whose answer it did not get."""

    def __init__(self, most: int = 4096) -> None:
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def is_new(self, vault_id: str, told: Told | msgspec.UnsetType) -> bool:
        """Whether a vault says something that it did not say before; it counts as said from now on."""
        if isinstance(told, msgspec.UnsetType):
            return False
        with self._lock:
            latest = self._latest.pop(vault_id, 0)
            self._latest[vault_id] = max(latest, told.number)
            while len(self._latest) > self._most:
                self._latest.popitem(last=False)
        return told.number > latest


def told_events(request: TipRequest, contract: Contract, *, now: str) -> tuple[Event, ...]:
    """Return the events of what an admitted vault refused by itself under its contract; what is not usable is dropped.

    Only codes of a closed set, analysts and tables of the contract, and digests are kept; nothing the asker wrote.
    """
    analysts = {party.did for party in contract.parties if party.role == "analyst"}
    manifests = {table.name: table.manifest for table in contract.tables}
    found = []
    for one in () if isinstance(request.told, msgspec.UnsetType) else request.told.refused:
        known = not one.analyst or one.analyst in analysts
        if one.usable and known and (one.table in manifests) == (one.op == "capsule"):
            subject = manifests[one.table] if one.op == "capsule" else one.plan
            since = f", {one.age_s:,} s before" if one.age_s else ""
            found.append(
                Event(
                    "refusal" if one.count == 1 else "suppressed",
                    now,
                    actor=one.analyst or request.vault_id,
                    contract=request.contract,
                    op=one.op,
                    status=one.code,
                    subject=subject,
                    reason=f"refused in the enclave by {request.vault_id}{since}",
                    count=0 if one.count == 1 else one.count,
                )
            )
    return tuple(found)


def refusal_event(op: Op, request: Request, reply: LedgerReply, *, admitted: str | None) -> Event:
    """Return the event of a refusal.

    A vault without a session is a stranger, and nothing it says is believed or kept: neither the analyst it names, nor
    the population, nor its own did. One with a session speaks for the analysts of the contract it is ``admitted`` to.
    """
    if admitted is None:
        return Event("refusal", reply.time, op=op, status=reply.status)
    entry = request.entry if isinstance(request, AppendRequest) and request.entry.contract == admitted else None
    return Event(
        "refusal",
        reply.time,
        actor=request.vault_id if entry is None else entry.analyst,
        contract="" if entry is None else entry.contract,
        population=reply.population,
        charge_id="" if entry is None else entry.charge_id,
        op=op,
        status=reply.status,
        subject=request.vault_id,
        reason=reply.reason,
    )


def delta_sums(tip: Tip, granted: Granted) -> DeltaSums | msgspec.UnsetType:
    """Return the second sum as replies state it: not at all where the contract has none and nothing is spent."""
    spent = tip.delta
    if not (granted.delta or spent.spent):
        return msgspec.UNSET
    return DeltaSums(
        spent=str(spent.spent),
        limit=str(granted.delta),
        contract_spent=str(spent.contract_spent),
        analyst_spent=str(spent.analyst_spent),
        analyst_limit=str(granted.analyst_delta),
    )
