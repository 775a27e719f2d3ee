"""What a manifest may say beside its parts: how the table was de-identified, and figures of its quality.

Both are public once the capsule is. A step holds parameters that the provider wrote down before the data were read, so
it tells nothing about them, and never a secret: a pseudonym's key is named by its public id. Figures of quality are
read off the data, which is why none is here unless the provider chose it (``cloister quality --publish``).
"""

from __future__ import annotations

from typing import Literal

import msgspec

OPERATORS = ("mask", "pseudonymise", "generalise", "drop", "round", "top-bottom-code", "k-anonymity")
DIMENSIONS = ("completeness", "validity", "consistency", "timeliness")
Operator = Literal["mask", "pseudonymise", "generalise", "drop", "round", "top-bottom-code", "k-anonymity"]
Dimension = Literal["completeness", "validity", "consistency", "timeliness"]


class Treatment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One de-identification step as it was done before sealing: operator, columns, parameters as text."""

    operator: Operator
    columns: tuple[str, ...]
    parameters: dict[str, str]


class PublishedQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures of a quality report that its provider published, and a commitment to the whole report.

    ``figures``: score by dimension, rounded down to hundredths (numerators and denominators would tell row counts).
    ``report``: ``sha256:`` digest of the report, which holds a random salt, so that no guess can be tested against it.
    ``as_of``: the day the report speaks about. ``card`` and ``parts`` bind the figures to the table they were computed
    from (``told.bound``): the digests of its card, and of the sealed parts. Earlier versions did not write them.
    """

    figures: dict[Dimension, str]
    report: str
    as_of: str
    card: str | msgspec.UnsetType = msgspec.UNSET
    parts: str | msgspec.UnsetType = msgspec.UNSET
