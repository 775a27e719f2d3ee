"""Encoding: which integers a row gives a learner, from plan and card alone.

Column 0 is the constant ``SCALE`` (the intercept). A number or bool is one column, scaled to -SCALE..SCALE by the
bounds of its grid and rounded half up, as in a Gram. A category is a block of one column per label, ``SCALE`` at the
row's label and 0 elsewhere. So every block adds at most ``SCALE^2`` to the squared length of a row.
"""

from __future__ import annotations

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.components import GRAM_SCALE, usable
from cloister.plan.grid import Grid, fit
from cloister.plan.kinds import as_number, mismatch
from cloister.plan.typing import Schema, scalar

SCALE = GRAM_SCALE
MAX_FEATURES = 256
MAX_COLUMNS = 1_024
MAX_CLASSES = 32


class Block(msgspec.Struct, frozen=True):
    """The columns of one feature: ``start`` to ``start + width - 1``; ``labels`` are those of a category."""

    term: a.Scalar
    grid: Grid
    start: int
    width: int
    labels: tuple[str, ...] = ()


class Encoding(msgspec.Struct, frozen=True):
    """The columns of a row and the classes of its target.

    ``classes`` is empty without a target, ``("false", "true")`` for a condition, and the labels of a category. A row's
    class is an index into it.
    """

    blocks: tuple[Block, ...]
    target: a.Scalar | None
    target_grid: Grid | None
    classes: tuple[str, ...]

    @property
    def width(self) -> int:
        """How many columns a row has, the constant included."""
        return 1 + sum(block.width for block in self.blocks)

    @property
    def parts(self) -> int:
        """The most a row's squared length can be, in units of ``SCALE^2``: one for the constant, one per block."""
        return 1 + len(self.blocks)

    def touched(self, first: int, stop: int) -> int:
        """Return ``parts`` of the columns ``first`` to ``stop - 1`` alone."""
        return int(first <= 0 < stop) + sum(
            block.start < stop and first < block.start + block.width for block in self.blocks
        )


def encoding_of(plan: a.Fit, schema: Schema) -> Encoding:
    """Return the encoding of the rows of ``plan.source``, whose schema is ``schema``.

    Raises:
        PlanError: A feature or the target has no bounds or domain, or is of another kind; or they are too many.
    """
    if not 1 <= len(plan.features) <= MAX_FEATURES:
        raise _too_many(f"a model has 1 to {MAX_FEATURES} features")
    blocks: list[Block] = []
    start = 1
    for term in plan.features:
        block = _block(term, usable(scalar(term, schema)), start)
        blocks.append(block)
        start += block.width
    if start > MAX_COLUMNS:
        raise _too_many(f"the features of a model are encoded in at most {MAX_COLUMNS} columns, here {start}")
    if plan.target is None:
        return Encoding(tuple(blocks), None, None, ())
    grid = usable(scalar(plan.target, schema))
    return Encoding(tuple(blocks), plan.target, grid, _classes(grid))


def _block(term: a.Scalar, grid: Grid, start: int) -> Block:
    if grid.kind == "category":
        return Block(term, grid, start, len(grid.domain), grid.domain)
    found = as_number(grid, "a feature")
    # Rounding to ``SCALE`` steps multiplies the range by four times as much on the way.
    fit(Grid("number", 0, 4 * SCALE * (found.hi - found.lo)))
    return Block(term, found, start, 1)


def _classes(grid: Grid) -> tuple[str, ...]:
    if grid.kind == "bool":
        return ("false", "true")
    if grid.kind != "category":
        raise mismatch("the target of a model", "a condition or a category", grid)
    if not 2 <= len(grid.domain) <= MAX_CLASSES:
        raise PlanError(
            "plan.classes",
            f"the target has {len(grid.domain)} classes",
            clause=f"a model tells 2 to {MAX_CLASSES} classes apart",
            next_step="recode the target, or ask for a condition",
            nearest=('target == "label"',),
        )
    return grid.domain


def _too_many(clause: str) -> PlanError:
    return PlanError(
        "plan.features", "the model has too many features, or none", clause=clause,
        next_step="use fewer features, coarser bins or fewer labels",
    )  # fmt: skip


def ordered(block: Block) -> int:
    """Return how many of a block's labels, its first ones, are neighbouring bins of a number, in order."""
    if isinstance(block.term, a.Cut):
        return block.width
    if isinstance(block.term, a.Fill) and isinstance(block.term.term, a.Cut):
        return len(block.term.term.edges) - 1
    return 0
