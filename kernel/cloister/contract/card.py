"""Data cards: what a provider declares about a table. Public, signed, and free of statistics.

A card is a promise about *storage*: the vault enforces it (out of bounds is clipped, out of domain becomes
``(other)``, a null key drops the row, more than ``rows_per_unit`` rows of a unit are capped) and never refuses
on data. Fields follow privacy.md section 1 of the design; catalogue fields answer S1-08, S3-05 and S3-45.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OTHER = "(other)"


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column. Numbers and dates need ``low``, ``high`` and (numbers) ``step``; text needs ``domain``.

    Bounds are exact rationals or ISO dates as text; ``step`` divides ``high - low``. ``tier`` is the
    PBoC sensitivity 1..5. Text without a domain is free text (or a unit key).
    """

    name: str
    type: Literal["bool", "int", "decimal", "date", "string"]
    tier: Literal[1, 2, 3, 4, 5]
    description: str
    nullable: bool = False
    personal: bool = False
    low: str | None = None
    high: str | None = None
    step: str | None = None
    domain: tuple[str, ...] | None = None
    unit_of_measure: str = ""


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a pack of tier rules (``packs``) asks of a card beside the tiers.

    ``scheme``: the pack whose axis the tiers are of. ``importance``: general, important or core data (PBoC draft,
    article 8). ``assessment``: digest of the risk assessment that important data need (article 24).
    """

    scheme: str = ""
    importance: Literal["general", "important", "core"] | None = None
    assessment: str = ""


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table as its provider declares it.

    ``unit`` is the protected entity ("patient"; ``"none"``: a reference table),
    ``key`` its key columns (what a reference table is looked up by), ``normaliser`` how key text is made
    comparable, ``population`` the account that releases are charged to, ``rows_per_unit`` the most rows one
    unit may keep, ``row_limit`` a declared size class (never the actual size). ``hashed``, where it is there, says that
    the key columns were sealed as hashes under a secret salt, of which it is the public id (``unit_keys``).
    """

    name: str
    title: str
    description: str
    unit: str
    key: tuple[str, ...]
    normaliser: Literal["exact", "ascii-lower-strip"]
    population: str
    rows_per_unit: int
    row_limit: int
    grade: Literal["demonstration", "production"]
    columns: tuple[Column, ...]
    source: str
    retention: str
    purposes: tuple[str, ...]
    order: str | None = None
    version: Literal[1] = 1
    # Written only where keys are hashed: the cards of all others keep their digests.
    hashed: str | msgspec.UnsetType = msgspec.UNSET
    # Written only for contracts under a pack.
    labels: Labels | msgspec.UnsetType = msgspec.UNSET

    @property
    def labelled(self) -> Labels:
        """The labels of the card; empty where it has none."""
        return self.labels if isinstance(self.labels, Labels) else Labels()

    @property
    def salt_id(self) -> str:
        """The id of the salt its keys were hashed under at seal, or ``""``."""
        return self.hashed if isinstance(self.hashed, str) else ""

    def column(self, name: str) -> Column | None:
        """Return the column called ``name``, if declared."""
        return next((column for column in self.columns if column.name == name), None)

    def identifies(self, name: str) -> bool:
        """Whether a column is (part of) the key of a protected unit; the key of a reference table identifies nobody."""
        return self.unit != "none" and name in self.key
