"""More of ``cloister contract`` and ``cloister broker``: words, templates, export, approvals, ends of contracts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from cloister.contract import amendments, differences, gallery, odrl, packs, permissions, signing, tariffs, words
from cloister.contract.approvals import read_unverified
from cloister.contract.terms import Contract
from cloister.errors import ContractError, MalformedError
from cloister.provider import contracts, obligations, shredding
from cloister.provider.approvals import Withdrawal
from cloister.provider.commands import BrokerDir, broker_app, contract_app
from cloister.provider.home import BrokerHome
from cloister.receipt.events import Event
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

out = Terminal(emoji=False)
Language = Annotated[Literal["en", "zh"], typer.Option(help="en: English, zh: Chinese.")]


def in_words(contract: Contract, language: Literal["en", "zh"]) -> str:
    """Return a contract's plain words in a language."""
    return words.in_words(contract, language)


@contract_app.command("show")
def show(contract: Annotated[Path, typer.Argument()], language: Language = "en") -> None:
    """Say in plain words what a contract allows, and who has signed."""
    document = read_document(contract)
    terms = signing.read_unverified(document)
    say(in_words(terms, language))
    for table in terms.tables:
        say(f"{table.name}: manifest {table.manifest} card {table.card}")
    missing = signing.missing_signers(document)
    say(f"digest {signing.contract_digest(document)}")
    say("signed by everybody" if not missing else "not signed by: " + ", ".join(missing))


@contract_app.command("diff")
def diff(
    before: Annotated[Path, typer.Argument()],
    after: Annotated[Path, typer.Argument()],
    language: Annotated[
        Literal["clauses", "en", "zh"], typer.Option(help="clauses: one by one; en, zh: the sentences that change.")
    ] = "clauses",
) -> None:
    """Say what changed between two contracts; of an amendment also what its signers should notice."""
    old, new = (signing.read_unverified(read_document(path)) for path in (before, after))
    if language == "clauses":
        changed = differences.difference(old, new)
    else:
        changed = differences.changes(in_words(old, language), in_words(new, language))
    say("\n".join(changed) or "no difference")
    if new.former == signing.contract_digest(old):
        amendments.check(new, old)
        for finding in amendments.findings(new, old):
            out.print(
                f"{finding.code}  {finding.clause}: {finding.text}; {finding.advice}", style="yellow", markup=False
            )


@contract_app.command("template")
def template(
    kind: Annotated[str, typer.Argument(help="Leave it out to list them.")] = "",
    output: Annotated[Path | None, typer.Option("--out", help="Where to write it; default: print it.")] = None,
) -> None:
    """Give a specification to fill in for `contract draft`, one for each kind of data space."""
    if not kind:
        say("\n".join(f"{name:<14}{text}" for name, text in gallery.KINDS.items()))
    elif output is None:
        say(gallery.template(kind).rstrip())
    else:
        output.write_text(gallery.template(kind), encoding="utf-8")
        say(f"written: {output}; fill in what stands in <>, then `cloister contract draft {output}`")


@contract_app.command("export")
def export(
    contract: Annotated[Path, typer.Argument()],
    as_odrl: Annotated[bool, typer.Option("--odrl", help="As an ODRL 2.2 agreement (JSON-LD).")] = True,
) -> None:
    """Print a contract for other tools; the export is not signed and permits nothing."""
    terms = signing.read_unverified(read_document(contract))
    found = odrl.agreement(terms) if as_odrl else msgspec.to_builtins(terms)
    say(msgspec.json.format(canonical.encode(found), indent=1).decode())


@contract_app.command("prices")
def prices(
    contract: Annotated[Path, typer.Argument()],
    broker: Annotated[str, typer.Option(help="The broker's name in the contract.")],
) -> None:
    """Print the signed prices of a broker as the price list (TOML) that invoices are made from."""
    document = read_document(contract)
    say(tariffs.price_list(signing.open_contract(document, now=signing.read_unverified(document).not_before), broker))


