"""The provider's commands about logs, recovery and operation; the work is done beside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloister.errors import MalformedError, RefusedError
from cloister.provider import (
    anchors,
    backup,
    checkpoints,
    event_log,
    files,
    lock,
    operators,
    recovery,
    restored,
    revoked,
    roles,
    rotation,
)
from cloister.provider.accounts import Accounts
from cloister.provider.home import BrokerHome, existing
from cloister.receipt.checkpoint import Taken, open_checkpoint
from cloister.receipt.events import Event
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

ledger_app = typer.Typer(no_args_is_help=True, help="The accounts themselves.")
out = Terminal(emoji=False)
BrokerDir = Annotated[Path, typer.Argument(help="The broker's directory.", callback=existing)]


def take(
    directory: BrokerDir,
    output: Annotated[Path, typer.Option("--out", help="Where to write the checkpoint.")],
    since: Annotated[
        Path | None, typer.Option("--since", help="An earlier one, which it shall be proven to extend.")
    ] = None,
    anchor: Annotated[
        list[str] | None, typer.Option("--anchor", help="A file elsewhere, or another broker: URL#DID.")
    ] = None,
    charge: Annotated[
        list[str] | None, typer.Option("--charge", help="POPULATION=CHARGE_ID, to be proven to be in it.")
    ] = None,
) -> None:
    """Sign where all logs stand, and hand it to anchors that this broker cannot take it back from."""
    earlier = None if since is None else _documents(since)[-1]
    asked = [_charge(text) for text in charge or ()]
    with _opened(directory) as (home, accounts):

        def prove(before: Envelope | None) -> Taken:
            return checkpoints.take(home, accounts, now=_now(), actor="owner", earlier=before, charges=asked)

        for place in anchor or ():
            _, said = anchors.anchor(_anchor(place, home), prove)
            _say(f"anchored: {said}")
        taken = prove(earlier)
    output.write_bytes(canonical.encode(taken))
    stated = open_checkpoint(taken.checkpoint)
    _say(f"{output}: {stated.events:,} events, {len(stated.accounts)} accounts")
    _say("check it with `cloister checkpoint check`")


def export(
    directory: BrokerDir, output: Annotated[Path, typer.Option("--out", help="Where to write the export.")]
) -> None:
    """Write every log for an auditor: no data, no key, no receipt, no result. Anybody can check it offline."""
    with _opened(directory) as (home, accounts), output.open("wb") as file:
        for line in checkpoints.write_export(home, accounts, now=_now(), actor="owner"):
            file.write(line)
    _say(f"{output}: check it with `cloister audit check`")


@ledger_app.command("recover")
def recover(
    directory: BrokerDir,
    proof: Annotated[
        list[Path] | None, typer.Option("--proof", help="An export, a checkpoint or a file of an anchor; newest best.")
    ] = None,
    anchor: Annotated[list[str] | None, typer.Option("--anchor", help="Another broker to ask: URL#DID.")] = None,
    burn: Annotated[
        bool, typer.Option("--burn", help="Spend every account to its limit if more was booked than can be proven.")
    ] = False,
) -> None:
    """Bring restored accounts forward to the longest proven state, or burn the gap; then the broker serves again."""
    home = BrokerHome(directory)
    exports = [path for path in proof or () if _is_export(path)]
    known = [document for path in proof or () if path not in exports for document in _documents(path)[-1:]]
    known += [found for place in anchor or () if (found := _anchor(place, home).newest()) is not None]
    with lock.held(directory):
        done = recovery.recover(home, exports=exports, checkpoints=known, burn=burn, now=_now())
    _say(
        f"{done.entries:,} entries and {done.events:,} events were brought back; every vault has to prove itself again"
    )
    if done.entries:
        _say("their receipts are not here: these charges are refused from now on, ask with another share or precision")
    for population in done.burnt:
        _say(f"burnt: the account of {population} is spent to its limit; its parties may sign a new contract")
    if done.decisions:
        _say(f"{done.decisions:,} decisions about contracts, identities, roles, approvals and keys were done again")
    for digest in done.suspended:
        _say(f"suspended: decisions about {digest} may be lost; look, then `cloister broker resume`")
    for manifest in done.withheld:
        _say(f"withheld: the key of {manifest} may have been destroyed since; `cloister capsule keep` or `shred`")
    if done.burnt or done.suspended:
        _say("nobody has a role any more; grant, revoke and veto again what was decided since the copy was made")
        _say("say the least software version for each contract: `cloister release least`")
        _say("endorsements count no more; take them anew: `cloister endorse`")
    for digest in done.revoked:
        _say(f"revoked: {digest} has exits, and their counts are lost")


def extend_broker(app: typer.Typer) -> None:
    """Add the commands of this module to ``cloister broker``."""
    app.command("backup")(make_backup)
    app.command("restore")(restore)
    app.command("rotate-key")(rotate_key)
    app.command("grant")(grant)
    app.command("ungrant")(ungrant)
    app.command("roles")(show_roles)
    app.command("revoke-did")(revoke_did)
    app.command("peer")(peer)
    app.command("metrics-token")(metrics_token)
    app.command("purge")(purge)
    app.command("accounts-at")(accounts_at)


def metrics_token(directory: BrokerDir) -> None:
    """Make a new token for `/v1/metrics`; the one before counts no more."""
    home = BrokerHome(directory)
    home.identity()
    operators.make_token(home)
    _say(f"{home.metrics_file}: Prometheus sends it as bearer (`authorization: {{credentials_file: ...}}`)")


def make_backup(
    directory: BrokerDir, output: Annotated[Path, typer.Option("--out", help="The backup file (0600): it holds keys.")]
) -> None:
    """Write the whole directory into one file, while the broker serves or not."""
    manifest = backup.backup(BrokerHome(directory), output, now=_now())
    _say(f"{output}: {len(manifest.files)} files; it holds every secret of this broker")
    if "accounts.sqlite" not in manifest.files:
        _say("the accounts are in PostgreSQL and not in it: back them up with its own tools (pg_dump)")


def restore(
    archive: Annotated[Path, typer.Argument(help="A backup.")],
    directory: Annotated[Path, typer.Argument(help="A new directory for the broker.")],
) -> None:
    """Make a broker's directory from a backup. It signs nothing until `cloister ledger recover`."""
    manifest = backup.restore(archive, directory, now=_now())
    _say(f"{directory}: as of {manifest.time}; read-only until `{restored.NEXT_STEP} {directory} --proof ...`")


