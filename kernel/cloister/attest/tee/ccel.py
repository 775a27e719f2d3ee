"""The event log of a trust domain (CCEL): replayed into the four runtime registers that a TDX quote signs.

Format: TCG PC Client platform firmware profile, section 10 (crypto-agile log), with the measurement register index of
the UEFI specification's confidential computing chapter: 1 to 4 are RTMR0 to RTMR3. A replay that matches proves which
digests were extended, in which order; the event texts beside the digests are descriptions, and only the digests count.
"""

from __future__ import annotations

import hashlib

import msgspec

from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import check_size

MAX_LOG = 4 << 20
MAX_EVENTS = 16_384
REGISTERS = 4
_NO_ACTION = 3
_SHA384, _SHA384_SIZE = 0x000C, 48
_SIGNATURE = b"Spec ID Event03\0"


class Event(msgspec.Struct, frozen=True):
    """One event: its register (0 is MRTD, 1 to 4 are RTMR0 to RTMR3), type, SHA-384 digest and description."""

    register: int
    kind: int
    digest: bytes
    data: bytes


def parse(log: bytes) -> tuple[Event, ...]:
    """Return the events of a log; what follows them in its buffer must be one filler byte, 00 or FF.

    Raises:
        RejectedError: ``evidence.oversize``, ``evidence.truncated`` or ``evidence.malformed``.
    """
    check_size(log, MAX_LOG)
    at = Cursor(log)
    sizes = _header(at)
    events: list[Event] = []
    while not _at_filler(log, at.position):
        if len(events) == MAX_EVENTS:
            raise rejected("evidence.oversize", f"an event log of more than {MAX_EVENTS} events")
        register, kind = at.u32(), at.u32()
        digests: dict[int, bytes] = {}
        for _ in range(at.u32()):
            name = at.u16()
            if name not in sizes or name in digests:
                raise rejected("evidence.malformed", "an event with a digest that the log does not announce, or twice")
            digests[name] = at.take(sizes[name])
        if register > REGISTERS or _SHA384 not in digests:
            raise rejected("evidence.malformed", "an event of no register, or without a SHA-384 digest")
        events.append(Event(register, kind, digests[_SHA384], at.take(at.u32())))
    return tuple(events)


def replay(events: tuple[Event, ...]) -> tuple[bytes, ...]:
    """Return the four registers after all events: each extends its register by ``SHA-384(register || digest)``."""
    registers = [bytes(_SHA384_SIZE)] * REGISTERS
    for event in events:
        if event.kind != _NO_ACTION and event.register:
            index = event.register - 1
            registers[index] = hashlib.sha384(registers[index] + event.digest).digest()
    return tuple(registers)


def check(log: bytes, registers: tuple[bytes, ...]) -> int:
    """Check that a log replays to all four registers, and return how many events it holds.

    Raises:
        RejectedError: As ``parse``, or ``evidence.event_log``.
    """
    events = parse(log)
    found = replay(events)
    wrong = [f"RTMR{n}" for n, (one, other) in enumerate(zip(found, registers, strict=True)) if one != other]
    if wrong:
        raise rejected("evidence.event_log", f"the event log does not replay to {', '.join(wrong)}")
    return len(events)


def _header(at: Cursor) -> dict[int, int]:
    """Read the first event, which names the digests of all others, and return their sizes."""
    at.u32()
    kind = at.u32()
    at.take(20)
    body = at.sub(at.u32())
    if kind != _NO_ACTION or body.take(16) != _SIGNATURE:
        raise rejected("evidence.malformed", "an event log that does not begin with its specification")
    body.take(8)
    sizes = {body.u16(): body.u16() for _ in range(body.u32())}
    body.take(body.u8())
    body.end("the event log's first event")
    if sizes.get(_SHA384) != _SHA384_SIZE:
        raise rejected("evidence.malformed", "an event log without SHA-384")
    return sizes


def _at_filler(log: bytes, at: int) -> bool:
    if at == len(log):
        return True
    start, filler = log[at : at + 8], log[at : at + 1]
    if start != filler * len(start) or filler not in (b"\x00", b"\xff"):
        return False
    if log.count(filler, at) != len(log) - at:
        raise rejected("evidence.malformed", "something follows the filler after an event log")
    return True
