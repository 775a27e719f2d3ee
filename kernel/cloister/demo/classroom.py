"""Lessons with a defence that can be switched off, for students with a plain laptop.

    from cloister.demo import classroom
    import cloister as cl

    lesson = classroom.open(defence="off")          # from here on cl.table(...) speaks to the lesson
    cl.table("city_bank.customers").balance.mean()

The analyst's API, the plan and its analysis, price and engine are the real ones (``classroom_vault``); the rows are
invented, everything happens in this process, and every output says so. A lesson opens on the plain Python kernel
only: never in a Cloister kernel, and never on a table that somebody brings along.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from cloister.demo import classroom_vault as vault
from cloister.demo.classroom_vault import Defence
from cloister.errors import CloisterError, RefusedError
from cloister.plan.precision import rho_of_epsilon
from cloister.sandbox import html
from cloister.sandbox import session as sessions
from cloister.sandbox.link import ENVIRONMENT

TABLE = "city_bank.customers"
KNOWN = ("age", "region", "segment", "income")
HIDDEN = "balance"
RUNS = 20
MAX_RUNS = 2_000


@dataclasses.dataclass(frozen=True)
class Target:
    """A customer as an acquaintance knows her: a few facts which, together, fit nobody else.

    Attributes:
        number: Which target of the game this is.
        facts: The facts as a condition for ``query``.
    """

    number: int
    age: int
    region: str
    segment: str
    income: int

    @property
    def facts(self) -> str:
        """The facts as a condition: ``age == 44 and region == 'east' and ...``."""
        return " and ".join(f"{name} == {getattr(self, name)!r}" for name in KNOWN)


@dataclasses.dataclass(frozen=True)
class Score:
    """How often an attack was right, and the defence it ran against."""

    right: int
    runs: int
    label: str

    @property
    def rate(self) -> float:
        """The share of targets it was right about; a coin reaches 0.5."""
        return self.right / self.runs

    def __repr__(self) -> str:
        return f"right about {self.right} of {self.runs} people ({self.rate:.0%})   [{self.label}]"


@dataclasses.dataclass(frozen=True)
class Feedback:
    """What a check found."""

    passed: bool
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        head, *rest = self.lines
        return "\n".join([f"{'PASSED' if self.passed else 'NOT YET'}: {head}", *(f"  {line}" for line in rest)])


class Lesson:
    """An open lesson. ``cl.table(...)`` and friends speak to it until another one is opened."""

    def __init__(self, table: str, defence: Defence, seed: int, epsilon: str) -> None:
        self.table = table
        self.defence = defence
        self.epsilon = epsilon
        self._vault = vault.TeachingVault(table, defence, seed, epsilon)
        self._session = sessions.Session(_Noted(self._vault))

    @property
    def label(self) -> str:
        """What every output of this lesson says."""
        return self._vault.label

    def use(self) -> Lesson:
        """Make this the lesson that ``cl.table(...)`` speaks to, again."""
        _check_kernel()
        sessions.use(self._session)
        return self

    def __repr__(self) -> str:
        return f"lesson on {self.table} (invented)   [{self.label}]"


def open(  # noqa: A001 (classroom.open reads as what it does; nothing here opens files)
    table: str = TABLE, *, defence: Defence = "on", seed: int = 1, epsilon: float | str = "8"
) -> Lesson:
    """Open a lesson; from here on ``cl.table(...)`` speaks to it.

    Args:
        table: An invented demonstration table.
        defence: ``off``: exact answers. ``threshold``: exact answers, none about fewer than ten rows. ``on``: the
            noise, the prices and the budget of a vault, but from a seed.
        seed: Where the noise comes from; the same seed and questions give the same answers.
        epsilon: The budget of the lesson, at delta 1e-6.

    Raises:
        CloisterError: ``classroom.kernel`` in a Cloister kernel, ``classroom.table`` for other data.
    """
    _check_kernel()
    return Lesson(table, defence, seed, str(epsilon)).use()


def targets(count: int = RUNS, seed: int = 0) -> list[Target]:
    """Return people to attack: half of them overdrawn, in an order the seed decides.

    Raises:
        CloisterError: ``classroom.runs``: there are not that many.
    """
    if not 1 <= count <= MAX_RUNS:
        raise CloisterError("classroom.runs", f"between 1 and {MAX_RUNS:,} people can be attacked")
    rng = np.random.default_rng(seed)
    rows = vault.frame(TABLE)
    alone = rows[rows.groupby(list(KNOWN)).age.transform("size") == 1]
    negative = rng.permutation(np.arange(count) % 2 == 0)
    pools = {sign: iter(rng.permutation(alone.index[(alone[HIDDEN] < 0) == sign])) for sign in (True, False)}
    chosen = [alone.loc[next(pools[bool(sign)])] for sign in negative]
    return [
        Target(number, int(row.age), str(row.region), str(row.segment), int(row.income))
        for number, row in enumerate(chosen)
    ]


def play(
    attack: Callable[[Target], Any], *, defence: Defence, runs: int = RUNS, epsilon: float | str = "8", seed: int = 0
) -> Score:
    """Let an attack guess, for one person per run, whether the account is overdrawn.

    Every run is a lesson of its own with a fresh budget and fresh noise. Half of the people are overdrawn, so guessing
    is right half of the time. A refusal that the attack does not handle counts as a wrong guess.

    Raises:
        CloisterError: ``classroom.answer``: the attack answered something else than yes or no.
    """
    right = 0
    with kept_open():
        for person in targets(runs, seed):
            open(TABLE, defence=defence, seed=seed + person.number, epsilon=epsilon)
            try:
                guess = attack(person)
            except RefusedError:
                continue
            if not isinstance(guess, bool | np.bool_):
                raise CloisterError(
                    "classroom.answer",
                    f"the attack answered with a {type(guess).__name__}",
                    next_step="end the function with `return True` or `return False`, or with a comparison",
                )
            right += bool(guess) == (truth(person) < 0)
    return Score(right, runs, vault.LABELS[defence])


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Open other lessons inside; afterwards ``cl.table(...)`` speaks to the one that was open before."""
    _check_kernel()
    before = list(sessions._current)
    try:
        yield
    finally:
        sessions.use(before[0] if before else None)