def rotate_key(
    directory: BrokerDir,
    stop: Annotated[
        bool, typer.Option("--stop-contracts", help="Even though active contracts name the old key and end with it.")
    ] = False,
) -> None:
    """Replace the broker's key; contracts that name the old one end, accounts stay."""
    with lock.held(directory), _opened(directory) as (home, accounts):
        rotation.finish(home, accounts)
        _say(f"did {rotation.rotate(home, accounts, now=_now(), stop_contracts=stop)}")


Did = Annotated[str, typer.Argument(help="A did:key.")]
RoleName = Annotated[str, typer.Argument(help="One of " + ", ".join(roles.ROLES) + ".")]


def grant(directory: BrokerDir, did: Did, role: RoleName) -> None:
    """Give a role to a did; what each may do is in docs/roles.md."""
    roles.grant(BrokerHome(directory), did, role)
    _record(directory, Event("role", _now(), actor="owner", op="role.grant", subject=did, status=role))
    _say(f"{did} is {role}")


def ungrant(directory: BrokerDir, did: Did, role: RoleName) -> None:
    """Take a role from a did."""
    roles.remove(BrokerHome(directory), did, role)
    _record(directory, Event("role", _now(), actor="owner", op="role.remove", subject=did, status=role))
    _say(f"{did} is no {role}")


def show_roles(directory: BrokerDir) -> None:
    """List who has which role."""
    for did, held in sorted(roles.read(BrokerHome(directory)).dids.items()):
        _say(f"{did}  {', '.join(held)}")


def revoke_did(
    directory: BrokerDir, did: Did, reason: Annotated[str, typer.Option(help="Kept with the revocation.")] = ""
) -> None:
    """Serve an analyst, a vault or an administrator no more, for good; from the next request on."""
    revoked.revoke(BrokerHome(directory), did, now=_now(), reason=reason)
    _record(directory, Event("identity", _now(), actor="owner", op="identity.revoke", subject=did, reason=reason[:200]))
    _say(f"{did} is revoked")