@contract_app.command("matrix")
def matrix(
    pack: Annotated[str, typer.Argument(help="A pack of tier rules; left out: roles, and the usual tiers.")] = "",
) -> None:
    """Print who may do what under a contract, or what each tier of a pack demands (Markdown)."""
    if pack:
        found = packs.load(pack)
        say(f"{permissions.tier_table(found)}\n\ndigest {found.digest}")
        for rule in found.left_out:
            say(f"not enforced: {rule}")
    else:
        say(f"{permissions.role_table()}\n\n{permissions.tier_table(packs.USUAL)}")


@broker_app.command("approve")
def approve(directory: BrokerDir, approval: Annotated[Path, typer.Argument(help="Signed by its approvers.")]) -> None:
    """Take up an approval: from now on charges that rest on it are signed."""
    home, document = BrokerHome(directory), read_document(approval)
    known = home.contracts.get(read_unverified(document).contract)
    if known is None:
        raise ContractError("contract.unknown", "this broker does not have the contract it is of", next_step="add it")
    say(home.approvals.add(document, known.contract, known.digest))


@broker_app.command("approvals")
def list_approvals(directory: BrokerDir) -> None:
    """List the approvals, and which of them were withdrawn."""
    held = BrokerHome(directory).approvals
    for digest in held.digests():
        document, gone = held.get(digest), held.withdrawn(digest)
        asked = None if document is None else read_unverified(document)
        about = "unreadable" if asked is None else f"{asked.table} {', '.join(asked.columns)} until {asked.not_after}"
        say(f"{digest}  {'withdrawn ' + gone.time if gone else 'held'}  {about}")


@broker_app.command("withdraw")
def withdraw(
    directory: BrokerDir,
    approval: Annotated[str, typer.Argument(help="The approval's digest.")],
    reason: Annotated[str, typer.Option(help="Shown to the analyst.")] = "",
) -> None:
    """Withdraw an approval for good: nothing that rests on it is released any more."""
    home = BrokerHome(directory)
    home.approvals.withdraw(approval, Withdrawal(utc_now(), reason))
    event = Event("approval", utc_now(), actor="owner", op="approval.withdraw", subject=approval, reason=reason[:200])
    home.record(event)
    say(f"{approval} is withdrawn")


@broker_app.command("complete")
def complete(
    directory: BrokerDir,
    contract: Annotated[str, typer.Argument(help="The contract's digest.")],
    reason: Annotated[str, typer.Option(help="Shown to the analyst.")] = "",
) -> None:
    """Say that the work under a contract is completed: it ends for good, and its obligations are met."""
    home = BrokerHome(directory)
    done = obligations.complete(home, contract, now=utc_now(), reason=reason)
    home.record(Event("decision", utc_now(), actor="owner", contract=contract, status="revoked"))
    shredding.tell(home)
    _told(done)


@broker_app.command("sweep")
def sweep(directory: BrokerDir) -> None:
    """Destroy keys whose time is over: of contracts that oblige to it, of capsules (a running broker does it too)."""
    done = shredding.sweep(BrokerHome(directory), now=utc_now())
    for manifest in done.gone:
        say(f"destroyed the key of {manifest}: the capsule cannot be opened here any more")
    for manifest in done.damaged:
        say(f"the key of {manifest} cannot be read, nor when it is to go: `cloister capsule shred` destroys it")
    if not done.gone and not done.damaged:
        say("nothing to do")


def _told(done: obligations.Destroyed) -> None:
    say(f"{done.contract} has ended")
    for manifest in done.gone:
        say(f"destroyed the key of {manifest}: the capsule cannot be opened here any more")
    for manifest in done.kept:
        say(f"kept the key of {manifest}: another contract that is still alive needs it")


def read_document(path: Path) -> Envelope:
    """Return a signed document.

    Raises:
        MalformedError: ``file.missing``, ``contract.file``.
    """
    try:
        return contracts.read(path.read_bytes())
    except OSError as error:
        raise MalformedError("file.missing", f"{path} cannot be read", next_step="check the path") from error


def utc_now() -> str:
    """Return the time as contracts write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(text: str) -> None:
    """Print a text as it stands."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)
