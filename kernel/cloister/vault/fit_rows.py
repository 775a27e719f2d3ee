"""The encoded rows of a fit, read once from the engine: small integers, one array per feature, without nulls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.vault.analyse import Analysis
from cloister.vault.engine import Engine
from cloister.vault.measures_sql import scaled
from cloister.vault.relations_sql import Relations
from cloister.vault.scalars_sql import Parameters, lower, wide

Small = npt.NDArray[np.int16]


class OneHot(msgspec.Struct, frozen=True):
    """A category: the columns of its block, and the label of every row."""

    start: int
    width: int
    codes: Small


class FitRows(msgspec.Struct, frozen=True):
    """Encoded rows: ``numbers[:, i]`` is column ``columns[i]`` in -SCALE..SCALE; ``labels`` are the classes.

    The numbers are small integers; those of a chunk of rows are the same as doubles.
    """

    count: int
    columns: tuple[int, ...]
    numbers: Small | npt.NDArray[np.float64]
    hots: tuple[OneHot, ...]
    labels: Small


def read(engine: Engine, analysis: Analysis, coded: Encoding) -> FitRows:
    """Return the rows that have a value in every term.

    Raises:
        FaultError: As ``Engine.run``.
    """

    def compiled(tables: Mapping[str, str]) -> tuple[str, dict[str, int | str]]:
        return select(analysis, coded, tables)

    return encoded(engine.arrays(compiled), coded)


def encoded(found: Mapping[str, npt.NDArray[Any]], coded: Encoding) -> FitRows:
    """Return the rows from the columns of ``select``."""
    numbers = [block for block in coded.blocks if not block.labels]
    arrays = {name: np.ascontiguousarray(values, np.int16) for name, values in found.items()}
    count = len(next(iter(arrays.values())))
    matrix = np.empty((count, len(numbers)), np.int16)
    for position, block in enumerate(numbers):
        matrix[:, position] = arrays[f"b{block.start}"]
    return FitRows(
        count,
        tuple(block.start for block in numbers),
        matrix,
        tuple(OneHot(block.start, block.width, arrays[f"b{block.start}"]) for block in coded.blocks if block.labels),
        arrays.get("class", np.zeros(count, np.int16)),
    )


def select(analysis: Analysis, coded: Encoding, tables: Mapping[str, str]) -> tuple[str, dict[str, int | str]]:
    """Return the query of the encoded rows, whose order does not matter: everything asked of them is a sum."""
    bind = Parameters()
    source = Relations(analysis.cards, tables, bind).source(analysis.typed)
    columns, present = [], []
    for block in coded.blocks:
        lowered = lower(block.term, source.scope, bind)
        sql = wide(lowered) if block.labels else scaled(lowered, block.grid, SCALE, bind)
        columns.append(f"({sql})::SMALLINT AS b{block.start}")
        if lowered[1].nullable:
            present.append(f"{lowered[0]} IS NOT NULL")
    if coded.target is not None:
        lowered = lower(coded.target, source.scope, bind)
        columns.append(f"({wide(lowered)})::SMALLINT AS class")
        if lowered[1].nullable:
            present.append(f"{lowered[0]} IS NOT NULL")
    where = f" WHERE {' AND '.join(present)}" if present else ""
    sql = f"SELECT {', '.join(columns)} FROM ({source.sql}){where}"  # noqa: S608
    return sql, bind.used(sql)
