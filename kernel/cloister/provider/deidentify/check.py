"""What is wrong with a recipe, found from recipe and card alone: before any value is read.

The card declares the table as it is *after* the steps. A step whose results the card would clip, map to ``(other)`` or
read as another type is refused here, so that what the operators return is what is sealed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from cloister.contract.card import OTHER, Card, Column
from cloister.contract.findings import Finding, error, exact, iso_date, twice
from cloister.provider.deidentify import recipe as steps
from cloister.provider.deidentify.operators import label

_DATES = {"month": r"\d{4}-(0[1-9]|1[0-2])", "quarter": r"\d{4}-Q[1-4]", "year": r"\d{4}"}
_MOST = 256


def recipe_findings(recipe: steps.Recipe, card: Card, *, has_secret: bool) -> tuple[Finding, ...]:
    """Return what is wrong with a recipe for a table of this card; empty means that it can run."""
    return (*_steps(recipe, card, has_secret), *_anonymity(recipe, card))


def _steps(recipe: steps.Recipe, card: Card, has_secret: bool) -> Iterator[Finding]:
    pseudonyms = any(isinstance(step, steps.Pseudonymise) for step in recipe.step)
    if pseudonyms != has_secret:
        reason = "pseudonyms need a secret" if pseudonyms else "no step uses the secret"
        yield error("recipe.secret", "step", reason, "--secret FILE; `cloister unit-keys salt FILE` draws one")
    if not recipe.step and recipe.anonymity is None:
        yield error("recipe.empty", "step", "the recipe says nothing", "write a [[step]], or leave the recipe out")
    for number, step in enumerate(recipe.step):
        clause = f"step.{number}"
        if not step.columns or twice(step.columns):
            yield error("recipe.column", clause, "columns are named once each", 'columns = ["age"]')
        for name in step.columns:
            column = card.column(name)
            if isinstance(step, steps.Drop):
                if column is not None:
                    yield error(
                        "recipe.column", clause, f"{name} is dropped and the card declares it", "one of the two"
                    )
            elif column is None:
                yield error(
                    "recipe.column", clause, f"the card declares no {name}", "the card describes the table afterwards"
                )
            elif card.identifies(name) and not isinstance(step, steps.Pseudonymise):
                # A coarser key makes several persons one unit: limits per unit would no longer be about a person.
                yield error("recipe.key", clause, f"{name} is a unit key", "pseudonymise it, or leave it as it is")
            else:
                yield from _step(clause, step, column, card, recipe)


def _step(clause: str, step: steps.Step, column: Column, card: Card, recipe: steps.Recipe) -> Iterator[Finding]:
    match step:
        case steps.Mask():
            yield from _type(clause, column, "string")
            if not 0 <= step.keep_start <= _MOST or not 0 <= step.keep_end <= _MOST or len(step.fill) != 1:
                yield _parameter(clause, "keep_start and keep_end count characters, fill is one sign")
        case steps.Pseudonymise():
            yield from _type(clause, column, "string")
            if not card.identifies(column.name):
                yield error("recipe.key", clause, f"{column.name} is no unit key", "generalise it, or drop it")
            if card.salt_id:
                yield error("recipe.key", clause, "the card says that keys are hashed", "pseudonyms or hashed keys")
        case steps.Generalise():
            yield from _generalise(clause, step, column, recipe)
        case steps.Round():
            yield from _type(clause, column, "int", "decimal")
            yield from _on_grid(clause, column, exact(step.to))
        case steps.TopBottomCode():
            yield from _type(clause, column, "int", "decimal", "date")
            yield from _code(clause, step, column)


def _type(clause: str, column: Column, *allowed: str) -> Iterator[Finding]:
    if column.type not in allowed:
        yield error(
            "recipe.type",
            clause,
            f"the card declares {column.name} as {column.type}, the step makes {' or '.join(allowed)}",
            "the card describes the table as it is afterwards",
        )


def _parameter(clause: str, text: str) -> Finding:
    return error("recipe.parameter", clause, text, "docs/provider.md lists the operators and their parameters")


def _on_grid(clause: str, column: Column, size: Fraction | None) -> Iterator[Finding]:
    step = exact(column.step)
    if size is None or size <= 0 or size > 2**40 or size.denominator > 10**6:
        yield _parameter(clause, f"{column.name}: the size is a positive number, written as text")
    elif column.type == "int" and size.denominator != 1:
        yield _parameter(clause, f"{column.name} is whole, so the size is a whole number")
    elif column.type != "string" and step and (size / step).denominator != 1:
        yield error(
            "recipe.grid", clause, f"the steps of {column.name} do not meet multiples of {size}", "coarser or finer"
        )


def _generalise(clause: str, step: steps.Generalise, column: Column, recipe: steps.Recipe) -> Iterator[Finding]:
    ways = (step.width, step.edges, step.date, step.prefix, step.hierarchy)
    if sum(way is not None for way in ways) != 1:
        yield _parameter(clause, "one of width, edges, date, prefix, hierarchy")
    elif step.width is not None:
        yield from _type(clause, column, "int", "decimal", "string")
        yield from _on_grid(clause, column, width := exact(step.width))
        if column.type == "string" and width:
            fits = _bins(width, column.domain or ())
            yield from _domain(clause, column, [text for text in column.domain or () if text not in fits])
    elif step.edges is not None:
        yield from _edges(clause, step.edges, column)
    elif step.date is not None:
        yield from _type(clause, column, "date", "string", *(("int",) if step.date == "year" else ()))
        if column.type == "string":
            pattern = _DATES[step.date]
            yield from _domain(
                clause, column, [text for text in column.domain or () if not re.fullmatch(pattern, text)]
            )
    elif step.prefix is not None:
        yield from _type(clause, column, "string")
        if not 1 <= step.prefix <= _MOST:
            yield _parameter(clause, "prefix counts characters")
        yield from _domain(clause, column, [text for text in column.domain or () if len(text) > (step.prefix or 0)])
    else:
        yield from _hierarchy(clause, step, column, recipe)


def _bins(width: Fraction, domain: tuple[str, ...]) -> set[str]:
    """The names among ``domain`` that a bin of this width has."""
    starts = (re.fullmatch(r"\[(-?[\d.]+),(-?[\d.]+)\)", text) for text in domain)
    lows = {low for found in starts if found and (low := exact(found[1])) is not None}
    return {label(low, low + width) for low in lows if not low % width}


def _domain(clause: str, column: Column, unknown: list[str]) -> Iterator[Finding]:
    if unknown:
        yield error(
            "recipe.domain",
            clause,
            f"{column.name}: the step never makes {unknown[0]!r}, which the card lists",
            "the card lists the classes as they are afterwards",
        )


def _edges(clause: str, texts: tuple[str, ...], column: Column) -> Iterator[Finding]:
    yield from _type(clause, column, "string")
    edges = [exact(text) for text in texts]
    known = [edge for edge in edges if edge is not None]
    if len(known) != len(edges) or not 1 <= len(edges) <= _MOST or known != sorted(set(known)):
        yield _parameter(clause, "edges are numbers written as text, in ascending order")
        return
    labels = {label(low, high) for low, high in zip([None, *known], [*known, None], strict=True)}
    yield from _domain(clause, column, [text for text in column.domain or () if text not in labels])
    inner = {label(low, high) for low, high in itertools.pairwise(known)}
    yield from _missing(clause, column, inner)


def _missing(clause: str, column: Column, made: set[str]) -> Iterator[Finding]:
    absent = sorted(made - set(column.domain or ()) - {OTHER})
    if absent:
        yield error(
            "recipe.domain", clause, f"{column.name}: the card does not list {absent[0]!r}", "add it to the domain"
        )


def _hierarchy(clause: str, step: steps.Generalise, column: Column, recipe: steps.Recipe) -> Iterator[Finding]:
    yield from _type(clause, column, "string")
    levels = recipe.levels.get(step.hierarchy or "")
    if levels is None:
        yield error("recipe.hierarchy", clause, f"no hierarchy {step.hierarchy}", "a CSV beside the recipe")
    elif not 1 <= step.level <= len(next(iter(levels.values()))):
        yield _parameter(clause, "level counts the classes of the hierarchy from 1")
    else:
        made = {classes[step.level - 1] for classes in levels.values()}
        yield from _missing(clause, column, made)


def _code(clause: str, step: steps.TopBottomCode, column: Column) -> Iterator[Finding]:
    if step.low is None and step.high is None:
        yield _parameter(clause, "low or high")
        return
    read = iso_date if column.type == "date" else exact
    low, high, least, most = (read(text) for text in (step.low, step.high, column.low, column.high))
    if (low is None) != (step.low is None) or (high is None) != (step.high is None):
        yield _parameter(clause, f"low and high are values of {column.name}, written as text")
    elif column.type == "int" and any(isinstance(end, Fraction) and end.denominator != 1 for end in (low, high)):
        yield _parameter(clause, f"{column.name} is whole")
    elif low is not None and high is not None and low >= high:  # type: ignore[operator]
        yield _parameter(clause, "low is below high")
    elif _below(low, least) or _below(most, high):
        yield error(
            "recipe.bounds", clause, f"the card clips {column.name} more narrowly than the step codes", "one range"
        )


def _below(first: Any, second: Any) -> bool:
    """Whether both ends are there and the first is less; 0 is an end like any other."""
    return first is not None and second is not None and bool(first < second)


def _anonymity(recipe: steps.Recipe, card: Card) -> Iterator[Finding]:
    wanted = recipe.anonymity
    if wanted is None:
        return
    clause = "anonymity"
    named = (*wanted.quasi_identifiers, *wanted.sensitive)
    for name in named:
        if card.column(name) is None:
            yield error("recipe.column", clause, f"the card declares no {name}", "name columns of the card")
        elif card.identifies(name):
            yield error("recipe.key", clause, f"{name} is a unit key: every unit has its own", "leave it out")
    if twice(named):
        yield error("recipe.column", clause, "a column is named twice", "quasi-identifier or sensitive, not both")
    if not wanted.quasi_identifiers or not 1 <= wanted.k <= 10**6 or not 1 <= wanted.l <= 10**6:
        yield _parameter(clause, "quasi_identifiers, and k and l of at least 1")
    t, most = exact(wanted.t), exact(wanted.most_suppressed)
    if (wanted.t is not None and (t is None or not 0 <= t <= 1)) or most is None or not 0 <= most <= 1:
        yield _parameter(clause, "t and most_suppressed are shares from 0 to 1, written as text")
    if (wanted.l > 1 or wanted.t is not None) and not wanted.sensitive:
        yield _parameter(clause, "l and t are about sensitive columns: name them")
