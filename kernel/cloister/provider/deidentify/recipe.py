"""Recipes: which operators run on which columns before a table is sealed, in the order they are written.

A recipe is a TOML file of the provider's. It holds no secret: pseudonyms are keyed by a file named when sealing.
Terms follow ISO/IEC 20889 (techniques of de-identification) and, for classes, Sweeney (k-anonymity, 2002),
Machanavajjhala et al. (l-diversity, 2007) and Li et al. (t-closeness, 2007).
"""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from cloister.errors import MalformedError

MOST_LEVELS = 100_000


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="operator", kw_only=True):
    columns: tuple[str, ...]


class Mask(_Step, frozen=True, tag="mask"):
    """Keep the first and last characters; what is between becomes four fill signs, whatever its length.

    A value that has no more characters than would be kept is masked whole.
    """

    keep_start: int = 0
    keep_end: int = 0
    fill: str = "*"


class Pseudonymise(_Step, frozen=True, tag="pseudonymise"):
    """Replace a unit key by 128 bits of HMAC-SHA256 under the provider's secret, in hexadecimal.

    Equal values of one ``domain`` have equal pseudonyms in every table sealed under the same secret.
    """

    domain: str = ""


class Generalise(_Step, frozen=True, tag="generalise"):
    """Replace a value by a coarser one; exactly one of the ways is written.

    ``width``: bins of one width from 0. ``edges``: bins between these. ``date``: the day's month, quarter or year.
    ``prefix``: the first characters of a code. ``hierarchy``: a CSV whose rows are a value and its ever coarser
    classes; ``level`` 1 is the first of them.
    """

    width: str | None = None
    edges: tuple[str, ...] | None = None
    date: Literal["month", "quarter", "year"] | None = None
    prefix: int | None = None
    hierarchy: str | None = None
    level: int = 1


class Drop(_Step, frozen=True, tag="drop"):
    """Leave columns out, by name: sealing leaves out what the card does not declare, a recipe says so."""


class Round(_Step, frozen=True, tag="round"):
    """Round to the nearest multiple of ``to`` (half away from zero)."""

    to: str


class TopBottomCode(_Step, frozen=True, tag="top-bottom-code"):
    """Replace what is below ``low`` by ``low`` and what is above ``high`` by ``high``."""

    low: str | None = None
    high: str | None = None


Step = Mask | Pseudonymise | Generalise | Drop | Round | TopBottomCode


class Anonymity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must hold of the classes of units that agree in every quasi-identifier, after the steps.

    ``k``: units in a class. ``l``: distinct values of each sensitive column in a class. ``t``: distance between a
    sensitive column's distribution in a class and in the table, as exact text. ``suppress``: rows of classes that
    fail ``k`` or ``l`` are left out, up to the share ``most_suppressed``. With ``enforce = false`` nothing is refused.
    """

    quasi_identifiers: tuple[str, ...]
    k: int
    sensitive: tuple[str, ...] = ()
    l: int = 1  # noqa: E741 (the literature's name)
    t: str | None = None
    suppress: bool = False
    most_suppressed: str = "0.05"
    enforce: bool = True


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The steps and, if wanted, the demand on classes."""

    step: tuple[Step, ...] = ()
    anonymity: Anonymity | None = None
    # value -> classes, by the name a step gives; filled in by ``read_recipe``
    levels: dict[str, dict[str, tuple[str, ...]]] = msgspec.field(default_factory=dict)


def read_recipe(path: Path) -> Recipe:
    """Return a recipe with the hierarchies that its steps name, which lie beside it.

    Raises:
        MalformedError: ``recipe.file``, ``recipe.hierarchy``.
    """
    try:
        spec = tomllib.loads(path.read_text(encoding="utf-8"))
        if "levels" in spec:
            raise MalformedError("recipe.file", f"{path}: hierarchies are files", next_step="write hierarchy = FILE")
        recipe = msgspec.convert(spec, Recipe)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise MalformedError(
            "recipe.file", f"{path} is no recipe: {error}", next_step="docs/provider.md has one; numbers are texts"
        ) from error
    names = {step.hierarchy for step in recipe.step if isinstance(step, Generalise) and step.hierarchy}
    levels = {name: _levels(path.parent / name) for name in sorted(names)}
    return msgspec.structs.replace(recipe, levels=levels)


def _levels(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MalformedError(
            "recipe.hierarchy", f"{path} cannot be read: {error}", next_step="a CSV: value, class, coarser class, ..."
        ) from error
    if not rows or len(rows) > MOST_LEVELS or any(len(row) != len(rows[0]) or len(row) < 2 for row in rows):
        raise MalformedError(
            "recipe.hierarchy", f"{path} is no hierarchy", next_step="every row: a value and as many classes as others"
        )
    if len({row[0] for row in rows}) != len(rows):
        raise MalformedError("recipe.hierarchy", f"{path} lists a value twice", next_step="each value has one class")
    return {row[0]: tuple(row[1:]) for row in rows}
