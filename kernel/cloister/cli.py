"""The ``cloister`` command. Each command is a few lines here; the work is in the zone it belongs to.

Exit codes: 0 done, 1 refused or failed (code, reason and next step on stderr), 2 wrong usage. ``verify``, ``replay``:
0 verified, replayed exactly; 1 with reservations that were not allowed, or differences; 2 something is false.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from cloister.demo.commands import demo_app
from cloister.errors import EXTRA, CloisterError, ContractError, MalformedError, RefusedError, missing_extra
from cloister.home import cloister_home
from cloister.terminal import Terminal, hanging
from cloister.wire.text import spelt_out

app = typer.Typer(
    name="cloister", no_args_is_help=True, help="Confidential analytics in Jupyter.", pretty_exceptions_enable=False
)
app.add_typer(demo_app, name="demo")
attest_app = typer.Typer(no_args_is_help=True, help="Evidence of enclaves, and the verifiers of this installation.")
app.add_typer(attest_app, name="attest")
audit_app = typer.Typer(no_args_is_help=True, help="A broker's logs, for an auditor: export them, check them offline.")
checkpoint_app = typer.Typer(no_args_is_help=True, help="Signed statements of where a broker's logs stand.")


_ANY = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}


def _without_provider() -> None:
    raise RefusedError("install.extra", "the provider's tools are not installed", next_step=EXTRA.format("provider"))


def _mount_approvals() -> None:
    from cloister import approval_commands

    app.add_typer(approval_commands.app, name="approval")


def _mount_releases() -> None:
    from cloister import endorse_commands, measure_commands, release_commands

    app.add_typer(release_commands.app, name="release")
    app.command("measure")(measure_commands.measure)
    app.command("endorse")(endorse_commands.endorse)


def _mount_receiver() -> None:
    from cloister.receiver import commands

    app.command("receiver")(commands.receiver)
    app.command("open")(commands.open_delivery)


def _mount_audit() -> None:
    """Add what checks a broker's logs: it needs nothing of the provider's."""
    from cloister.reviewer import audit_commands as commands

    audit_app.command("check")(commands.check)
    audit_app.command("alerts")(commands.find_alerts)
    audit_app.command("report")(commands.report)
    checkpoint_app.command("check")(commands.check_checkpoint)
    app.add_typer(audit_app, name="audit")
    app.add_typer(checkpoint_app, name="checkpoint")
    app.command("invoice")(commands.make_invoice)


def _mount_provider() -> None:
    """Add the provider's commands where the extra is installed."""
    try:
        from cloister.provider import capsule_commands, commands, log_commands, unit_keys_commands
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cloister"):
            raise
        groups = ("card", "contract", "broker", "account", "unit-keys", "ledger", "capsule")
        for name in ("identity", "quality", "deidentify", "seal", *groups):
            app.command(name, hidden=True, context_settings=_ANY)(_without_provider)
        audit_app.command("export", hidden=True, context_settings=_ANY)(_without_provider)
        checkpoint_app.command("take", hidden=True, context_settings=_ANY)(_without_provider)
        return
    import_module("cloister.provider.contract_commands")  # adds to two of the groups
    import_module("cloister.provider.quality.commands").mount(app)
    import_module("cloister.provider.deidentify.commands").mount(app)
    app.command("identity")(commands.identity)
    app.command("seal")(commands.seal)
    app.add_typer(commands.card_app, name="card")
    app.add_typer(commands.contract_app, name="contract")
    app.add_typer(commands.broker_app, name="broker")
    app.add_typer(commands.account_app, name="account")
    app.add_typer(unit_keys_commands.app, name="unit-keys")
    log_commands.extend_broker(commands.broker_app)
    audit_app.command("export")(log_commands.export)
    checkpoint_app.command("take")(log_commands.take)
    app.add_typer(log_commands.ledger_app, name="ledger")
    app.add_typer(capsule_commands.app, name="capsule")


@functools.cache
def whole() -> typer.Typer:
    """The command with every zone's commands, which are imported only now."""
    _mount_audit()
    _mount_provider()
    _mount_receiver()
    _mount_approvals()
    _mount_releases()
    return app


def _for(arguments: list[str]) -> typer.Typer:
    """Return what the arguments call for: who verifies a notebook need not wait for the provider's database tools."""
    mine = {item.name or getattr(item.callback, "__name__", "") for item in app.registered_commands}
    mine |= {group.name for group in app.registered_groups}
    return app if next((text for text in arguments if not text.startswith("-")), "") in mine else whole()


