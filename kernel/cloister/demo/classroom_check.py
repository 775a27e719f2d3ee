"""Marks the exercises of the differencing lesson, and says what to try next.

An attack is judged by what it finds out about twenty people it has never seen, not by how it is written. Nothing that
depends on noise decides between passed and not: attacks are marked with exact answers, and a choice of epsilon
by the proven ceiling, with a margin.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from cloister.demo import classroom
from cloister.demo.classroom import Feedback, Target
from cloister.demo.classroom_vault import LABELS, Defence
from cloister.errors import CloisterError, RefusedError

NEEDED = 0.95
PROMISE = 0.6
MARGIN = 2 / 3
_STEP = 10
_SEED = 1_000


class Found(NamedTuple):
    """What an attack answered about one person: a number, or the refusal it ran into."""

    person: Target
    number: float
    refusal: RefusedError | None


def check(exercise: str, answer: Any) -> Feedback:
    """Mark one exercise.

    Raises:
        CloisterError: ``classroom.exercise``: there is no exercise of this name.
    """
    marks: dict[str, Callable[[Any], Feedback]] = {"balance": _balance, "epsilon": _epsilon}
    if exercise not in marks:
        raise CloisterError("classroom.exercise", f"no exercise {exercise!r}", next_step=f"one of {', '.join(marks)}")
    return marks[exercise](answer)


def _balance(attack: Any) -> Feedback:
    """Find out a person's balance, past the threshold."""
    if not callable(attack):
        return _not_yet("hand over the function itself: classroom.check('balance', my_attack)")
    try:
        bare, small = _tries(attack, "off"), _tries(attack, "threshold")
        noisy = _tries(attack, "on") if _rate(small) >= NEEDED else []
    except _Wrong as wrong:
        return _not_yet(*wrong.args)
    if _rate(bare) < NEEDED:
        return _not_yet(_score(bare, "off"), _advice(bare))
    if _rate(small) < NEEDED:
        return _not_yet(
            _score(bare, "off"),
            _score(small, "threshold"),
            "A question about a single person is refused. Ask two questions about very many people.",
        )
    error = statistics.median(abs(try_.number - classroom.truth(try_.person)) for try_ in noisy)
    return Feedback(
        True,
        (
            _score(bare, "off"),
            _score(small, "threshold"),
            f"With the defence on the same code is wrong by {_rounded(error)} EUR (median)   [{LABELS['on']}]",
        ),
    )


def _epsilon(answer: Any) -> Feedback:
    """Choose the largest budget under which nobody is right more often than promised."""
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not 0 < answer <= 1_000:
        return _not_yet("hand over a number above 0, such as classroom.check('epsilon', 0.1)")
    reached = classroom.ceiling(answer)
    said = f"at epsilon {answer:g} an attacker can be right at most {reached:.1%} of the time"
    if reached > PROMISE:
        return _not_yet(said, f"You promised at most {PROMISE:.0%}: ask for a smaller epsilon.")
    if classroom.ceiling(answer / MARGIN) <= PROMISE:
        return _not_yet(
            said, f"The promise of {PROMISE:.0%} is kept, but analysts pay for more noise than it needs: try larger."
        )
    return Feedback(True, (said, f"That keeps the promise of {PROMISE:.0%} and wastes little of it."))


class _Wrong(Exception):  # noqa: N818 (not an error of the program: the student's answer cannot be marked)
    """The attack cannot be marked, and why."""


def _tries(attack: Callable[[Target], Any], defence: Defence) -> list[Found]:
    found = []
    with classroom.kept_open():
        for person in classroom.targets(classroom.RUNS, _SEED):
            classroom.open(defence=defence, seed=_SEED + person.number)
            found.append(_one(attack, person))
    return found


def _one(attack: Callable[[Target], Any], person: Target) -> Found:
    try:
        answer = attack(person)
    except RefusedError as refusal:
        return Found(person, math.nan, refusal)
    except Exception as error:  # the student's own code: whatever it raises is what to tell
        raise _Wrong(f"your function stopped with {type(error).__name__}: {error}") from error
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise _Wrong(f"your function returned {_word(answer)}; return one number, the balance in EUR")
    return Found(person, float(answer), None)


def _rate(tries: list[Found]) -> float:
    return sum(_right(try_) for try_ in tries) / len(tries)


def _right(try_: Found) -> bool:
    return abs(try_.number - classroom.truth(try_.person)) <= _STEP


def _advice(tries: list[Found]) -> str:
    refusals = [try_.refusal for try_ in tries if try_.refusal is not None]
    numbers = [try_.number for try_ in tries if try_.refusal is None]
    if refusals:
        return f"A question of yours was refused: {refusals[0]}"
    if len(set(numbers)) == 1:
        return f"You answered {numbers[0]:,.0f} about everybody: use person.facts to tell people apart."
    if all(abs(try_.number + classroom.truth(try_.person)) <= _STEP for try_ in tries):
        return "Right but for the sign: subtract 'all but this person' from 'everybody', not the other way round."
    if statistics.median(numbers) > 10**6:
        return "These are sums over very many people: subtract two of them that differ by this person only."
    return "Which two sums differ by exactly this person's balance? Try .sum() of everybody, then without her."


def _score(tries: list[Found], defence: Defence) -> str:
    return f"right about {sum(map(_right, tries))} of {len(tries)} people   [{LABELS[defence]}]"


def _word(answer: Any) -> str:
    return "nothing" if answer is None else f"a {type(answer).__name__}"


def _rounded(number: float) -> str:
    """Return a number with two digits: the rest is noise."""
    return f"{float(f'{number:.1e}'):,.0f}"


def _not_yet(*lines: str) -> Feedback:
    return Feedback(False, lines)
