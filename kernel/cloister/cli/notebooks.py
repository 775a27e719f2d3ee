"""Notebooks: run them headless, bundle their receipts, verify and replay them."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cloister.cli.groups import app, err, out
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.home import cloister_home
from cloister.terminal import hanging
from cloister.wire.text import spelt_out

if TYPE_CHECKING:
    from cloister.reviewer.logs import BrokerLog


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

    from cloister.analyst import storing
    from cloister.analyst.bundling import bundle_notebook
    from cloister.analyst.run import release_lines, run_notebook

    storing.promise()
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
    # As a Jupyter server does when it saves: what the contract's tier rules keep out of files is not written.
    lines, left_out = list(release_lines(executed)), storing.strip(executed)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.from_dict(executed), target)
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if left_out:
        cells = f"{left_out} cell{'' if left_out == 1 else 's'}"
        said = f"outputs of {cells} left out of the file, by the tier rules of the contract"
        out.print(said, markup=False, highlight=False)
    out.print(f"enclave: {info['word']}; written: {target}", markup=False, highlight=False)


@app.command("bundle")
def bundle_command(
    notebook: Annotated[Path, typer.Argument(help="An executed notebook.")],
    output: Annotated[Path | None, typer.Option(help="Default: in place.")] = None,
) -> None:
    """Put the receipts a notebook rests on into it, so that anybody can verify it."""
    from cloister.analyst.bundling import bundle_notebook
    from cloister.analyst.storing import strip

    bundled = bundle_notebook(_notebook(notebook), _receipts())
    strip(bundled)
    (output or notebook).write_text(json.dumps(bundled, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.print(f"bundled: {output or notebook}", markup=False, highlight=False)


def _receipts() -> Path:
    return cloister_home() / "receipts"


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
    log: Annotated[
        list[Path] | None,
        typer.Option("--log", help="A broker's log (`cloister audit export`), or a checkpoint it went through."),
    ] = None,
) -> None:
    """Check offline, without data, that a notebook's numbers are what the receipts say was released."""
    from cloister.attest import endorsements as held
    from cloister.cli.files import read_bytes
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
        brokers_logs=_logs(content, log or []),
    )
    if as_json:
        out.print_json(json.dumps(report.to_dict()))
    else:
        # Into a file or a pipe goes one line per finding, for grep.
        text = hanging(spelt_out(report.to_text()), out.width) if out.is_terminal else report.to_text()
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(report.exit_code)


def _logs(notebook: dict[str, Any], paths: list[Path]) -> list[BrokerLog]:
    from cloister.contract import signing
    from cloister.receipt.bundle import read_bundle
    from cloister.reviewer import logs
    from cloister.reviewer.audit_commands import documents

    exports = [path for path in paths if logs.is_export(path)]
    earlier = [document for path in paths if path not in exports for document in documents(path)]
    if not paths:
        return []
    try:
        contract = signing.contract_digest(read_bundle(notebook).contract)
    except CloisterError:  # the report says what is wrong with it
        return []
    return logs.read_logs(exports, contract, earlier)


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
