"""``cloister audit check|alerts|report``, ``cloister checkpoint check``, ``cloister invoice``: offline, on files alone.

They need no account, no key and no database: whoever was handed the files can check them anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from cloister.errors import MalformedError, TrustError
from cloister.receipt import alerts, audit, checkpoint, export, invoice
from cloister.receipt.audit_accounts import Charged
from cloister.receipt.checkpoint import Taken
from cloister.receipt.events import Event
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

out = Terminal(emoji=False)
_T = TypeVar("_T")
_SOUND = "sound: the logs are those that were signed, and every charge is one that its contract allows"
Export = Annotated[Path, typer.Argument(help="An auditor's export (`cloister audit export`).")]
Did = Annotated[str, typer.Option("--broker", help="The did it must be of, from a contract you know.")]


def check(
    path: Export,
    broker: Did = "",
    earlier: Annotated[
        list[Path] | None, typer.Option("--earlier", help="A checkpoint taken before, which it must extend.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check an export: signatures, logs, and every charge against its contract. Exit code 2 if anything is false."""
    report = _check(path, audit.Audit(), broker, [document for one in earlier or () for document in documents(one)])
    if as_json:
        out.print_json(msgspec.json.encode(report).decode())
    else:
        _say(report.to_text())
        _say(_SOUND if report.sound else "not sound: the statements marked fail are false")
    raise typer.Exit(0 if report.sound else 2)


def find_alerts(
    path: Export,
    broker: Did = "",
    rules: Annotated[Path | None, typer.Option(help="A pack of rules (TOML); default: pboc40, packaged.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the alerts as JSON.")] = False,
) -> None:
    """Apply alert rules to an export, and list the rules that no log of a broker can show. Exit code 1 on alerts."""
    pack = alerts.pboc40() if rules is None else alerts.read_pack(_text(rules))
    watch = alerts.Watch(pack)
    _sound(_check(path, audit.Audit(charge=watch.charge, event=watch.event), broker))
    found = watch.alerts()
    if as_json:
        out.print_json(msgspec.json.encode(found).decode())
    else:
        for one in found:
            _say(f"rule {one.rule} ({one.text}): {one.what} {one.count:,} > {one.most:,}, {one.bucket}, {one.subject}")
        for rule in pack.rule:
            _say(f"rule {rule.id} ({rule.text}): " + (f"not applicable: {rule.reason}" if rule.reason else "applied"))
    raise typer.Exit(1 if found else 0)


def report(
    path: Export,
    since: Annotated[str, typer.Option("--from", help="First moment (RFC 3339 UTC).")] = "",
    until: Annotated[str, typer.Option("--to", help="First moment after.")] = "",
    broker: Did = "",
) -> None:
    """Count what happened in a period: charges, sessions, decisions, approvals, refusals by code, alerts."""
    counts: dict[str, int] = {}
    watch = alerts.Watch(alerts.pboc40())

    def count(event: Event) -> None:
        if since <= event.time and (not until or event.time < until):
            name = f"{event.kind} {event.status}".strip() if event.kind == "refusal" else event.kind
            counts[name] = counts.get(name, 0) + 1
            watch.event(event)

    def charge(charged: Charged) -> None:
        if since <= charged.time and (not until or charged.time < until):
            watch.charge(charged)

    _sound(_check(path, audit.Audit(charge=charge, event=count), broker))
    for name, number in sorted(counts.items()):
        _say(f"{number:>9,}  {name}")
    for one in watch.alerts():
        _say(f"alert of rule {one.rule}: {one.text}: {one.count:,} in {one.bucket}, {one.subject}")


def check_checkpoint(
    path: Annotated[Path, typer.Argument(help="A checkpoint (`cloister checkpoint take`).")],
    broker: Did = "",
    since: Annotated[Path | None, typer.Option("--since", help="The earlier checkpoint it is to extend.")] = None,
) -> None:
    """Check a checkpoint's signature, the entries proven to be in it, and that it extends an earlier one."""
    taken = read_taken(path)
    stated = checkpoint.open_checkpoint(taken.checkpoint, broker=broker)
    _say(f"broker {stated.broker}, {stated.time}: {stated.events:,} events, root {stated.root}")
    for tip in stated.accounts:
        _say(f"account {tip.population}: {tip.size:,} entries, rho {tip.spent}, root {tip.root}")
    for one in taken.entries:
        checkpoint.check_included(one, stated)
        _say(f"entry {one.index} of {one.population} is in it: {one.entry}")
    if since is not None:
        before = documents(since)[-1]
        earlier = checkpoint.open_checkpoint(before, broker=broker)
        if taken.earlier != checkpoint.digest_of(before):
            raise TrustError(
                "checkpoint.earlier",
                "the proofs in this file are about another earlier checkpoint",
                next_step="take one with --since that file",
            )
        checkpoint.check_extension(earlier, stated, taken.extends)
        _say(f"it extends the checkpoint of {earlier.time}: nothing was changed, removed or reordered")
    elif not broker:
        _say("its broker is the one it names: compare the did with a contract you know (--broker)")


