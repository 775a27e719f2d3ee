"""Event logs of firmware (TCG crypto-agile format), and their replay into the PCRs of a TPM.

Format: TCG, "PC Client Platform Firmware Profile", sections 10.2 and 10.4.5. A replay that matches quoted PCRs proves
which digests were extended, in which order; the texts beside the digests are descriptions, and only digests count.
``ccel`` replays the same format into the registers of a trust domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import check_size
from cloister.attest.tee.tpm_structures import BANKS, PCRS

MAX_LOG = 4 << 20
MAX_EVENTS = 16_384
_NO_ACTION = 3
_SIGNATURE = b"Spec ID Event03\0"
_LOCALITY = b"StartupLocality\0"


class Event(NamedTuple):
    """One event: its register (PCR), type, digests by bank (TPM_ALG_ID), and description."""

    register: int
    kind: int
    digests: dict[int, bytes]
    data: bytes


def parse(log: bytes, *, registers: int = PCRS, padded: bool = False) -> tuple[Event, ...]:
    """Return the events of a log, without its header, for ``registers`` registers.

    ``padded``: what follows the events may be one filler byte, 00 or FF, up to the end of the log's buffer.

    Raises:
        RejectedError: ``evidence.oversize``, ``evidence.truncated`` or ``evidence.malformed``.
    """
    check_size(log, MAX_LOG)
    cursor = Cursor(log)
    sizes = _header(cursor)
    events: list[Event] = []
    while cursor.remaining and not (padded and _at_filler(log, cursor.position)):
        if len(events) == MAX_EVENTS:
            raise rejected("evidence.oversize", f"an event log of more than {MAX_EVENTS} events")
        register, kind = cursor.u32(), cursor.u32()
        digests: dict[int, bytes] = {}
        for _ in range(cursor.u32()):
            bank = cursor.u16()
            if bank not in sizes or bank in digests:
                raise rejected("evidence.malformed", "an event with a digest that the log does not announce, or twice")
            digests[bank] = cursor.take(sizes[bank])
        if register >= registers or set(digests) != set(sizes):
            raise rejected("evidence.malformed", "an event of no register, or without a digest that the log announces")
        events.append(Event(register, kind, digests, cursor.take(cursor.u32())))
    return tuple(events)


def replay(events: tuple[Event, ...], bank: int) -> dict[int, bytes]:
    """Return the PCRs that the events extend in ``bank``, by number: ``PCR = H(PCR || digest)`` from zero."""
    name, size = BANKS[bank]
    values: dict[int, bytes] = {}
    for event in events:
        if event.kind == _NO_ACTION:
            # Not measured; but the locality that the TPM was started from is where PCR 0 begins.
            if event.register == 0 and event.data[:16] == _LOCALITY and len(event.data) == 17:
                values[0] = bytes(size - 1) + event.data[16:]
            continue
        before = values.get(event.register, bytes(size))
        values[event.register] = hashlib.new(name, before + event.digests[bank]).digest()
    return values


def check(log: bytes, pcrs: Mapping[int, Mapping[int, bytes]]) -> dict[str, object]:
    """Replay ``log`` and compare every PCR it extends with the quoted value in every bank that both have.

    Returns how many events there were, and which PCRs (of which banks) the log explains.

    Raises:
        RejectedError: ``evidence.event_log``, or the log's own format.
    """
    events = parse(log)
    # A log may announce a bank that nobody here can extend; its quoted registers are then not explained.
    banks = [bank for bank in pcrs if bank in BANKS and events and bank in events[0].digests]
    explained: set[int] = set()
    for bank in banks:
        for number, value in replay(events, bank).items():
            quoted = pcrs[bank].get(number)
            if quoted is None:
                continue
            if quoted != value:
                raise rejected("evidence.event_log", f"the event log does not lead to PCR {number}")
            explained.add(number)
    if not explained:
        raise rejected("evidence.event_log", "the event log explains none of the quoted PCRs")
    return {"events": len(events), "pcrs": sorted(explained), "banks": [BANKS[bank][0] for bank in banks]}


def _header(cursor: Cursor) -> dict[int, int]:
    """Read the first event, which is in the older format and announces the banks; return their digest sizes."""
    # TPMs write register 0 here, trust domains 1: it extends nothing.
    cursor.u32()
    if cursor.u32() != _NO_ACTION:
        raise rejected("evidence.malformed", "an event log without a header")
    cursor.zeros(20, "the digest of the log's header")
    body = cursor.sub(cursor.u32())
    if body.take(16) != _SIGNATURE:
        raise rejected("evidence.malformed", "an event log of another format")
    body.take(8)
    sizes: dict[int, int] = {}
    for _ in range(body.u32()):
        bank, size = body.u16(), body.u16()
        if bank in sizes or BANKS.get(bank, ("", size))[1] != size or not 20 <= size <= 64:
            raise rejected("evidence.malformed", "an event log that announces a bank twice, or of a wrong size")
        sizes[bank] = size
    body.take(body.u8())
    body.end("the log's header")
    return sizes


def _at_filler(log: bytes, at: int) -> bool:
    start, filler = log[at : at + 8], log[at : at + 1]
    if start != filler * len(start) or filler not in (b"\x00", b"\xff"):
        return False
    if log.count(filler, at) != len(log) - at:
        raise rejected("evidence.malformed", "something follows the filler after an event log")
    return True
