"""``cloister account``: what was spent, what that means as epsilon, and the source behind a release."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cloister.contract.findings import exact
from cloister.contract.terms import Limits
from cloister.contract.usage import Used
from cloister.errors import MalformedError
from cloister.plan import tighter
from cloister.provider import reports, sources
from cloister.provider.home import BrokerHome
from cloister.terminal import Terminal
from cloister.wire.text import spelt_out

app = typer.Typer(no_args_is_help=True, help="What was spent of your data.")
out = Terminal(emoji=False)
BrokerDir = Annotated[Path, typer.Argument(help="The broker's directory.")]


@app.command("show")
def show(directory: BrokerDir) -> None:
    """Show what was spent, account by account."""
    home = BrokerHome(directory)
    home.identity()
    ledger = home.open_accounts()
    table = Table("population", "entries", "rho spent", "root", box=None)
    for population in ledger.populations():
        tip = ledger.read_tip(population)
        table.add_row(Text(spelt_out(population)), str(tip.size), f"{float(Fraction(tip.spent)):.6g}", tip.root[:16])
    # One row per limit: a row per contract would not fit into a terminal of 80 columns.
    counts = Table("contract", "limit", "used", "allowed", box=None)
    for digest, used in ledger.used().items():
        granted = known.contract.limits if (known := home.contracts.get(digest)) else None
        for name in Used.__struct_fields__:
            first = digest[:16] if name == Used.__struct_fields__[0] else ""
            counts.add_row(first, name, f"{getattr(used, name):,}", _allowed(granted, name))
    ledger.close()
    out.print(table)
    out.print(counts)


@app.command("report")
def report(
    directory: BrokerDir,
    delta: Annotated[
        str, typer.Option(help="At this delta, as an exact decimal; without it at the contracts' own.")
    ] = "",
) -> None:
    """Report the epsilon spent of each account: as promised, and as its releases compose more tightly.

    The second number is a report, not a promise: no release is decided by it.
    """
    at = exact(delta)
    if delta and (at is None or not 0 < at < 1):
        raise MalformedError("account.delta", f"{delta!r} is no delta", next_step="write --delta 0.000001")
    home = BrokerHome(directory)
    home.identity()
    found = reports.reports(home, at)
    if not found:
        _say("nothing was released: no account has an entry")
        return
    table = Table("population", "delta", "epsilon (promise)", f"epsilon ({tighter.LABEL})", box=None)
    for name, one in found.items():
        numbers = (f"{float(one.delta):.3g}", f"{one.report.promised:.4g}", f"{one.report.epsilon:.4g}")
        table.add_row(Text(spelt_out(name)), *numbers)
    out.print(table)
    for name, one in found.items():
        outside = f"; excluded from both: {one.exits} exits (match, deliver)" if one.exits else ""
        out.print(Text(f"{spelt_out(name)}: {one.releases} releases; {one.report.method}{outside}"))


@app.command("source")
def source(
    directory: BrokerDir,
    contract: Annotated[str, typer.Argument(help="The contract's digest.")],
    charge: Annotated[str, typer.Argument(help="The charge id: a receipt, or the account, names it.")],
    population: Annotated[str, typer.Option(help="The population whose account was charged.")],
) -> None:
    """Print the source of the cell behind a release, where the contract's tier rules keep it; needs your data keys."""
    home = BrokerHome(directory)
    home.identity()
    ledger = home.open_accounts()
    try:
        _say(sources.read(home, ledger.deposit(population, charge), contract, charge))
    finally:
        ledger.close()


def _allowed(granted: Limits | None, name: str) -> str:
    return "" if granted is None else f"{getattr(granted, name):,}"


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
