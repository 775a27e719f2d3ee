"""Where printed numbers come from: *released* (by a receipt), *derived* (it moved) or *constant* (it did not move).

The second run gave every released value another one. A number that depends on any of them shows another number there;
one that does not was never a result. Most constants are innocent: a year, a threshold, a price list. Worth a look are
those in a cell that claims to be an analysis (something in it moves, or it released something) and those that stand in
the code; but not what is public anyway (contract, cards, labels). They are listed as *unexplained*.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import msgspec

from cloister.contract.words import in_words
from cloister.receipt.chain import cards_of
from cloister.receipt.facts import facts, shaped
from cloister.receipt.models import model_numbers
from cloister.replay import figures, perturb
from cloister.replay.figures import Figure
from cloister.reviewer.notebook import CodeCell, chips, named, printed
from cloister.reviewer.numbers import Released, numbers_in, rounding, value_of
from cloister.reviewer.verify import Examined


class Numbers(NamedTuple):
    """The numbers of one cell, and its figures."""

    released: int = 0
    derived: int = 0
    constant: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


class Known(NamedTuple):
    """What numbers are held against: released values and their prices, public numbers, numbers in the code.

    ``moved`` is what ``released`` is in the perturbed run; errors and prices are in both. ``models`` are the numbers of
    each receipt's model, by its digest, as they are in both runs; those that do not move say nothing and are left out.
    """

    released: Released
    moved: Released
    public: frozenset[float]
    typed: frozenset[float]
    models: dict[str, tuple[tuple[float, float], ...]]


def known(examined: Examined) -> Known:
    """Return what a verified notebook's numbers can be explained by."""
    shapes, moved, prices, labels = [], [], [], set()
    models: dict[str, tuple[tuple[float, float], ...]] = {}
    contract = examined.contract
    for digest, receipt in examined.receipts.items():
        if receipt.exits is not None:
            continue  # no number of an exit stands in a notebook
        cards = cards_of(receipt, examined.cards)
        found = shaped(receipt, cards)
        shapes.append(found)
        other = msgspec.structs.replace(receipt, raw=perturb.moved(receipt, cards))
        moved.append(shaped(other, cards))
        both = zip(model_numbers(receipt, cards), model_numbers(other, cards), strict=True)
        models[digest] = tuple((value, after) for value, after in both if value != after)
        labels |= {float(label) for key in found.keys for label in key.labels if isinstance(label, int | float)}
        if contract is not None:
            said = facts(receipt, contract, cards, session="")
            prices += [float(text.rstrip("% ")) for cost in said.costs for text in (cost.epsilon, cost.share)]
    documents = json.dumps([msgspec.to_builtins(item) for item in (contract, *examined.cards.values())])
    public = documents + (in_words(contract) if contract is not None else "")
    code = " ".join(cell.source for cell in examined.cells)
    return Known(
        Released(shapes, prices),
        Released(moved, prices),
        frozenset(map(value_of, numbers_in(public, len(public)))) | labels,
        frozenset(map(value_of, numbers_in(code, len(code)))),
        models,
    )


def classify(
    cell: CodeCell, one: tuple[dict[str, Any], ...], other: tuple[dict[str, Any], ...], known: Known
) -> Numbers:
    """Return where the numbers of a cell come from.

    Args:
        cell: The cell as saved.
        one: Its outputs in the run with the receipts.
        other: Its outputs in the perturbed run.
        known: From ``known``.
    """
    if not cell.reaches_enclave:
        return Numbers()
    fitted = [pair for digest in named(cell) for pair in known.models.get(digest, ())]
    known = known._replace(released=known.released.beside(value for value, _ in fitted))
    honest, moved = _results(cell, one), _results(cell, other)
    shown, after = _numbers(honest), _numbers(moved)
    fixed = Counter(number for numbers in after for number in numbers)
    released, derived, constant = 0, 0, list[str]()
    claims = bool(list(chips(cell._replace(outputs=one))))
    for place, numbers in enumerate(shown):
        # Number by number where both runs print the same number of them, else by what appears in the other run at all.
        beside = after[place] if len(shown) == len(after) and len(after[place]) == len(numbers) else None
        for at, number in enumerate(numbers):
            stays = number == beside[at] if beside is not None else number in fixed
            claims = claims or not stays
            # A number that stays is released only if what it shows stays: a copy typed by hand is a constant.
            # Of a model's numbers that is one which rounds to it in both runs: some other one does to almost anything.
            if known.released.accounts_for(number) and (
                not stays or known.moved.accounts_for(number) or _stays(number, fitted)
            ):
                released += 1
            elif stays:
                constant.append(number)
            else:
                derived += 1
    pictured = _figures(honest, moved, known)
    claims = claims or any(figure.kind in ("released", "derived") for figure in pictured)
    odd = [n for n in constant if value_of(n) not in known.public and (claims or value_of(n) in known.typed)]
    return Numbers(released, derived, tuple(constant), tuple(dict.fromkeys(odd)), pictured)


def _stays(number: str, fitted: list[tuple[float, float]]) -> bool:
    low, high = rounding(number)
    return any(low <= value <= high and low <= after <= high for value, after in fitted)


def _results(cell: CodeCell, outputs: tuple[dict[str, Any], ...]) -> tuple[CodeCell, ...]:
    """Return the ordinary outputs, each as a cell of its own: no chip, no mark of the perturbed run."""
    kept = []
    for output in outputs:
        alone = cell._replace(outputs=(output,))
        metadata = output.get("metadata")
        marked = isinstance(metadata, dict) and perturb.MARK_KEY in metadata
        if not marked and not list(chips(alone)):
            kept.append(alone)
    return tuple(kept)


def _numbers(results: tuple[CodeCell, ...]) -> list[list[str]]:
    found = []
    for result in results:
        numbers: list[str] = []
        for output in printed(result):
            plain = numbers_in(output.plain)
            numbers += plain + [number for number in numbers_in(output.markup) if number not in plain]
        found.append(numbers)
    return found


def _figures(honest: tuple[CodeCell, ...], moved: tuple[CodeCell, ...], known: Known) -> tuple[Figure, ...]:
    pictured = [result.outputs[0] for result in honest if figures.is_figure(result.outputs[0])]
    beside = [result.outputs[0] for result in moved if figures.is_figure(result.outputs[0])]
    return tuple(
        figures.compare(output, beside[at] if at < len(beside) else None, known.released)
        for at, output in enumerate(pictured)
    )
