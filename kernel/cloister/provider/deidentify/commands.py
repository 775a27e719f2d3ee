"""``cloister deidentify``: try a recipe on the provider's machine, before sealing with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from cloister.contract import lint
from cloister.contract.card import Card
from cloister.errors import ContractError, MalformedError, RefusedError
from cloister.provider import files, hashed_keys, per_table, tables
from cloister.provider.deidentify import run as running
from cloister.provider.deidentify.anonymity import Classes
from cloister.provider.deidentify.recipe import Pseudonymise, read_recipe
from cloister.terminal import Terminal
from cloister.wire.text import spelt_out

out = Terminal(emoji=False)


def mount(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deidentify")(deidentify)


def deidentify(
    card: Annotated[Path, typer.Argument(help="The card (JSON): it describes the table as it is afterwards.")],
    data: Annotated[Path, typer.Argument(help="CSV or Parquet.")],
    recipe: Annotated[Path, typer.Argument(help="The recipe (TOML); docs/provider.md lists the operators.")],
    secret: Annotated[
        Path | None, typer.Option("--secret", help="The secret file of the recipe's pseudonyms; it stays with you.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the report as JSON (mode 0600); for you only.")
    ] = None,
) -> None:
    """Try a recipe: what its operators do to the classes of units (k-anonymity). Nothing is sealed or sent.

    `cloister seal --recipe` does the same and seals the result. Exit code 1 if the recipe does not fit the card, or
    what it demands of the classes does not hold. The report describes your data: it is for your eyes only.
    """
    document = _card(card)
    loaded = load(recipe, secret)
    if loaded is None:
        return
    running.check(document, loaded)
    wanted = loaded.recipe.anonymity
    # The report first, the verdict afterwards: who is refused wants to see why.
    trial = wanted if wanted is None else msgspec.structs.replace(wanted, enforce=False)
    tried = loaded._replace(recipe=msgspec.structs.replace(loaded.recipe, anonymity=trial))
    done = running.run(document, tables.read(data, document), tried)
    for step in running.treatments(document, loaded):
        said = ", ".join(f"{name} {value}" for name, value in step.parameters.items())
        _say(f"{step.operator}  {', '.join(step.columns)}" + (f"  ({said})" if said else ""))
    show(done.report)
    if report is not None and done.report is not None:
        files.write_private(report, msgspec.json.format(msgspec.json.encode(done.report), indent=1))
        _say(f"written: {report}")
    if done.report is not None and wanted is not None and wanted.enforce and not done.report.holds:
        raise running.does_not_hold(wanted)


def load(recipe: Path | None, secret: Path | None) -> running.Recipe | None:
    """Return the recipe and secret that a command line names, or None if it names no recipe.

    Raises:
        RefusedError: ``recipe.secret``: a secret without a recipe.
        CloisterError: See ``read_recipe`` and ``hashed_keys.read_salt``.
    """
    if recipe is None:
        if secret is not None:
            raise RefusedError("recipe.secret", "a secret is for a recipe's pseudonyms", next_step="--recipe FILE")
        return None
    return running.Recipe(read_recipe(recipe), None if secret is None else hashed_keys.read_salt(secret))


def load_all(recipes: Mapping[str, Path], secrets: Sequence[str], tables: Sequence[str]) -> dict[str, running.Recipe]:
    """Return the recipes of tables; a secret named without a table is that of every recipe with pseudonyms.

    Raises:
        RefusedError: ``recipe.secret``: no recipe uses it; ``option.table``.
        CloisterError: See ``read_recipe`` and ``hashed_keys.read_salt``.
    """
    read = {table: read_recipe(path) for table, path in recipes.items()}
    users = [table for table, one in read.items() if any(isinstance(step, Pseudonymise) for step in one.step)]
    shared = len(secrets) == 1 and secrets[0].partition("=")[0] not in tables
    named = dict.fromkeys(users, Path(secrets[0])) if shared else per_table.files("--secret", secrets, tables)
    if (secrets and not users) or not set(named) <= set(users):
        raise RefusedError("recipe.secret", "a secret is for a recipe's pseudonyms", next_step="--recipe FILE")
    salts = {path: hashed_keys.read_salt(path) for path in set(named.values())}
    return {table: running.Recipe(one, salts[named[table]] if table in named else None) for table, one in read.items()}


def show(report: running.AnonymityReport | None) -> None:
    """Print what a recipe did to the classes."""
    if report is None:
        return
    wanted = report.demand
    _say("Classes of units that agree in " + ", ".join(wanted.quasi_identifiers) + " (for your eyes only):")
    table = Table("", "before", "after", "demanded", box=None)
    for name, cells in _lines(report.before, report.after, report):
        table.add_row(Text(spelt_out(name)), *cells)
    out.print(table)
    _say(f"rows left out: {report.suppressed:,}")


def _lines(before: Classes, after: Classes, report: running.AnonymityReport) -> list[tuple[str, tuple[str, ...]]]:
    wanted, both = report.demand, (before, after)
    lines = [
        ("smallest class (k)", (*(f"{one.smallest:,}" for one in both), f"{wanted.k:,}")),
        ("classes", tuple(f"{one.classes:,}" for one in both)),
        ("units", tuple(f"{one.units:,}" for one in both)),
        ("units below k", tuple(f"{one.below:,} ({one.share_below:.1%})" for one in both)),
        ("units alone", tuple(f"{one.unique:,}" for one in both)),
    ]
    lines += [
        (f"least values of {name} (l)", (*(str(one.diversity[name]) for one in both), str(wanted.l)))
        for name in wanted.sensitive
    ]
    lines += [
        (f"distance of {name} (t)", (*(f"{one.closeness[name]:.3f}" for one in both), wanted.t or ""))
        for name in wanted.sensitive
    ]
    return lines + [(f"classes of size {name}", tuple(f"{one.sizes[name]:,}" for one in both)) for name in before.sizes]


def _card(path: Path) -> Card:
    try:
        card = msgspec.json.decode(path.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError("card.file", f"{path} is no card: {error}", next_step="cloister card suggest") from error
    for finding in lint.errors_of(lint.card_findings(card)):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
    return card


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
