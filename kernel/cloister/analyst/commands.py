"""``%cloister ...`` line commands. The proxy answers them itself, whatever the state of the enclave.

A cell is a command when its only statement is a ``%cloister`` line; anything else goes to the sandbox. The
answer rests on what this machine verified, never on what the sandbox says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cloister.analyst import bundles
from cloister.errors import CloisterError, RefusedError
from cloister.receipt.facts import ReleaseFacts

MAGIC = "%cloister"
HELP = {
    "status": "what was verified about the enclave, and when",
    "budget": "every limit of the contract and what is spent",
    "verify": "the receipts of this session that this machine has verified",
    "help": "this list",
}
_LATER = ("put", "get")


class Command(NamedTuple):
    """A parsed line: the word after ``%cloister`` and the rest."""

    name: str
    arguments: tuple[str, ...] = ()

    @property
    def about_enclave(self) -> bool:
        """Whether the answer is about the enclave, and so better with a verdict."""
        return self.name in ("status", "budget", "verify")

    @property
    def waits(self) -> bool:
        """Whether the answer depends on the cells before it."""
        return self.name in ("budget", "verify")


def parse(code: str) -> Command | None:
    """Return the command in a cell, or ``None`` when the cell is not one."""
    lines = [line.strip() for line in code.splitlines()]
    statements = [line for line in lines if line and not line.startswith("#")]
    if len(statements) != 1:
        return None
    words = statements[0].split()
    if words[0] != MAGIC:
        return None
    return Command(words[1].lower() if len(words) > 1 else "help", tuple(words[2:]))


class Known(NamedTuple):
    """What the proxy knows when a line is answered: its block about the enclave, the last budget, verified releases."""

    info: Mapping[str, Any]
    budget: Mapping[str, Any] | None = None
    releases: Sequence[ReleaseFacts] = ()


def answer(command: Command, known: Known) -> dict[str, str]:
    """Return the answer as a MIME bundle (text and static HTML).

    Raises:
        RefusedError: No such command, or not in this version.
    """
    handler = _HANDLERS.get(command.name)
    if handler is None:
        raise _unknown(command.name)
    return handler(known)


def _status(known: Known) -> dict[str, str]:
    return bundles.status(known.info)


def _budget(known: Known) -> dict[str, str]:
    return bundles.budget(known.budget)


def _verify(known: Known) -> dict[str, str]:
    return bundles.receipts(known.releases)


def _help(_known: Known) -> dict[str, str]:
    return bundles.table("Cloister commands", {f"{MAGIC} {name}": text for name, text in HELP.items()})


_HANDLERS: dict[str, Callable[[Known], dict[str, str]]] = {
    "status": _status,
    "budget": _budget,
    "verify": _verify,
    "help": _help,
}


def _unknown(name: str) -> CloisterError:
    if name in _LATER:
        return RefusedError(
            "command.later",
            f"%cloister {name} is not part of this version",
            next_step="released values are ordinary Python objects: show them in the notebook and save the notebook",
        )
    return RefusedError(
        "command.unknown",
        f"there is no %cloister {name}",
        next_step="%cloister help",
        nearest=tuple(f"{MAGIC} {known}" for known in HELP),
    )
