"""``cloister unit-keys salt|hash``: the salt of hashed keys, and lists hashed under it."""

from __future__ import annotations

import base64
import csv
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloister.contract.card import Card
from cloister.errors import MalformedError
from cloister.provider import hashed_keys
from cloister.terminal import Terminal
from cloister.wire.envelope import Envelope

app = typer.Typer(
    no_args_is_help=True, help="Hashed unit keys: the salt that providers share, and lists hashed with it."
)
out = Terminal(emoji=False)


@app.command("salt")
def salt_command(
    path: Annotated[Path, typer.Argument(help="Salt file; drawn if it is not there (mode 0600).")],
) -> None:
    """Print the id of a salt, drawing the salt first if needed: the id goes into the cards, the file to the others."""
    out.print(hashed_keys.create_salt(path).id, markup=False, highlight=False, soft_wrap=True)


@app.command("hash")
def hash_command(
    card: Annotated[Path, typer.Argument(help="The card of the table that is asked, or the card.json of its capsule.")],
    keys: Annotated[Path, typer.Argument(help="CSV with the key columns of the card.")],
    salt: Annotated[Path, typer.Option("--salt", help="The salt file of its provider.")],
    output: Annotated[Path, typer.Option("--out", help="Where to write the list with hashed keys; must not exist.")],
) -> None:
    """Hash a list of unit keys as the table's own were hashed, to ask matches with."""
    document, shared = _card(card), hashed_keys.read_salt(salt)
    hashed_keys.check_salt(document, shared)
    try:
        text = keys.read_text(encoding="utf-8-sig")
        rows = list(hashed_keys.hash_list(document, text, shared))
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MalformedError(
            "salt.list", f"the list cannot be read or written: {error}", next_step="check the paths"
        ) from error
    out.print(f"written: {output}", markup=False, highlight=False, soft_wrap=True)
    if plain := [name for name in rows[0] if name not in document.key]:
        out.print(f"not hashed: {', '.join(plain)}", markup=False, highlight=False, soft_wrap=True)


def _card(path: Path) -> Card:
    """Return a card from a provider's own file or from a capsule's (whose signature says nothing here)."""
    try:
        data = path.read_bytes()
        if b"payloadType" in data:
            data = base64.b64decode(msgspec.json.decode(data, type=Envelope).payload)
        return msgspec.json.decode(data, type=Card)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise MalformedError(
            "card.file", f"{path} is no card: {error}", next_step="take card.json of the capsule"
        ) from error
