"""The receiver's commands, ``cloister receiver|open``; the work is done beside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cloister.receiver import opening
from cloister.receiver.keys import create_key, read_key
from cloister.terminal import Terminal
from cloister.wire.text import spelt_out

out = Terminal(emoji=False)
err = Terminal(stderr=True, emoji=False)


def receiver(key: Annotated[Path, typer.Argument(help="Where to write your private key; it must not exist.")]) -> None:
    """Make the key pair of a receiver of deliveries; the public key goes into a contract."""
    out.print(create_key(key), markup=False, highlight=False, soft_wrap=True)
    err.print(f"private key: {key}. Who has it opens your deliveries.", markup=False, highlight=False, soft_wrap=True)


def open_delivery(
    delivery: Annotated[Path, typer.Argument(help="A delivery, as the analyst sent it.")],
    key: Annotated[Path, typer.Option(help="Your private key (`cloister receiver`).")],
    contract: Annotated[Path | None, typer.Option(help="The signed contract: checks who delivered what.")] = None,
    keys: Annotated[Path | None, typer.Option(help="CSV of your own unit keys: scores come with these keys.")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="Write the CSV here; default: print it.")] = None,
) -> None:
    """Open scores that were delivered to you; with --keys joined to your own unit keys."""
    document = None if contract is None else opening.read_contract(contract)
    found = opening.open_file(delivery, read_key(key), document)
    text, words = opening.join(found, keys) if keys else (opening.listed(found), f"{len(found.rows):,} units")
    for line in (found.origin, words, "exact scores, outside the formal guarantee"):
        err.print(spelt_out(line), markup=False, highlight=False, soft_wrap=True)
    if output is None:
        sys.stdout.write(text)
    else:
        opening.write(output, text)
