"""Evidence: run manifests of it, ask this machine for its own, run an enclave."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloister.cli.groups import attest_app, out
from cloister.home import cloister_home


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


def enclave(config: Annotated[Path, typer.Argument(help="enclave.json; docs/provider.md shows one.")]) -> None:
    """Run an enclave's agent until stopped; its evidence is the machine's TEE's, simulated only where there is none."""
    from cloister.enclave.__main__ import main as run_agent

    raise typer.Exit(run_agent(["--config", str(config)]))
