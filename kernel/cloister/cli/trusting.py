"""Whom this machine trusts: contracts, the enclaves that serve them, and what works here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from cloister.cli.groups import app, out
from cloister.errors import ContractError


@app.command()
def connect(
    contract: Annotated[Path, typer.Argument(help="The signed contract.")],
    enclave: Annotated[str, typer.Option(help="ws:// or wss:// address of the enclave.")],
    name: Annotated[str, typer.Option(help="Name of the entry and of its kernels; default: the contract's.")] = "",
    policy: Annotated[Path | None, typer.Option(help="Your policy (TOML); default: pin what is seen now.")] = None,
    purpose: Annotated[str, typer.Option(help="A purpose of the contract.")] = "",
    accept_simulated: Annotated[bool, typer.Option("--accept-simulated", help="Accept a simulated enclave.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Verify a contract and an enclave, remember your decision, install the two kernels."""
    from cloister.analyst.connect import Proposal
    from cloister.analyst.connect import connect as verify_and_store

    def confirm(proposal: Proposal) -> bool:
        out.print(proposal.words(), markup=False, highlight=False, soft_wrap=True)
        return yes or typer.confirm("Trust this?")

    text = policy.read_text(encoding="utf-8") if policy else ""
    coroutine = verify_and_store(
        contract, enclave, name=name, policy=text, accept_simulated=accept_simulated, purpose=purpose, confirm=confirm
    )
    entry = asyncio.run(coroutine)
    out.print(f"kernels installed: Cloister: {entry.name} and Cloister: {entry.name} (mock)", markup=False)


@app.command()
def status(
    entry: Annotated[str, typer.Argument(help="An entry of your trust store; default: all.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Ask the enclave for fresh evidence now.")] = False,
) -> None:
    """Say whom this machine trusts for which contract, and with --check whether the enclave proves it now."""
    from cloister.analyst.dial import EnclaveSession
    from cloister.analyst.trust import TrustStore

    store = TrustStore()
    out.print(f"you are {store.analyst_key().did}", markup=False, highlight=False, soft_wrap=True)
    for name in [entry] if entry else store.names():
        known = store.load(name)
        out.print(f"{name}: {known.endpoint}  contract {known.contract_digest[:23]}...", markup=False, highlight=False)
        if check:

            async def ask(name: str = name) -> None:
                session = await EnclaveSession.open(name, mode="mock", purpose="", store=store)
                try:
                    out.print(f"  {session.verdict.word}", markup=False, highlight=False)
                    out.print(f"  code {session.verdict.env_digest}", markup=False, highlight=False, soft_wrap=True)
                    for reason in session.verdict.reasons:
                        out.print(f"    {reason}", markup=False, highlight=False, soft_wrap=True)
                finally:
                    await session.close()

            asyncio.run(ask())


@app.command()
def doctor() -> None:
    """Say what works on this machine, and what to do about the rest."""
    from cloister.doctor import findings

    for found in findings():
        mark = "[ok]" if found.works else "[--]"
        out.print(f"{mark} {found.what}: {found.detail}", markup=False, highlight=False, soft_wrap=True)
        if not found.works:
            out.print(f"     next step: {found.next_step}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def algorithms(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every field of the registry.")] = False,
) -> None:
    """List the algorithms that models are made by: name@version, what it is, what may leave, digest of its code."""
    from cloister.contract import algorithms as registry

    listed = registry.listing()
    if as_json:
        out.print_json(json.dumps(listed))
        return
    for found in listed:
        out.print(f"{found['label']}: {found['makes']}", markup=False, highlight=False, soft_wrap=True)
        for name in ("operation", "program", "outputs", "code"):
            value = found[name] if isinstance(found[name], str) else ", ".join(found[name])
            out.print(f"    {name}: {value}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def sign(contract: Annotated[Path, typer.Argument(help="A contract that names you as an analyst.")]) -> None:
    """Add your signature as an analyst, with the key of this machine (`cloister status` shows your did)."""
    from cloister.analyst.trust import TrustStore, read_contract
    from cloister.contract import lint, signing
    from cloister.contract.words import in_words
    from cloister.wire import canonical

    document = read_contract(contract)
    terms = signing.read_unverified(document)
    out.print(in_words(terms), markup=False, highlight=False, soft_wrap=True)
    for finding in lint.errors_of(lint.contract_findings(terms)):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
    signed = signing.add_signature(document, TrustStore().analyst_key())
    contract.write_bytes(canonical.encode(signed))
    missing = signing.missing_signers(signed)
    out.print("still to sign: " + ", ".join(missing) if missing else "signed by everybody", markup=False)
