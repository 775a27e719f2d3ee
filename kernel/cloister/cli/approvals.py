"""``cloister approval``: the analyst asks, approvers of the table's provider sign, everybody reads what was asked."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloister.contract import approvals, signing
from cloister.contract.approvals import Approval, Operation
from cloister.contract.terms import Contract
from cloister.errors import MalformedError, missing_extra
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

app = typer.Typer(no_args_is_help=True, help="Approvals: what persons allow beyond the tiers of a contract.")
out = Terminal(emoji=False)
_TIME = "%Y-%m-%dT%H:%M:%SZ"

ContractFile = Annotated[Path, typer.Option("--contract", help="The signed contract.")]


@app.command("request")
def request(
    contract: Annotated[Path, typer.Argument(help="The signed contract.")],
    output: Annotated[Path, typer.Option("--out", help="Where to write the request.")],
    table: Annotated[str, typer.Option(help="The one table it is about.")],
    column: Annotated[list[str], typer.Option(help="A column of it; repeat for each.")],
    operation: Annotated[list[str], typer.Option(help="aggregate, model, match or deliver; repeat for each.")],
    purpose: Annotated[str, typer.Option(help="One purpose of the contract.")],
    necessity: Annotated[str, typer.Option(help="Why it is needed.")] = "",
    measures: Annotated[str, typer.Option(help="How the risk is kept small.")] = "",
    lowers_to: Annotated[int, typer.Option(help="The tier that the results shall be handled by; 0: not lowered.")] = 0,
    nda: Annotated[Path | None, typer.Option(help="The confidentiality agreement you signed (a file).")] = None,
    plan: Annotated[str, typer.Option(help="The delivery it is about: its plan's digest in the contract.")] = "",
    days: Annotated[int, typer.Option(help="How long it shall hold, from now on.")] = 90,
    key: Annotated[Path | None, typer.Option(help="Your key file; default: this machine's analyst key.")] = None,
) -> None:
    """Ask, as an analyst, for what the tiers of a contract do not allow without approval."""
    terms, digest = _contract(contract)
    signer = _analyst_key() if key is None else _key(key)
    now = datetime.now(UTC)
    fields = {
        "contract": digest,
        "analyst": signer.did,
        "table": table,
        "columns": column,
        "operations": operation,
        "purpose": purpose,
        "necessity": necessity,
        "measures": measures,
        "lowers_to": lowers_to,
        "nda": "" if nda is None else "sha256:" + hashlib.sha256(_bytes(nda)).hexdigest(),
        "not_before": now.strftime(_TIME),
        "not_after": (now + timedelta(days=days)).strftime(_TIME),
    } | ({"plan": plan} if plan else {})
    try:
        approval = msgspec.convert(fields, Approval)
    except msgspec.ValidationError as error:
        known = ", ".join(Operation.__args__)  # type: ignore[attr-defined]  # (a Literal has them)
        raise MalformedError("approval.malformed", str(error), next_step=f"operations are {known}") from error
    output.write_bytes(canonical.encode(approvals.request(approval, terms, signer)))
    _show(approval, terms)
    _say(f"written: {output}; approvers sign it with `cloister approval sign`")


@app.command("sign")
def sign(
    approval: Annotated[Path, typer.Argument(help="The request.")],
    contract: ContractFile,
    key: Annotated[Path, typer.Option(help="Your key file; the contract names its did as an approver.")],
) -> None:
    """Approve a request of somebody else: read what is printed, your signature is added below it."""
    terms, _ = _contract(contract)
    document = approvals.approve(_document(approval), terms, _key(key))
    _show(approvals.read_unverified(document), terms)
    approval.write_bytes(canonical.encode(document))
    _say(f"signed; {len(document.signatures) - 1} approver(s) so far")


@app.command("show")
def show(approval: Annotated[Path, typer.Argument(help="The request.")], contract: ContractFile) -> None:
    """Say what was asked, and who has approved it. Exit code 1 while nobody has."""
    terms, digest = _contract(contract)
    document = _document(approval)
    _show(approvals.read_unverified(document), terms)
    opened = approvals.open_approval(document, terms, digest)
    _say(f"approved by {', '.join(opened.approvers)}\ndigest {opened.digest}")


def _show(asked: Approval, terms: Contract) -> None:
    name = next((party.name for party in terms.parties if party.did == asked.analyst), asked.analyst)
    _say(f"{name} asks for {', '.join(asked.operations)} with {', '.join(asked.columns)} of {asked.table}")
    _say(f"for {asked.purpose}, from {asked.not_before} until {asked.not_after}")
    if not isinstance(asked.plan, msgspec.UnsetType):
        receivers = {one.receiver for one in terms.outside.deliveries if one.plan == asked.plan}
        _say(f"only for the delivery of the plan {asked.plan} to {', '.join(sorted(receivers)) or '(nobody)'}")
    _say(f"because: {asked.necessity or '(not said)'}\nagainst the risk: {asked.measures or '(not said)'}")
    _say(f"results are handled as tier {asked.lowers_to}" if asked.lowers_to else "the tier of results is not lowered")
    _say(f"confidentiality agreement: {asked.nda or '(none)'}")


def _contract(path: Path) -> tuple[Contract, str]:
    document = _document(path)
    contract = signing.read_unverified(document)
    return signing.open_contract(document, now=contract.not_before), signing.contract_digest(document)


def _document(path: Path) -> Envelope:
    try:
        return msgspec.json.decode(_bytes(path), type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("approval.file", f"{path} is no signed document") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MalformedError("file.missing", f"{path} cannot be read", next_step="check the path") from error


def _analyst_key() -> SigningKey:
    from cloister.analyst.trust import TrustStore

    return TrustStore().analyst_key()


def _key(path: Path) -> SigningKey:
    try:
        from cloister.provider.keys import load_identity
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "the provider's tools") from error
    return load_identity(path)


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
