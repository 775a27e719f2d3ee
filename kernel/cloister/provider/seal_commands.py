"""``cloister seal``: tables of one provider, encrypted under their cards into one capsule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cloister.contract.card import Card
from cloister.contract.findings import parse_time
from cloister.provider import hashed_keys, per_table, readers
from cloister.provider import seal as sealing
from cloister.provider.commands import KeyFile, read_card
from cloister.provider.deidentify import commands as deidentify_commands
from cloister.provider.home import BrokerHome
from cloister.provider.keys import load_identity
from cloister.provider.parents import read_parent
from cloister.provider.quality import published
from cloister.terminal import Terminal

if TYPE_CHECKING:
    from cloister.provider.readers import Database

out = Terminal(emoji=False)
Also = Annotated[list[str] | None, typer.Option("--also", help="CARD=DATA: another table for the same capsule.")]


def seal(  # noqa: PLR0917 (a command line)
    card: Annotated[Path, typer.Argument(help="The card (JSON).")],
    data: Annotated[
        str, typer.Argument(help="CSV or Parquet, sqlite:///FILE or postgresql://USER@HOST/NAME.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--out", help="The capsule's directory; must not exist.")],
    key: KeyFile,
    broker: Annotated[Path, typer.Option("--broker", help="The broker's directory that shall keep the data key.")],
    parents: Annotated[
        list[str] | None,
        typer.Option("--from", help="A capsule it was made from: DIR, or DIR=column,column if only these were used."),
    ] = None,
    salt: Annotated[
        Path | None, typer.Option("--hash-keys", help="Seal unit keys as hashes under the salt in this file.")
    ] = None,
    table: Annotated[str, typer.Option(help="The table of a database to read.")] = "",
    query: Annotated[str, typer.Option(help="A SELECT to read from a database, instead of a table.")] = "",
    also: Also = None,
    apart: Annotated[
        list[str] | None,
        typer.Option("--apart", help="Columns (a,b) with a key of their own: who may not use them never gets it."),
    ] = None,
    retain_until: Annotated[
        str, typer.Option(help="When the broker destroys the key (2027-12-31T00:00:00Z); default: no time.")
    ] = "",
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="De-identify first, by this recipe (TOML); of several tables: TABLE=FILE, each."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", help="The secret file of the pseudonyms, or TABLE=FILE for each; it stays with you."),
    ] = None,
    quality: Annotated[
        list[Path] | None,
        typer.Option(
            "--quality", help="Publish the figures that `cloister quality --published` wrote, in the manifest."
        ),
    ] = None,
) -> None:
    """Encrypt tables under their cards, on this machine; the data key goes to your broker only.

    Recipes and figures are each about one table. What a recipe found, and what the check of a table found, is printed
    for you, table by table, and goes nowhere; the manifest says of each table which steps were done.
    """
    home = BrokerHome(broker)
    home.identity()
    until = _time(retain_until)
    sources = [(read_card(card), readers.source(data, table, query)), *others(also)]
    names = [one.name for one, _ in sources]
    made_from = [read_parent(text) for text in parents or ()]
    shared = None if salt is None else hashed_keys.read_salt(salt)
    groups = [[name.strip() for name in text.split(",")] for text in apart or ()]
    done = sealing.seal_tables(
        sources, output, load_identity(key), parents=made_from, salt=shared, apart=groups,
        recipes=deidentify_commands.load_all(per_table.files("--recipe", recipe or (), names), secret or (), names),
        quality=published.read(quality or ()),
    )  # fmt: skip
    home.add_capsule(done, retain_until=until)
    _say(f"capsule {done.directory}\nmanifest {done.manifest_digest}")
    for one in done.tables:
        _say(f"card {one.digest}" + (f" {one.card.name}" if len(names) > 1 else ""))
    _say("For your eyes only (nothing of this leaves your machine):")
    _show(done.tables)


def others(texts: Sequence[str] | None) -> list[tuple[Card, str | Database]]:
    """Return the further tables that a command line names."""
    pairs = [text.partition("=") for text in texts or ()]
    return [(read_card(Path(card)), readers.source(data)) for card, _, data in pairs]


def _show(sealed: Sequence[sealing.SealedCard]) -> None:
    for one in sealed:
        if len(sealed) > 1:
            _say(f"{one.card.name}:")
        out.print_json(msgspec.json.encode(one.report).decode())
        deidentify_commands.show(one.anonymity)


def _time(text: str) -> str:
    if text:
        parse_time(text)
    return text


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