out = Terminal(emoji=False)
err = Terminal(stderr=True, emoji=False)


def main() -> None:
    """Entry point: run a command; show a CloisterError as its words, never as a traceback."""
    try:
        _for(sys.argv[1:])()
    except CloisterError as error:
        _refuse(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cloister"):
            raise
        _refuse(missing_extra(error.name))


def _refuse(error: CloisterError) -> NoReturn:
    err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook to run, top to bottom.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the executed, bundled notebook.")] = None,
    kernel: Annotated[str, typer.Option(help="A Cloister kernelspec.")] = "cloister",
    mock: Annotated[bool, typer.Option("--mock", help="Rehearse on the mock kernel: nothing is charged.")] = False,
    allow_simulated: Annotated[bool, typer.Option("--allow-simulated", help="Accept a simulated enclave.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds one cell may take.")] = 600,
) -> None:
    """Run a notebook headless, with the same gate as in the Lab, and bundle its receipts into it."""
    from cloister import notebook_libraries

    notebook_libraries.load()
    import nbformat

    from cloister.analyst.bundling import bundle_notebook
    from cloister.analyst.run import release_lines, run_notebook

    target = output or notebook.with_stem(notebook.stem + "-executed")
    kernel = f"{kernel}-mock" if mock and not kernel.endswith("-mock") else kernel
    with err.status("starting the kernel") as status:

        def progress(done: int, total: int, what: str) -> None:
            # A line of the notebook is no markup.
            status.update(Text(spelt_out(f"cell {done}/{total}: {what}")))

        def announce(line: str) -> None:
            err.print(line, markup=False, highlight=False, soft_wrap=True)

        executed, info = run_notebook(
            notebook,
            kernel=kernel,
            allow_simulated=allow_simulated,
            progress=progress,
            announce=announce,
            timeout_s=timeout,
        )
    if info["mode"] == "confidential":
        executed = nbformat.from_dict(bundle_notebook(dict(executed), _receipts()))
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed, target)
    for line in release_lines(executed):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    out.print(f"enclave: {info['word']}; written: {target}", markup=False, highlight=False)


