"""``cloister capsule``: which capsules a broker holds keys of, and destroying keys (crypto-shredding)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloister.contract import told
from cloister.errors import CloisterError, RefusedError
from cloister.provider import folder, shredding
from cloister.provider.commands import BrokerDir
from cloister.provider.contract_commands import say, utc_now
from cloister.provider.home import BrokerHome
from cloister.wire.text import spelt_out

app = typer.Typer(no_args_is_help=True, help="Capsules whose keys your broker holds, and destroying these keys.")
Reason = Annotated[str, typer.Option(help="Shown to analysts and written into the event log.")]
Yes = Annotated[bool, typer.Option("--yes", help="A destroyed key cannot be had back.")]


@app.command("list")
def list_capsules(directory: BrokerDir) -> None:
    """List the capsules: their tables, until when they are kept, and which keys were destroyed, when and why."""
    keys = BrokerHome(directory).data_keys
    for manifest in keys.manifests():
        until = keys.retain_until(manifest)
        kept = f"held{' until ' + until if until else ''}"
        if (why := keys.withheld(manifest)) is not None:
            kept = f"withheld since {why.time}: {why.reason}; `cloister capsule keep` or `shred`"
        try:
            key = keys.look(manifest)
        except CloisterError as error:
            say(f"{manifest}  {kept}  {error.code}: {error.reason}")
            continue
        if key is not None:
            groups = "; ".join(
                f"{one.card.name}: " + " | ".join(", ".join(group) for group in one.groups) for one in key.tables
            )
            say(f"{manifest}  {kept}  {groups}")
    for manifest, gone in keys.destroyed():
        say(f"{manifest}  destroyed {gone.time} ({gone.cause}) {gone.reason}".rstrip())
    if not keys.manifests() and not keys.destroyed():
        say("this broker holds no key of a capsule")


@app.command("show")
def show(
    directory: Annotated[Path, typer.Argument(help="The capsule: the directory that `cloister seal` wrote.")],
) -> None:
    """Show what a capsule says of itself to everybody: tables, how each was de-identified, published figures.

    Checks the signatures of manifest and cards, and that figures were computed from the table they stand with.
    """
    held = folder.read(directory)
    say(f"manifest {held.digest}\nprovider {held.manifest.provider}")
    for card in held.cards:
        tiers = ", ".join(f"{name} {tier}" for name, tier in ((one.name, one.tier) for one in card.columns))
        say(spelt_out(f"{card.name}: {card.title}"))
        say(spelt_out(f"  columns and tiers: {tiers}; size class {card.row_limit:,} rows"))
        for step in told.treatments(held.manifest, card.name):
            said = ", ".join(f"{name} {value}" for name, value in step.parameters.items())
            say(
                spelt_out(
                    f"  de-identified: {step.operator} {', '.join(step.columns)}" + (f" ({said})" if said else "")
                )
            )
        if (quality := told.quality(held.manifest, card.name)) is not None:
            figures = ", ".join(f"{name} {share}" for name, share in quality.figures.items())
            say(spelt_out(f"  quality, at least: {figures} (as of {quality.as_of}; report {quality.report})"))


@app.command("keep")
def keep(
    directory: BrokerDir,
    manifest: Annotated[str, typer.Argument(help="Digest of the capsule's manifest; left out: see --all.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every key that is withheld.")] = False,
    reason: Reason = "",
) -> None:
    """Give out again a key that `cloister ledger recover --burn` has withheld: you know that it was not destroyed.

    A backup knows nothing of keys that were destroyed after it was made. What you do not want to keep, shred.
    """
    if bool(manifest) == everything:
        raise RefusedError("keep.which", "say which key is to be kept", next_step="name a manifest, or --all")
    home = BrokerHome(directory)
    keys = home.data_keys
    wanted = [one for one in keys.manifests() if keys.withheld(one) is not None] if everything else [manifest]
    for one in wanted:
        shredding.keep(home, one, now=utc_now(), reason=reason)
        say(f"kept: {one}")
    if not wanted:
        say("no key is withheld")


@app.command("shred")
def shred(
    directory: BrokerDir,
    manifest: Annotated[str, typer.Argument(help="Digest of the capsule's manifest (`cloister capsule list`).")],
    reason: Reason = "",
    end_contracts: Annotated[
        bool, typer.Option("--end-contracts", help="Revoke, for good, the living contracts that need the key.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Destroy the key of a capsule: from then on nobody opens it, wherever it was copied to.

    Backups of this broker made before hold the key until you destroy them too.
    """
    home = _sure(directory, yes)
    _told(shredding.shred(home, manifest, now=utc_now(), reason=reason, end_contracts=end_contracts))


@app.command("exit")
def leave(directory: BrokerDir, reason: Reason = "", yes: Yes = False) -> None:
    """Leave: revoke every living contract of this broker and destroy every key it holds."""
    _told(shredding.leave(_sure(directory, yes), now=utc_now(), reason=reason))


def _sure(directory: Path, yes: bool) -> BrokerHome:
    if not yes:
        raise RefusedError("shred.confirm", "a destroyed key cannot be had back", next_step="add --yes")
    home = BrokerHome(directory)
    home.identity()
    return home


def _told(done: shredding.Shredded) -> None:
    for digest in done.ended:
        say(f"{digest} has ended")
    for manifest in done.gone:
        say(f"destroyed the key of {manifest}: the capsule cannot be opened any more")
    if not done.gone:
        say("there was no key left to destroy")
    say("backups made before still hold what was destroyed here: destroy them, or let them age out")
