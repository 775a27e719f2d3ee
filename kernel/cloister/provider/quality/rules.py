"""What the provider knows of a table beyond its card, as rules to measure it by; a TOML file, none of it published."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from cloister.contract.findings import exact
from cloister.contract.lineage import DIMENSIONS
from cloister.errors import MalformedError

Frequency = Literal["day", "week", "month", "quarter", "year"]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every value of ``column`` occurs in ``key`` of another table (a file, relative to the rules)."""

    column: str
    data: str
    key: str


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules.

    ``patterns``: a regular expression (RE2) that the whole text matches, by column. ``constant``: columns with one
    value per unit. ``one_unit``: columns whose value belongs to one unit (a phone number, an account). ``order``: pairs
    of date columns, the first not later. ``references``: keys across tables. ``units_in``: tables measured together
    with this one, by name, in each of which every unit of it should occur. ``frequency``: how often there should be
    rows, by date column. ``newest_within_days``: how old the newest date may be. ``at_least``: thresholds by dimension.
    """

    patterns: dict[str, str] = msgspec.field(default_factory=dict)
    constant: tuple[str, ...] = ()
    one_unit: tuple[str, ...] = ()
    order: tuple[tuple[str, str], ...] = ()
    references: tuple[Reference, ...] = ()
    units_in: tuple[str, ...] = ()
    frequency: dict[str, Frequency] = msgspec.field(default_factory=dict)
    newest_within_days: dict[str, int] = msgspec.field(default_factory=dict)
    at_least: dict[str, str] = msgspec.field(default_factory=dict)

    def names(self) -> set[str]:
        """Every column of the table that a rule is about."""
        pairs = [name for pair in self.order for name in pair]
        keyed = (*self.patterns, *self.frequency, *self.newest_within_days)
        return {*keyed, *self.constant, *self.one_unit, *pairs, *(one.column for one in self.references)}


def read_rules(path: Path) -> Rules:
    """Return the rules in a file.

    Raises:
        MalformedError: ``quality.rules``.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Rules)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise MalformedError(
            "quality.rules", f"{path} holds no rules: {error}", next_step="docs/provider.md has an example"
        ) from error


def thresholds(given: dict[str, str]) -> dict[str, str]:
    """Return thresholds after a check.

    Raises:
        MalformedError: ``quality.threshold``: no such dimension, or no share from 0 to 1.
    """
    for dimension, text in given.items():
        share = exact(text)
        if dimension not in DIMENSIONS or share is None or not 0 <= share <= 1:
            raise MalformedError(
                "quality.threshold", f"{dimension}={text} is no threshold",
                next_step="one of " + ", ".join(DIMENSIONS) + " and a share, such as validity=0.98",
            )  # fmt: skip
    return given