def make_invoice(  # noqa: PLR0917 (a command line)
    path: Export,
    tariff: Annotated[
        Path | None, typer.Option(help="Prices (TOML); default: those that the contracts of the export state.")
    ] = None,
    since: Annotated[str, typer.Option("--from", help="First moment (RFC 3339 UTC).")] = "",
    until: Annotated[str, typer.Option("--to", help="First moment after.")] = "",
    broker: Did = "",
    output: Annotated[Path | None, typer.Option("--out", help="Write the invoice (JSON) here.")] = None,
    compare: Annotated[Path | None, typer.Option("--check", help="An invoice you were sent: is it this one?")] = None,
) -> None:
    """Make an invoice from an export alone, or check one that you were sent. Exit code 2 if it is another one."""
    meter = invoice.Meter(since=since, until=until)
    checked = audit.Audit(charge=meter.add)
    found = _check(path, checked, broker)
    _sound(found)
    if tariff is None:
        prices = invoice.signed_tariff(checked.contracts, *checked.dids)
    else:
        prices = invoice.read_tariff(_text(tariff))
    with path.open("rb") as lines:
        signed = checkpoint.digest_of(export.read_header(iter(lines)).checkpoint)
    made = meter.invoice(prices, broker=found.broker, checkpoint=signed)
    body = canonical.encode(made)
    if compare is not None:
        # A later export of the same period makes the same invoice, under another checkpoint.
        sent = _decode(compare, invoice.Invoice, "invoice")
        if canonical.encode(msgspec.structs.replace(sent, checkpoint=signed)) != body:
            _say("another invoice: the log and the tariff make " + body.decode())
            raise typer.Exit(2)
        _say(f"the same invoice: {made.total} {made.currency}")
        return
    if output is not None:
        output.write_bytes(body + b"\n")
    for line in made.lines:
        what = f"{line.quantity:,} {line.item}, {line.charged:,} charged at {line.price} per {line.per:,}"
        _say(f"{line.contract[:23]}  {line.analyst}  {what}: {line.amount}")
    _say(f"total {made.total} {made.currency}")


def documents(path: Path) -> list[Envelope]:
    """Return the signed checkpoints of a file: one that was taken, or an anchor's lines.

    Raises:
        MalformedError: ``checkpoint.file``.
    """
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        if len(lines) == 1 and b'"checkpoint"' in lines[0][:200]:
            return [msgspec.json.decode(lines[0], type=Taken).checkpoint]
        found = [msgspec.json.decode(line, type=Envelope) for line in lines]
    except (OSError, msgspec.MsgspecError) as error:
        raise MalformedError("checkpoint.file", f"{path} holds no checkpoint") from error
    if not found:
        raise MalformedError("checkpoint.file", f"{path} is empty")
    return found


def read_taken(path: Path) -> Taken:
    """Return a checkpoint with its proofs.

    Raises:
        MalformedError: ``checkpoint.file``.
    """
    return _decode(path, Taken, "checkpoint")


def _decode(path: Path, kind: type[_T], name: str) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        advice = "name the file that `cloister checkpoint take` or `cloister invoice` wrote"
        raise MalformedError(f"{name}.file", f"{path} is not the JSON of one {name}", next_step=advice) from error


def _check(path: Path, one: audit.Audit, broker: str, earlier: Iterable[Envelope] = ()) -> audit.Report:
    try:
        with path.open("rb") as lines:
            return one.check(lines, broker=broker, earlier=earlier)
    except OSError as error:
        raise MalformedError("export.file", f"{path} cannot be read") from error


def _sound(found: audit.Report) -> None:
    if not found.sound:
        raise TrustError("audit.unsound", "the export is not sound", next_step="cloister audit check says why")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError("file.missing", f"{path} cannot be read", next_step="check the path") from error


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