@app.command("bundle")
def bundle_command(
    notebook: Annotated[Path, typer.Argument(help="An executed notebook.")],
    output: Annotated[Path | None, typer.Option(help="Default: in place.")] = None,
) -> None:
    """Put the receipts a notebook rests on into it, so that anybody can verify it."""
    from cloister.analyst.bundling import bundle_notebook

    bundled = bundle_notebook(_notebook(notebook), _receipts())
    (output or notebook).write_text(json.dumps(bundled, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.print(f"bundled: {output or notebook}", markup=False, highlight=False)


def _receipts() -> Path:
    return cloister_home() / "receipts"


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
def verify(
    notebook: Annotated[Path, typer.Argument(help="A bundled notebook; - reads standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    trust: Annotated[Path | None, typer.Option(help="Your trust file (TOML): providers and code you know.")] = None,
    allow_simulated: Annotated[bool, typer.Option("--allow-simulated", help="Accept a simulated enclave.")] = False,
    allow_unknown_origin: Annotated[
        bool, typer.Option("--allow-unknown-origin", help="Accept providers and code your trust file does not name.")
    ] = False,
    endorsements: Annotated[
        Path | None, typer.Option(help="Your endorsements (`cloister endorse`), for evidence that brings none.")
    ] = None,
    own_receipts: Annotated[
        bool, typer.Option("--own-receipts", help="If it carries no receipts, take those this machine holds.")
    ] = False,
) -> None:
    """Check offline, without data, that a notebook's numbers are what the receipts say was released."""
    from cloister.attest import endorsements as held
    from cloister.files import read_bytes
    from cloister.reviewer.trust import load_trust
    from cloister.reviewer.verify import verify as check

    content = _notebook(notebook)
    if own_receipts:
        content = _with_receipts(content)
    report = check(
        content,
        trust=load_trust(trust),
        now=datetime.now(UTC),
        allow_simulated=allow_simulated,
        allow_unknown_origin=allow_unknown_origin,
        endorsements=held.parse(read_bytes(endorsements, held.MAX_BUNDLE)) if endorsements else None,
    )
    if as_json:
        out.print_json(json.dumps(report.to_dict()))
    else:
        # Into a file or a pipe goes one line per finding, for grep.
        text = hanging(spelt_out(report.to_text()), out.width) if out.is_terminal else report.to_text()
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)


def _with_receipts(notebook: dict[str, Any]) -> dict[str, Any]:
    from cloister.analyst.bundling import bundle_notebook
    from cloister.receipt.bundle import is_bundled

    # Without receipts here the report says what is missing.
    with contextlib.suppress(RefusedError):
        return notebook if is_bundled(notebook) else bundle_notebook(notebook, _receipts())
    return notebook


@app.command()
def replay(
    notebook: Annotated[Path, typer.Argument(help="A bundled notebook.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file as well.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Your trust file (TOML): providers and code you know.")] = None,
    allow_simulated: Annotated[bool, typer.Option("--allow-simulated", help="Accept a simulated enclave.")] = False,
    allow_unknown_origin: Annotated[
        bool, typer.Option("--allow-unknown-origin", help="Accept providers and code your trust file does not name.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds one cell may take.")] = 120,
) -> None:
    """Verify a notebook, run it twice in a sandbox from its receipts, and say where its numbers come from."""
    from cloister import notebook_libraries

    notebook_libraries.load()
    from cloister.replay import command
    from cloister.reviewer.trust import load_trust

    with err.status("verifying") as status:

        def progress(done: int, total: int, what: str) -> None:
            # A line of the notebook is no markup.
            status.update(Text(spelt_out(f"replaying, cell {done}/{total}: {what}")))

        found = command.replay(
            notebook,
            trust=load_trust(trust),
            allow_simulated=allow_simulated,
            allow_unknown_origin=allow_unknown_origin,
            timeout_s=timeout,
            progress=progress,
        )
    text = json.dumps(found.to_dict(), indent=1)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    out.print_json(text) if as_json else out.print(command.render(found), soft_wrap=True)
    raise typer.Exit(found.exit_code)


def _notebook(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise MalformedError(
            "notebook.file", f"{path} is not a readable notebook", next_step="check the path"
        ) from error
    if not isinstance(content, dict):
        raise MalformedError("notebook.file", f"{path} is not a notebook", next_step="check the path")
    return content


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


@attest_app.command("check")
def attest_check(
    manifest: Annotated[Path, typer.Argument(help="MANIFEST.json: evidence, expected verdicts (docs/evidence.md).")],
    base: Annotated[Path | None, typer.Option(help="Folder its paths start from; default: the manifest's.")] = None,
    at: Annotated[datetime | None, typer.Option(help="UTC time for all cases; default: each case's own.")] = None,
) -> None:
    """Run stored evidence through the verifiers: id, verdict, reason, ok or MISMATCH; exit 1 if any differs."""
    from cloister.reviewer import vectors

    found = vectors.run(
        vectors.load(manifest), base or manifest.parent, at=at.replace(tzinfo=at.tzinfo or UTC) if at else None
    )
    for line in found:
        out.print(str(line), markup=False, highlight=False, soft_wrap=True)
    wrong = sum(bool(line.wrong) for line in found)
    out.print(f"{len(found) - wrong} of {len(found)} as expected", markup=False, highlight=False)
    raise typer.Exit(1 if wrong else 0)


@attest_app.command("here")
def attest_here(
    collateral: Annotated[Path | None, typer.Option(help="Intel's collateral for this machine (JSON).")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep evidence and a manifest in this new folder.")] = None,
    row: Annotated[bool, typer.Option("--row", help="Print a row for docs/hardware.md as well.")] = False,
) -> None:
    """Ask this machine's own TEE for evidence, verify and appraise it; exit 1 unless verified and as asked."""
    import secrets

    from cloister.enclave import attesters, here

    endorsements = {"collateral": collateral} if collateral else {}
    attester = attesters.choose("auto", cloister_home(), endorsements=endorsements)
    found = here.ask(attester, secrets.token_bytes(64), datetime.now(UTC).replace(microsecond=0))
    for line in here.lines(found):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if row:
        import platform

        kernel = f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"
        text = here.row(found, kernel, type(attester).__name__.removesuffix("Attester").lower())
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    if save:
        out.print(f"saved: {here.save(found, save)}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if found.bound and found.verdict == "verified" else 1)


@app.command()
def enclave(config: Annotated[Path, typer.Argument(help="enclave.json; docs/provider.md shows one.")]) -> None:
    """Run an enclave's agent until stopped; its evidence is the machine's TEE's, simulated only where there is none."""
    from cloister.enclave.__main__ import main as run_agent

    raise typer.Exit(run_agent(["--config", str(config)]))


if __name__ == "__main__":
    main()
