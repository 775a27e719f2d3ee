"""Mutation tests of fits: reach, sums, prices, noise, adaptivity and limits; each bug is caught by a fast check."""

from __future__ import annotations

import pytest
from fit_checks import check_reach, check_sums
from fit_engine_checks import (
    check_deadlines,
    check_limits,
    check_noise,
    check_prices,
    check_programs,
    check_reads,
    check_total,
    check_what_the_program_sees,
)
from mutants import mutated

from cloister.plan import layout, reads
from cloister.plan.learning import program, queries, solving
from cloister.vault import fit, fit_costs, fit_rows, fit_sums, norms, price


def summing() -> None:
    check_sums(9, 3)


def clustering() -> None:
    check_sums(0, 3)


MUTANTS = [
    (queries, "coded.parts * (coded.parts + 1) // 2", "coded.parts * (coded.parts + 1) // 4", check_reach),
    (queries, "(1 if single else 2) *", "1 *", check_reach),
    (queries, "SCALE**2 * coded.touched(form.first, form.stop)", "SCALE**2", check_reach),
    (queries, "Reach(form.clusters * coded.width, SCALE**2 * coded.parts, SCALE)",
     "Reach(form.clusters * coded.width, SCALE**2, SCALE)", check_reach),
    (queries, "usable = 1 <= form.clip <= RESIDUAL if single", "usable = 1 <= form.clip if single", check_limits),
    (queries, "all(-most <= value <= most for value in row)", "True", check_limits),
    (queries, "or form.outputs != outputs", "", check_limits),
    (norms, "part.width * part.squared) + 1, part.squared", "part.width * part.squared) + 1, part.squared // 2",
     check_prices),
    (layout, "squared=step.reach.squared", "squared=step.reach.largest", check_prices),
    (layout, "for step in found.steps)\n    return Layout", "for step in found.steps[:1] * 4)\n    return Layout",
     check_prices),
    (fit_sums, "np.where(length[:, None] > form.cap, np.sign(residuals) * limited, residuals)", "residuals", summing),
    (fit_sums, "np.abs(residuals) * form.cap // length[:, None]", "np.abs(residuals) * form.cap // form.cap", summing),
    (fit_sums, ".astype(np.int64) + half)", ".astype(np.int64))", summing),
    (fit_sums, "2 * _scores(rows, weights) - squared", "_scores(rows, weights) - squared", clustering),
    (fit_sums, "by_label[low - hot.start : high - hot.start]", "by_label[: high - low]", summing),
    (fit_rows, 'columns.append(f"({wide(lowered)})::SMALLINT AS class")\n        if lowered[1].nullable:',
     'columns.append(f"({wide(lowered)})::SMALLINT AS class")\n        if False:', summing),
    (fit, "(price.sigmas[index],)", "(price.sigmas[0],)", check_noise),
    (fit, "transcript.extend(noisy)", "transcript.extend(exact)", check_noise),
    (fit, "return noisy", "return exact", check_what_the_program_sees),
    (program, "if query.form != step.form:", "if False:", check_programs),
    (program, "if index + 1 < len(steps):", "if False:", check_programs),
    (program, "sum((step.share for step in found), Fraction(0)) != 1", "False", check_programs),
    (program, "any(step.share <= 0 for step in found)", "False", check_programs),
    (reads, "return plan.terms", "return plan.features", check_reads),
    (price, "        + cost.learning_ms\n", "", check_deadlines),
    (fit_costs, "if values * _BYTES_PER_VALUE > MAX_BYTES:", "if False:", check_deadlines),
    (solving, "if not pivot >= least:", "if False:", check_total),
]  # fmt: skip
EVERY_RUN = (0, 1, 2, 7, 8, 16, 17, 18, 19, 21, 23, 24)
CHECKS = (
    check_reach, check_limits, check_prices, check_noise, check_what_the_program_sees, check_programs, check_reads,
    check_deadlines, check_total, summing,
)  # fmt: skip


def _cases() -> list:
    return [
        pytest.param(*mutant, id=f"{mutant[0].__name__.split('.')[-1]}-{index}",
                     marks=() if index in EVERY_RUN else pytest.mark.slow)
        for index, mutant in enumerate(MUTANTS)
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), _cases())
def test_the_mutant_is_caught(module, old, new, check) -> None:
    with mutated(module, old, new), pytest.raises((Exception, pytest.fail.Exception)):
        check()


@pytest.mark.parametrize("check", CHECKS)
def test_the_check_passes_without_a_mutant(check) -> None:
    unchanged = "from __future__ import annotations"
    with mutated(fit, unchanged, unchanged + "  # the same"):
        check()
