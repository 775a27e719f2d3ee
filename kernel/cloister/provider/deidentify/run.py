"""Running a recipe: the operators, then the demand on classes; what was done, and what it did.

1. Recipe and card are checked against each other; nothing was read yet.
2. Classes of the data as they are (the report's *before*).
3. The steps run in their order, each over whole columns.
4. Rows of classes that fail are left out, if the recipe says so; classes are counted again (*after*), over the values
   as they are sealed: clipped, with one class for all texts that the card does not list.
5. What the recipe demands and does not hold is refused.

The report describes the data and is for the provider; the steps tell no more than the recipe does.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card, Column
from cloister.contract.findings import exact
from cloister.contract.lineage import Treatment
from cloister.errors import MalformedError, RefusedError
from cloister.provider import tables
from cloister.provider.deidentify import anonymity, operators
from cloister.provider.deidentify import recipe as steps
from cloister.provider.deidentify.check import recipe_findings
from cloister.provider.engine import Rows
from cloister.provider.hashed_keys import Salt
from cloister.wire import canonical


class Recipe(NamedTuple):
    """A recipe with the secret of its pseudonyms, if it has any."""

    recipe: steps.Recipe
    secret: Salt | None = None


class AnonymityReport(msgspec.Struct, frozen=True):
    """Classes before and after, for the provider's eyes only; ``suppressed`` counts rows left out."""

    demand: steps.Anonymity
    before: anonymity.Classes
    after: anonymity.Classes
    suppressed: int
    holds: bool


class Deidentified(NamedTuple):
    """The table to seal, the steps for the manifest, and the report."""

    table: pa.Table
    steps: tuple[Treatment, ...] = ()
    report: AnonymityReport | None = None


def check(card: Card, recipe: Recipe) -> None:
    """Check a recipe against the card before anything is read.

    Raises:
        RefusedError: ``recipe.*``: the first thing that is wrong.
    """
    for finding in recipe_findings(recipe.recipe, card, has_secret=recipe.secret is not None):
        raise RefusedError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)


def run(card: Card, table: pa.Table, recipe: Recipe) -> Deidentified:
    """Return a table as the recipe makes it.

    Raises:
        RefusedError: ``recipe.*``; ``seal.column``: a column of the card or the recipe is not in the data;
            ``recipe.suppressed`` (more rows would go than allowed), ``recipe.anonymity`` (a demand does not hold).
        MalformedError: ``seal.format``: two columns with one name.
    """
    check(card, recipe)
    table = _declared(card, table, recipe.recipe)
    wanted = recipe.recipe.anonymity
    before = None if wanted is None else _classes(table, card, wanted)
    for step in recipe.recipe.step:
        for name in () if isinstance(step, steps.Drop) else step.columns:
            table = _replace(card, table, step, name, recipe)
    done = tuple(treatments(card, recipe))
    if wanted is None or before is None:
        return Deidentified(table, done, None)
    kept = _suppress(card, table, wanted)
    after = _classes(_as_sealed(kept, card), card, wanted)
    report = AnonymityReport(wanted, before, after, table.num_rows - kept.num_rows, _holds(after, wanted))
    if wanted.enforce and not report.holds:
        raise does_not_hold(wanted)
    return Deidentified(kept, done, report)


def treatments(card: Card, recipe: Recipe) -> Iterator[Treatment]:
    """Yield what the manifest says of each step: never the secret, and nothing that was read off the data."""
    for step in recipe.recipe.step:
        fields = msgspec.to_builtins(step)
        said = {
            name: ",".join(value) if isinstance(value, list | tuple) else str(value)
            for name, value in fields.items()
            if name not in ("operator", "columns", "level") and value not in (None, "")
        }
        if isinstance(step, steps.Pseudonymise) and recipe.secret is not None:
            said |= {"key": recipe.secret.id, "normaliser": card.normaliser}
        if isinstance(step, steps.Generalise) and step.hierarchy:
            classes = {value: list(row) for value, row in recipe.recipe.levels[step.hierarchy].items()}
            said = {"hierarchy": canonical.digest(classes), "level": str(step.level)}
        yield Treatment(fields["operator"], step.columns, said)
    wanted = recipe.recipe.anonymity
    if wanted is not None and wanted.enforce:
        said = {"k": str(wanted.k), "suppress": "yes" if wanted.suppress else "no"}
        if wanted.sensitive:
            said |= {"sensitive": ",".join(wanted.sensitive), "l": str(wanted.l)}
        if wanted.t is not None:
            said["t"] = wanted.t
        yield Treatment("k-anonymity", wanted.quasi_identifiers, said)