def peer(
    directory: BrokerDir, did: Did, remove: Annotated[bool, typer.Option("--remove", help="No longer.")] = False
) -> None:
    """Take up the checkpoints of another broker, so that it cannot go back behind them."""
    home = BrokerHome(directory)
    known = set(anchors.read_peers(home).dids)
    anchors.set_peers(home, tuple(known - {did} if remove else known | {did}))
    _say(f"{did} is {'no ' if remove else 'a '}peer")


def purge(
    directory: BrokerDir,
    before: Annotated[str, typer.Option("--before", help="Events written before this moment (RFC 3339 UTC).")],
    retention: Annotated[str, typer.Option("--class", help="log (6 months) or record (3 years).")] = "log",
) -> None:
    """Remove the bodies of old events; refused before their retention has ended. The log still verifies."""
    with _opened(directory) as (home, accounts), accounts.database.transaction() as db:
        checkpoints.check_current(home)
        _say(f"{event_log.purge(db, retention, before, now=_now(), actor='owner'):,} events have no body any more")


def accounts_at(
    directory: BrokerDir, url: Annotated[str, typer.Argument(help="postgresql://user:password@host/database")]
) -> None:
    """Keep the accounts in PostgreSQL. Only for a broker that has not booked anything yet."""
    with lock.held(directory):
        _move_accounts(BrokerHome(directory), url)
    _say("accounts are kept there from now on")


def _move_accounts(home: BrokerHome, url: str) -> None:
    """Refuse to leave anything behind: accounts and events here, and in a database that was named before."""
    checkpoints.check_current(home)
    if (home.accounts_file.exists() or home.accounts_url.exists()) and _written(home.open_accounts()):
        raise MalformedError(
            "database.booked", "this broker has accounts or events already",
            next_step="start a new broker for new contracts",
        )  # fmt: skip
    if home.witness.seen() is not None:
        raise RefusedError("broker.restored", "this broker had accounts before", next_step=restored.NEXT_STEP)
    if _written(Accounts(url)):
        raise MalformedError(
            "database.foreign", "there are accounts or events of a broker in that database",
            next_step="name an empty database",
        )  # fmt: skip
    files.write_private(home.accounts_url, url.encode())


def _written(accounts: Accounts) -> bool:
    try:
        with accounts.database.transaction() as db:
            return event_log.tip(db).size > 0 or bool(event_log.account_tips(db))
    finally:
        accounts.close()


def _record(directory: Path, event: Event) -> None:
    BrokerHome(directory).record(event)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[tuple[BrokerHome, Accounts]]:
    home = BrokerHome(directory)
    home.identity()
    accounts = home.open_accounts()
    try:
        yield home, accounts
    finally:
        accounts.close()


def _anchor(place: str, home: BrokerHome) -> anchors.Anchor:
    if not place.startswith(("http://", "https://")):
        return anchors.FileAnchor(Path(place), home.identity().did)
    url, _, peer = place.partition("#")
    if not peer:
        raise MalformedError(
            "anchor.peer",
            "nobody but the broker that is meant can say what it has seen, so its did is needed",
            next_step=f"--anchor '{url}#did:key:...'",
        )
    return anchors.BrokerAnchor(url, home.identity(), peer)


def _is_export(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'"kind":"cloister-audit"' in file.readline()
    except OSError as error:
        raise MalformedError("file.missing", f"{path} cannot be read", next_step="check the path") from error


def _documents(path: Path) -> list[Envelope]:
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        if len(lines) == 1 and lines[0].startswith(b'{"checkpoint"'):
            return [msgspec.json.decode(lines[0], type=Taken).checkpoint]
        found = [msgspec.json.decode(line, type=Envelope) for line in lines]
    except (OSError, msgspec.MsgspecError) as error:
        raise MalformedError("checkpoint.file", f"{path} holds no checkpoint") from error
    if not found:
        raise MalformedError("checkpoint.file", f"{path} is empty")
    return found


def _charge(text: str) -> tuple[str, str]:
    population, _, charge = text.partition("=")
    if not population or not charge:
        raise MalformedError(
            "log.charge", f"{text!r} is not POPULATION=CHARGE_ID", next_step="--charge people=sha256:..."
        )
    return population, charge


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
