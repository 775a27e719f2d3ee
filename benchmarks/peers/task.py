"""What every contender answers, with the same public bounds and domains. Standard library only.

A runner is called as ``python RUNNER.py ADULT.csv ACCOUNTING REPETITIONS BUDGET=AMOUNT ...``: the accounting is
``pure`` (an amount is epsilon), ``gaussian`` (epsilon, at ``DELTA``) or ``zcdp`` (rho); a budget is a name. It prints,
per line and budget, one JSON object: ``{"line", "budget", "settings", "answers": [[cell, ...], ...]}``, one list of
cells per repetition.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LOW, HIGH, WIDTH = 0, 100, 5
EDGES = tuple(range(LOW, HIGH + 1, WIDTH))
QUANTILES = (0.25, 0.5, 0.75)
DELTA = 1e-6
SEXES = ("Female", "Male")
EDUCATIONS = (
    "10th", "11th", "12th", "1st-4th", "5th-6th", "7th-8th", "9th", "Assoc-acdm", "Assoc-voc", "Bachelors", "Doctorate",
    "HS-grad", "Masters", "Preschool", "Prof-school", "Some-college",
)  # fmt: skip
DOMAINS = {"sex": SEXES, "education": EDUCATIONS}


@dataclass(frozen=True)
class Line:
    """One question: ``kind`` of ``column`` in every cell of the closed ``keys``."""

    name: str
    kind: str
    keys: tuple[str, ...] = ()
    column: str = ""

    def cells(self) -> list[tuple[str, ...]]:
        """Return the values of the keys in the order of the answer."""
        cells: list[tuple[str, ...]] = [()]
        for key in self.keys:
            cells = [(*cell, label) for cell in cells for label in DOMAINS[key]]
        return cells


LINES = (
    Line("count by sex", "count", ("sex",)),
    Line("count by sex, education", "count", ("sex", "education")),
    Line("mean age by sex", "mean", ("sex",), "age"),
    Line("mean age by education", "mean", ("education",), "age"),
    Line("mean hours by sex", "mean", ("sex",), "hours"),
    Line("mean hours by education", "mean", ("education",), "hours"),
    Line("quartiles of age", "quantile", (), "age"),
    Line("quartiles of hours", "quantile", (), "hours"),
    Line("histogram of age", "histogram", (), "age"),
    Line("histogram of hours", "histogram", (), "hours"),
)


def rename(name: str) -> str:
    """Return the column's name in the task."""
    return {"hours-per-week": "hours"}.get(name, name)


def accounting() -> str:
    """Return what the amounts are: ``pure``, ``gaussian`` or ``zcdp``."""
    return sys.argv[2]


def answer(settings: str, ask: Callable[[Line, float, int], Iterable[list[float]] | None]) -> None:
    """Print what ``ask`` returns for every line and budget; None means that the peer has no such question."""
    repetitions = int(sys.argv[3])
    budgets = [(name, float(amount)) for name, amount in (text.split("=") for text in sys.argv[4:])]
    for name, amount in budgets:
        for line in LINES:
            told: dict[str, object] = {"line": line.name, "budget": name, "settings": settings}
            try:
                found = ask(line, amount, repetitions)
                if found is None:
                    continue
                told["answers"] = [[float(cell) for cell in cells] for cells in found]
            except (RuntimeError, ValueError) as error:
                told["error"] = str(error).splitlines()[0][:120]
            print(json.dumps(told), flush=True)