def does_not_hold(wanted: steps.Anonymity) -> RefusedError:
    """Return the refusal of a table whose classes are not as demanded."""
    return RefusedError(
        "recipe.anonymity",
        f"not every class has {wanted.k} units" + (", and l and t as demanded" if wanted.sensitive else ""),
        clause="anonymity",
        next_step="`cloister deidentify` shows the classes; generalise more, or suppress",
    )


def _declared(card: Card, table: pa.Table, recipe: steps.Recipe) -> pa.Table:
    dropped = [name for step in recipe.step if isinstance(step, steps.Drop) for name in step.columns]
    for name in (*(column.name for column in card.columns), *dropped):
        if table.column_names.count(name) == 0:
            raise RefusedError("seal.column", f"the data have no column {name}", next_step="correct recipe or card")
        if table.column_names.count(name) > 1:
            raise MalformedError("seal.format", f"two columns are called {name!r}", next_step="rename one of them")
    return table.drop_columns(dropped)


def _replace(card: Card, table: pa.Table, step: steps.Step, name: str, recipe: Recipe) -> pa.Table:
    column = card.column(name)
    if column is None:
        raise AssertionError("checked before")
    with Rows(table.select([name])) as rows:
        values = operators.apply(
            step, rows, column, normaliser=card.normaliser, secret=recipe.secret, levels=recipe.recipe.levels
        )
    return table.set_column(table.column_names.index(name), name, values)


def _classes(table: pa.Table, card: Card, wanted: steps.Anonymity) -> anonymity.Classes:
    return anonymity.classes(_named(table, card), card, wanted.quasi_identifiers, wanted.sensitive, wanted.k)


def _named(table: pa.Table, card: Card) -> pa.Table:
    return table.select([column.name for column in card.columns])


def _as_sealed(table: pa.Table, card: Card) -> pa.Table:
    """Return the values that a vault will see: different ones in the data can be one value there."""
    whole = msgspec.structs.replace(card, row_limit=max(card.row_limit, table.num_rows))
    conformed, _ = tables.prepare(whole, table)
    return pa.table({column.name: _seen(column, conformed.column(column.name), card) for column in card.columns})


def _seen(column: Column, values: pa.ChunkedArray, card: Card) -> pa.ChunkedArray:
    if pa.types.is_fixed_size_binary(values.type):
        return pc.utf8_rtrim(values.cast(pa.binary()).cast(pa.string()), characters="\0")
    if column.low is None or column.high is None or column.type == "bool" or card.identifies(column.name):
        return values
    low, high = tables.bounds(column)
    clipped = pc.if_else(pc.less(values, low), low, pc.if_else(pc.greater(values, high), high, values))
    return clipped.cast(values.type)


def _suppress(card: Card, table: pa.Table, wanted: steps.Anonymity) -> pa.Table:
    if not wanted.suppress:
        return table
    out = anonymity.failing(
        _as_sealed(table, card), card, wanted.quasi_identifiers, wanted.sensitive, units=wanted.k, values=wanted.l
    )
    kept = table.filter(pc.invert(out))
    share = exact(wanted.most_suppressed) or Fraction(0)
    if table.num_rows - kept.num_rows > share * table.num_rows:
        raise RefusedError(
            "recipe.suppressed",
            f"more than {wanted.most_suppressed} of the rows are in classes that fail",
            clause="anonymity.most_suppressed",
            next_step="generalise more: leaving out so many rows would make the table another one",
        )
    return kept


def _holds(after: anonymity.Classes, wanted: steps.Anonymity) -> bool:
    most = None if wanted.t is None else float(exact(wanted.t) or 0)
    return after.classes == 0 or (
        after.smallest >= wanted.k
        and all(found >= wanted.l for found in after.diversity.values())
        and (most is None or all(found <= most for found in after.closeness.values()))
    )
