"""``%cloister ...`` line commands. The proxy answers them itself, whatever the state of the enclave.

A cell is a command when its only statement is a ``%cloister`` line; anything else goes to the sandbox. The
answer rests on what this machine verified, never on what the sandbox says.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cloister.analyst import bundles
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, RefusedError
from cloister.receipt.facts import ReleaseFacts

MAGIC = "%cloister"
FORCE = "--force"


class Form(NamedTuple):
    """How a command is written: words after its name (at least, at most), its flags, and what it does."""

    words: str
    least: int
    most: int
    about: str
    flags: tuple[str, ...] = ()

    def usage(self, name: str) -> str:
        """Return the command as one writes it."""
        return f"{MAGIC} {name} {self.words}".rstrip()


FORMS = {
    "status": Form("", 0, 0, "what was verified about the enclave, and when"),
    "budget": Form("", 0, 0, "every limit of the contract and what is spent, as of now"),
    "put": Form("FILE [NAME]", 1, 2, "copy a file from beside the notebook into the sandbox"),
    "get": Form(f"NAME [FILE] [{FORCE}]", 1, 2, "copy a file of the sandbox to beside the notebook", (FORCE,)),
    "verify": Form("", 0, 0, "the receipts of this session that this machine has verified"),
    "help": Form("", 0, 0, "this list"),
}


class Command(NamedTuple):
    """A parsed line: the word after ``%cloister`` and the rest; ``None`` if the rest cannot be read."""

    name: str
    arguments: tuple[str, ...] | None = ()

    @property
    def about_enclave(self) -> bool:
        """Whether the answer is about the enclave or needs it, and so is better with a verdict."""
        return self.name in ("status", "budget", "verify", "put", "get")

    @property
    def waits(self) -> bool:
        """Whether the answer depends on the cells before it."""
        return self.name in ("budget", "verify", "put", "get")

    @property
    def moves_file(self) -> bool:
        """Whether the cells behind it depend on it."""
        return self.name in ("put", "get")

    @property
    def live(self) -> bool:
        """Whether a live view goes with the answer."""
        return self.name in ("status", "budget")

    def words(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Return the words and the flags after the name, checked against the command's form.

        Raises:
            RefusedError: ``command.unknown``, ``command.arguments``.
        """
        form = FORMS.get(self.name)
        if form is None:
            raise _unknown(self.name)
        if self.arguments is None:
            raise _arguments(self.name, "a quotation mark is missing")
        flags = frozenset(word for word in self.arguments if word.startswith("--"))
        words = tuple(word for word in self.arguments if word not in flags)
        if strange := sorted(flags - set(form.flags)):
            raise _arguments(self.name, f"it knows no {strange[0]}")
        if not form.least <= len(words) <= form.most:
            wanted = f"{form.least} or {form.most} words" if form.most else "no words"
            raise _arguments(self.name, f"it takes {wanted} and got {len(words)}")
        return words, flags


def parse(code: str) -> Command | None:
    """Return the command in a cell, or ``None`` when the cell is not one."""
    lines = [line.strip() for line in code.splitlines()]
    statements = [line for line in lines if line and not line.startswith("#")]
    if len(statements) != 1:
        return None
    words = statements[0].split(maxsplit=2)
    if words[0] != MAGIC:
        return None
    return Command(words[1].lower() if len(words) > 1 else "help", _split(words[2]) if len(words) > 2 else ())


class Known(NamedTuple):
    """What the proxy knows when a line is answered: its block about the enclave, budget, verified releases, terms."""

    info: Mapping[str, Any]
    budget: Mapping[str, Any] | None = None
    releases: Sequence[ReleaseFacts] = ()
    contract: Contract | None = None


def answer(command: Command, known: Known) -> dict[str, str]:
    """Return the answer to a command that moves no file, as a MIME bundle (text and static HTML).

    Raises:
        RefusedError: No such command, or not written like this.
    """
    command.words()
    return _HANDLERS[command.name](known)


def _status(known: Known) -> dict[str, str]:
    return bundles.status(known.info)


def _budget(known: Known) -> dict[str, str]:
    return bundles.budget(known.budget, known.contract, mode=str(known.info.get("mode", "")))


def _verify(known: Known) -> dict[str, str]:
    return bundles.receipts(known.releases, mode=str(known.info.get("mode", "")))


def _help(_known: Known) -> dict[str, str]:
    return bundles.table("Cloister commands", {form.usage(name): form.about for name, form in FORMS.items()})


_HANDLERS: dict[str, Callable[[Known], dict[str, str]]] = {
    "status": _status,
    "budget": _budget,
    "verify": _verify,
    "help": _help,
}


def _split(text: str) -> tuple[str, ...] | None:
    """Split as a shell does, but with a backslash as the ordinary character it is in file names of Windows."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return tuple(lexer)
    except ValueError:
        return None


def _unknown(name: str) -> CloisterError:
    return RefusedError(
        "command.unknown",
        f"there is no %cloister {name}",
        next_step="%cloister help",
        nearest=tuple(form.usage(known) for known, form in FORMS.items()),
    )


def _arguments(name: str, reason: str) -> CloisterError:
    return RefusedError(
        "command.arguments", f"{MAGIC} {name} is not written like this: {reason}", nearest=(FORMS[name].usage(name),)
    )
