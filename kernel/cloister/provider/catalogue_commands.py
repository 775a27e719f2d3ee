"""``cloister catalogue``: what a broker offers, for whoever sits at its machine; roles do the same over HTTP."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from cloister.errors import RefusedError
from cloister.provider import catalogue, event_log, folder
from cloister.provider.commands import BrokerDir
from cloister.provider.contract_commands import say, utc_now
from cloister.provider.home import BrokerHome
from cloister.receipt.events import Event
from cloister.wire.text import spelt_out

app = typer.Typer(no_args_is_help=True, help="The catalogue of a broker: which capsules it offers, and to whom.")
Manifest = Annotated[str, typer.Argument(help="Digest of the capsule's manifest.")]


@app.command("submit")
def submit(
    directory: BrokerDir,
    capsule: Annotated[Path, typer.Argument(help="The capsule: the directory that `cloister seal` wrote.")],
    visible: Annotated[
        list[str] | None, typer.Option("--visible", help="A did that may see it; default: everybody with a role.")
    ] = None,
) -> None:
    """Take up a capsule with all its tables; nobody sees it until it is published."""
    held = folder.read(capsule)
    home = BrokerHome(directory)
    if home.data_keys.get(held.digest) is None:
        raise RefusedError("catalogue.key", "this broker holds no key of that capsule", next_step="seal it here")
    offered = catalogue.Offered(held.card_documents, held.document)
    _do(
        home, "catalogue.submit", held.digest,
        lambda db: catalogue.submit(
            db, held.digest, offered, held.manifest.provider, visible=visible or [catalogue.ANYBODY]
        ),
    )  # fmt: skip
    say(f"submitted: {held.digest} ({', '.join(card.name for card in held.cards)})")
    say(f"publish it with: cloister catalogue publish {directory} {held.digest}")


@app.command("publish")
def publish(directory: BrokerDir, manifest: Manifest) -> None:
    """Publish what was submitted: from now on those it is visible to find it."""
    _move(directory, manifest, "published", "catalogue.publish")


@app.command("deprecate")
def deprecate(directory: BrokerDir, manifest: Manifest) -> None:
    """Mark what is published as not to be used for new contracts."""
    _move(directory, manifest, "deprecated", "catalogue.deprecate")


@app.command("withdraw")
def withdraw(directory: BrokerDir, manifest: Manifest) -> None:
    """Take an entry back, for good; contracts with it go on."""
    _move(directory, manifest, "withdrawn", "catalogue.withdraw")


@app.command("search")
def search(
    directory: BrokerDir,
    words: Annotated[list[str] | None, typer.Argument(help="Words that a table's card must hold.")] = None,
    as_did: Annotated[
        str, typer.Option("--as", help="Show what this did sees; default: everything, whatever its state.")
    ] = "",
) -> None:
    """List the tables whose cards hold all words, capsule by capsule."""
    with _catalogue(BrokerHome(directory)) as db:
        found = catalogue.search(db, " ".join(words or ()), as_did, all_states=not as_did)
    # Lines, not a table: a digest has to be copied whole.
    for manifest, tables in itertools.groupby(found, lambda one: f"{one.manifest}  {one.state}"):
        say(manifest)
        for one in tables:
            quality = f"; quality, at least: {_figures(one)}" if one.figures else ""
            say(spelt_out(f"  {one.name}: {one.title} (by {one.unit}; highest tier {one.tier}{quality})"))
    if not found:
        say("nothing is offered" + (" that has these words" if words else ""))


@app.command("show")
def show(directory: BrokerDir, manifest: Manifest) -> None:
    """Show one entry: every table of the capsule."""
    with _catalogue(BrokerHome(directory)) as db:
        found, _ = catalogue.show(db, manifest, "", all_states=True)
    say(f"{manifest}  {found[0].state}")
    for one in found:
        said = f"{one.name}: {one.title}, of {one.population} by {one.unit}; highest tier {one.tier}"
        say("\n  ".join(map(spelt_out, (said, one.description, f"purposes: {', '.join(one.purposes)}"))))
        if one.steps:
            say(f"  de-identified: {', '.join(one.steps)}")
        if one.figures:
            say(f"  quality, at least: {_figures(one)} (as of {one.as_of})")


def _figures(one: catalogue.Listed) -> str:
    return ", ".join(f"{name} {share}" for name, share in one.figures.items())


def _move(directory: Path, manifest: str, to: str, action: str) -> None:
    _do(BrokerHome(directory), action, manifest, lambda db: catalogue.move(db, manifest, to))
    say(f"{manifest} is {to}")


def _do(home: BrokerHome, action: str, manifest: str, change: Callable[[sa.Connection], None]) -> None:
    """Change the catalogue and tell the log, in one transaction."""
    if home.restored_file.exists():
        raise RefusedError(
            "broker.restored", "a restored broker changes nothing", next_step="cloister ledger recover, first"
        )
    now = utc_now()
    with _catalogue(home) as db:
        change(db)
        event_log.open_log(db, now)
        event_log.record(db, Event("catalogue", now, actor="owner", op=action, subject=manifest))


@contextlib.contextmanager
def _catalogue(home: BrokerHome) -> Iterator[sa.Connection]:
    home.identity()
    accounts = home.open_accounts()
    try:
        with accounts.database.transaction() as db:
            yield db
    finally:
        accounts.close()
