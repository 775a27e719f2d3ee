"""The event log of a trust domain (CCEL): replayed into the four runtime registers that a TDX quote signs.

Format: TCG PC Client platform firmware profile, section 10 (crypto-agile log), with the measurement register index of
the UEFI specification's confidential computing chapter: 1 to 4 are RTMR0 to RTMR3. A replay that matches proves which
digests were extended, in which order; the event texts beside the digests are descriptions, and only the digests count.
"""

from __future__ import annotations

import hashlib

import msgspec

from cloister.attest.tee import tcg_log
from cloister.attest.tee.codes import rejected

REGISTERS = 4
_NO_ACTION = 3
_SHA384, _SHA384_SIZE = 0x000C, 48


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
    events = tcg_log.parse(log, registers=1 + REGISTERS, padded=True)
    if any(_SHA384 not in event.digests for event in events):
        raise rejected("evidence.malformed", "an event log without SHA-384")
    return tuple(Event(each.register, each.kind, each.digests[_SHA384], each.data) for each in events)


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
