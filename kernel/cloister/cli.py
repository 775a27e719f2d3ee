"""The ``cloister`` command. Each command is a few lines here; the work is in the zone it belongs to.

Exit codes: 0 done, 1 refused or failed (code, reason and next step on stderr), 2 wrong usage, 3 verification did
not reach ``verified`` (its report says why).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cloister.errors import CloisterError
from cloister.home import cloister_home

app = typer.Typer(
    name="cloister", no_args_is_help=True, help="Confidential analytics in Jupyter.", pretty_exceptions_enable=False
)
demo_app = typer.Typer(no_args_is_help=True, help="The embedded demo: one enclave and one broker per user.")
app.add_typer(demo_app, name="demo")

out = Console()
err = Console(stderr=True)


def main() -> None:
    """Entry point: run a command; show a CloisterError as its words, never as a traceback."""
    try:
        app()
    except CloisterError as error:
        err.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(1)


@demo_app.command("up")
def demo_up() -> None:
    """Start the embedded enclave and broker (kernels do this by themselves)."""
    from cloister.demo import pair

    out.print_json(json.dumps(pair.up(cloister_home())))


@demo_app.command("down")
def demo_down() -> None:
    """Stop them; budgets and keys stay."""
    from cloister.demo import pair

    pair.down(cloister_home())


@demo_app.command("status")
def demo_status() -> None:
    """Say whether they run, and where."""
    from cloister.demo import pair

    state = pair.running(cloister_home())
    out.print_json(json.dumps(state)) if state else out.print(
        "not running; a Cloister kernel or `cloister demo up` starts it"
    )


@demo_app.command("reset")
def demo_reset() -> None:
    """Forget the demo's budgets, keys and capsules and build them anew for the code installed now."""
    from cloister.demo import pair, parties

    home = cloister_home()
    pair.down(home)
    parties.reset(home)
    parties.build_world(home)
    out.print(f"demo parties built anew in {home / 'demo'}; every budget is full")


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
    import nbformat

    from cloister.analyst.bundling import bundle_notebook
    from cloister.analyst.run import release_lines, run_notebook

    target = output or notebook.with_stem(notebook.stem + "-executed")
    kernel = f"{kernel}-mock" if mock and not kernel.endswith("-mock") else kernel
    with err.status("starting the kernel") as status:

        def progress(done: int, total: int, what: str) -> None:
            status.update(f"cell {done}/{total}: {what}")

        executed, info = run_notebook(
            notebook, kernel=kernel, allow_simulated=allow_simulated, progress=progress, timeout_s=timeout
        )
    if info["mode"] == "confidential":
        executed = nbformat.from_dict(bundle_notebook(dict(executed), _receipts()))
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed, target)
    for line in release_lines(executed):
        out.print(line, markup=False, highlight=False)
    out.print(f"enclave: {info['word']}; written: {target}", markup=False, highlight=False)


@app.command("bundle")
def bundle_command(
    notebook: Annotated[Path, typer.Argument(help="An executed notebook.")],
    output: Annotated[Path | None, typer.Option(help="Default: in place.")] = None,
) -> None:
    """Put the receipts a notebook rests on into it, so that anybody can verify it."""
    import nbformat

    from cloister.analyst.bundling import bundle_notebook

    bundled = bundle_notebook(dict(nbformat.read(notebook, as_version=4)), _receipts())
    nbformat.write(nbformat.from_dict(bundled), output or notebook)
    out.print(f"bundled: {output or notebook}", markup=False, highlight=False)


def _receipts() -> Path:
    return cloister_home() / "receipts"
