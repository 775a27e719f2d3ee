"""What the tests of logs share: an export in memory, edits to it, and a second broker's signatures to forge with."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from provider_world import World

from cloister.provider import checkpoints, clock
from cloister.receipt import audit
from cloister.receipt.checkpoint import Taken
from cloister.wire import canonical


def exported(world: World) -> list[bytes]:
    """Return the lines of an export of the world's broker."""
    world.broker.journal.flush()
    now = clock.text(world.now)
    return list(checkpoints.write_export(world.home, world.broker.accounts, now=now, actor="owner"))


def taken(world: World, earlier: Taken | None = None, **options: Any) -> Taken:
    """Return a checkpoint of the world's broker."""
    before = None if earlier is None else earlier.checkpoint
    now = clock.text(world.now)
    return checkpoints.take(world.home, world.broker.accounts, now=now, actor="owner", earlier=before, **options)


def checked(lines: list[bytes], **options: Any) -> audit.Report:
    """Return the report of an audit."""
    return audit.Audit().check(lines, **options)


def failures(lines: list[bytes], **options: Any) -> set[str]:
    """Return the codes of what an audit finds false."""
    return {one.code for one in checked(lines, **options).findings if one.level == "fail"}


def edited(line: bytes, **changes: Any) -> bytes:
    """Return a canonical line with other values."""
    return canonical.encode({**json.loads(line), **changes}) + b"\n"


def spend(world: World, count: int = 3, **changes: Any) -> Any:
    """Charge and settle a few releases; return the vault."""
    vault = world.vault()
    for number in range(count):
        assert vault.append(f"c{number}", **changes).status == "ok"
        assert vault.settle(f"c{number}", f"sealed-{number}").status == "ok"
    return vault


def decoded(body: bytes, kind: Any) -> Any:
    """Return a document as its struct."""
    return msgspec.json.decode(body, type=kind)