@lru_cache(maxsize=10_000)
def truth(person: Target) -> int:
    """Return the balance of a person, from the invented rows: for marking answers."""
    rows = vault.frame(TABLE)
    fits = np.logical_and.reduce([rows[name] == getattr(person, name) for name in KNOWN])
    return int(rows.loc[fits, HIDDEN].item())


def ceiling(epsilon: float | str) -> float:
    """Return what no attack can exceed: how often one may be right about whether a person was counted.

    For the whole budget ``epsilon`` at delta 1e-6, spent on questions that count this person or do not. With rho the
    zCDP price, the relative entropy of the two possible worlds is at most rho (Bun and Steinke 2016), hence their
    total variation at most sqrt(rho / 2) (Pinsker) and at most sqrt(1 - exp(-rho)) (Bretagnolle and Huber 1979), and
    an even bet is won with probability at most (1 + total variation) / 2.
    """
    rho = float(rho_of_epsilon(Fraction(str(epsilon)), Fraction(vault.DELTA)))
    return (1 + min(math.sqrt(rho / 2), math.sqrt(1 - math.exp(-rho)))) / 2


def check(exercise: str, answer: Any) -> Feedback:
    """Mark an exercise of the lesson: ``check("balance", my_attack)`` or ``check("epsilon", 1.0)``.

    Returns:
        Feedback: passed or not, and what to try next. Noise never decides, and a wrong answer raises nothing.
    """
    from cloister.demo import classroom_check  # noqa: PLC0415 (it plays lessons, which are opened here)

    return classroom_check.check(exercise, answer)


def rows() -> pd.DataFrame:
    """Return the invented customers: for teachers who want to look behind the curtain."""
    return vault.frame(TABLE).copy()


def _check_kernel() -> None:
    current = sessions._current
    if os.environ.get(ENVIRONMENT) or (current and current[0].about.mode != vault.MODE):
        raise CloisterError(
            "classroom.kernel",
            "a lesson with a switchable defence does not open in a Cloister kernel",
            clause="what a Cloister kernel shows is protected, and must not look like a lesson",
            next_step="choose the plain Python 3 kernel",
        )


class _Noted:
    """The lesson's vault, and one line under every cell that it answered: a DataFrame cannot say it by itself."""

    def __init__(self, answers: vault.TeachingVault) -> None:
        self._answers = answers

    def request(self, op: str, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Pass a request on."""
        found = self._answers.request(op, plan)
        if op == "release":
            _note(self._answers.label)
        return found


# The shell whose cell is running, and the labels of what it released; labels of a shell that is gone are not shown.
_pending: list[tuple[Any, dict[str, None]]] = []


def _note(label: str) -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    if not _pending or _pending[0][0] is not shell:
        _pending[:] = [(shell, {})]
        shell.events.register("post_run_cell", _show)
    _pending[0][1][label] = None


def _show(*_result: Any) -> None:
    shell, labels = _pending.pop()
    shell.events.unregister("post_run_cell", _show)
    words = "; ".join(labels)
    marked = html.block(html.paragraph(html.teaching(words), html.text("invented customers, no enclave, no receipt")))
    text = f"Cloister lesson: {words}; invented customers, no enclave, no receipt"
    shell.display_pub.publish({"text/plain": text, "text/html": marked})
