"""Mutation tests of the privacy engine: every listed bug is caught by a check of this folder.

The list is written by hand; an entry names the module, the line as it is, the line as a tired author might have written
it, and the check that must fail. Each check also runs, unchanged, as an ordinary test.
"""

from __future__ import annotations

import pytest
from load_reference import check_load
from mutants import mutated
from noise_checks import check_draws
from order_checks import check_order
from price_checks import check_analysis, check_deadline, check_lineage, check_price
from scalar_checks import check_scalars
from shape_checks import check_shape
from test_algebra_table import test_terms_are_counted_as_often_as_the_query_repeats_them
from test_fuzz import run_pair
from test_load import test_rows_that_differ_in_free_text_alone_have_hashes_of_their_own
from test_scalar_totality import (
    EVERY,
    REFUSED,
    refusal,
    test_a_curve_is_rounded_down_on_its_grid,
    test_no_value_makes_a_scalar_fail_or_leave_its_range,
)
from vault_fuzzing import Bench

from cloister.plan import (
    components,
    curves,
    gaussian,
    grid,
    layout,
    moments,
    precision,
    reads,
    relations,
    rules,
    rules_dates,
    rules_numbers,
    rules_text,
    shape,
    texts,
    typing,
)
from cloister.vault import (
    analyse,
    canonical,
    costs,
    engine,
    measures_sql,
    noise,
    norms,
    order,
    price,
    relations_sql,
    sampler,
    scalars_dates_sql,
    scalars_numbers_sql,
    scalars_sql,
    scalars_text_sql,
    sql_terms,
    stage,
    units,
)
from cloister.vault import compile as compiler


def claims() -> None:
    """Distances only: what the fuzz sees without the interpreter."""
    _fuzz(reference=False)


def fuzz() -> None:
    """Distances and equality with the interpreter."""
    _fuzz(reference=True)


def _fuzz(*, reference: bool) -> None:
    bench = Bench()
    for seed in range(45):
        problems = run_pair(bench, seed, plans=12, reference=reference)
        assert not problems, problems[0]


def scalars() -> None:
    check_scalars(60)


def totality() -> None:
    for node in EVERY:
        test_no_value_makes_a_scalar_fail_or_leave_its_range(node)
    for node, code in REFUSED:
        assert refusal(node) == code


def curved() -> None:
    test_a_curve_is_rounded_down_on_its_grid()


def counting() -> None:
    test_terms_are_counted_as_often_as_the_query_repeats_them()


def row_hash() -> None:
    test_rows_that_differ_in_free_text_alone_have_hashes_of_their_own()


def loading() -> None:
    check_load(range(25))


def ordering() -> None:
    check_order(range(100))


def noising() -> None:
    exact = engine.Exact((5,) * 900, (1, 1))
    noisy = noise.add_noise(exact, (0.01, 30.0))
    assert noisy[::2] == [5] * 450
    assert len(set(noisy[1::2])) > 40
    assert noise.add_noise(engine.Exact((5, 9) * 3, (1, 1)), (0.01, 0.01)) == [5, 9] * 3
    assert noise.gaussian([2**70], 0.01) == [2**62]
    check_draws(lambda size, sigma: noise.gaussian([0] * size, sigma), 20_000, (0.9, 2.5))


def sampling() -> None:
    check_draws(lambda size, sigma: sampler.Sampler().add([0] * size, sigma), 4_000, (0.6, 2.5))


MUTANTS = [
    # Norms and lineage.
    (norms, "return max(abs(part.lo), abs(part.hi))", "return abs(part.hi)", claims),
    (typing, "rows=max(1, card.rows_per_unit)", "rows=1", claims),
    (norms, "Bound(rows * total, ", "Bound(total, ", claims),
    (norms, "min(rows, per_cell) * max(1, reach(part)), square", "max(1, reach(part)), square", claims),
    (norms, "part.width * most**2", "most**2", claims),
    (norms, "(full * per_cell**2 + rest**2)", "(full * per_cell**2)", check_analysis),
    (norms, "(full * per_cell**2 + rest**2)", "rows", claims),
    (typing, "if cap.tokens <= tokens", "if tokens <= cap.tokens", claims),
    (typing, "if cap.tokens <= tokens", "", claims),
    (relations, "_points(source.grid(name)) + 1 for", "_points(source.grid(name)) for", check_analysis),
    (relations, "rows=min(source.rows, node.rows * groups)", "rows=node.rows", check_analysis),
    (relations, "min(values, node.groups)", "max(values, node.groups)", check_analysis),
    (reads, "schema.uses.union(*(schema.grid(name).uses for name in plan.keys))", "frozenset()", check_lineage),
    (analyse, "(_tier(cards[table], name) for table, name in uses)", "(1 for _, name in uses)", check_lineage),
    (relations, "_replace(source, uses=source.uses | condition.uses)", "source", check_lineage),
    (relations, "tokens[name] = token(expression, source)", "pass", check_analysis),
    (rules, ".union(*(part.uses for part in parts))", "", check_lineage),
    # Ranges the norms rest on.
    (rules, "Grid(\"number\", left.lo - right.hi, left.hi - right.lo, step, nullable)",
     "Grid(\"number\", left.lo - right.lo, left.hi - right.hi, step, nullable)", totality),
    (rules, "low = 0 if left.lo <= 0 <= left.hi else min(left.lo**2, left.hi**2)", "low = high", scalars),
    (rules, "high = max(abs(term.lo), abs(term.hi))", "high = abs(term.hi)", scalars),
    (rules, "low, high = -high, -low", "pass", scalars),
    (rules, "union(\"fill\", parts[0], parts[1])", "parts[0]", scalars),
    (rules, "min(left.lo, right.lo), max(left.hi, right.hi), step)", "left.lo, left.hi, step)", scalars),
    (rules, "nullable=term.nullable or not covered", "nullable=term.nullable", scalars),
    (components, "middle, -reach, reach, weight", "middle, 0, reach, weight", check_shape),
    (components, "Fraction(grid.lo + grid.hi, 2) * grid.step", "Fraction(0)", fuzz),
    (components, "for term in terms if scalar(term, self._schema).nullable}", "for term in terms if False}",
     check_shape),
    (grid, "fine = common_step(step, lower) if lower else step", "fine = step", scalars),
    # Storage.
    (order, "over[most:] = unit[most:] == unit[:-most]", "pass", claims),
    (order, "over[most:] = unit[most:] == unit[:-most]", "over[most + 1:] = unit[most + 1:] == unit[:-most - 1]",
     loading),
    (order, "unit[most:] == unit[:-most]", "True", loading),
    (order, "order[equal] = _by_everything(connection, ranks, rows, order[equal])", "pass", ordering),
    (stage, "state = self._units[block if self._codes is None else self._codes[block]]",
     "state = np.arange(len(rows.hashed), dtype=np.uint64)[block]", loading),
    (stage, "np.logical_and(rows.keep, present, out=rows.keep)", "pass", loading),
    (units, "| (lower[1:] != lower[:-1])", "| (lower[1:] == lower[:-1])", loading),
    (stage, "rows.keep[block] &= ~found.dropped", "pass", loading),
    (units, "keys.is_valid()", "keys.is_null()", loading),
    (order, "*first, *columns, \"flags\"", "\"rank\", \"hashed\"", ordering),
    (order, "crowded[unit[over]] = True", "pass", ordering),
    (units, "np.lexsort((lower[some], upper[some]))", "np.lexsort((upper[some],))", ordering),
    (canonical, "np.clip(days, grid.lo, grid.hi)", "days", loading),
    (canonical, "np.clip(given, int(low), int(high))", "given", loading),
    (canonical, "valid = valid & finite", "pass", loading),
    (canonical, "values.astype(np.int64))", "values.astype(np.int32))", loading),
    (canonical, "text = pc.ascii_lower(pc.ascii_trim_whitespace(text))", "pass", loading),
    (canonical, "dropped = ~valid", "pass", loading),
    (canonical, "[:MAX_TEXT]", "[:3]", loading),
    # Compiler.
    (relations_sql, 'window = _over(["unit", *names]', 'window = _over(["unit"]', fuzz),
    (relations_sql, 'window = _over(["unit", *names]', 'window = _over(names or ["1"]', claims),
    (relations_sql, '[f"{sql} ASC NULLS LAST" for sql in source.every])\n        window',
     '[f"{sql} ASC NULLS LAST" for sql in source.every[1:]])\n        window', fuzz),
    (relations_sql, "_over(['unit'], [hashed", "_over(['1'], [hashed", fuzz),
    (relations_sql, "'hex(unit)', *pieces", "*pieces", fuzz),
    (relations_sql, " AND {groups} <= {self._bind.integer(node.groups)}", "", claims),
    (compiler, "closed = [f\"{sql} IS NOT NULL\" for sql, grid in keys if grid.nullable]", "closed = []", fuzz),
    (relations_sql, "QUALIFY {window} <= {self._bind.integer(node.rows)}\"  # noqa: S608\n        hashed",
     "\"  # noqa: S608\n        hashed", claims),
    (measures_sql, "2 * found[0] - (grid.lo + grid.hi) * found[1]", "2 * found[0]", claims),
    (measures_sql, "f\"count({nullable[0]})\" if nullable and not where else f\"count(*){where}\"",
     "f\"count(*){where}\"", fuzz),
    (measures_sql, "GRAM_SCALE**2 * count", "GRAM_SCALE * count", fuzz),
    (engine, "cell = cell * size + index", "cell = cell + index", fuzz),
    (engine, "int(code or 0) - key.grid.lo", "int(code or 0)", fuzz),
    (scalars_sql, "{'TRUE' if kind == 'ne' else 'FALSE'}", "FALSE", scalars),
    (sql_terms, "return f\"COALESCE({sql}, FALSE)\" if grid.nullable else sql", "return sql", scalars),
    (scalars_sql, "math.ceil(limit) if kind in (\"lt\", \"ge\") else math.floor(limit)", "math.floor(limit)", scalars),
    (scalars_sql, "math.ceil(edge / grid.step)", "math.floor(edge / grid.step)", scalars),
    (sql_terms, "recoded(right, merged_domain(left[1], right[1]), bind)", "wide(right)", scalars),
    (scalars_sql, "WHEN {sql} > {upper} THEN {upper} ELSE {sql} END", "ELSE {sql} END", scalars),
    (scalars_sql, "if not term[1].nullable:\n        return f\"greatest",
     "if True:\n        return f\"greatest", scalars),
    (scalars_sql, "greatest(least({sql}, {upper}), {lower_})", "least({sql}, {upper})", scalars),
    (scalars_sql, "if index.denominator == 1 and grid.lo <= index <= grid.hi else None", "", scalars),
    # Scalars: rules that ranges rest on, and their SQL.
    (rules, "return msgspec.structs.replace(parts[0], nullable=True)", "return parts[0]", scalars),
    (rules_numbers, "if term.lo // width == term.hi // width:", "if True:", scalars),
    (rules_numbers, "min(0, term.lo // (2 * width)) * 2 * width", "0", totality),
    (rules_numbers, "left.nullable or right.nullable or zero)", "left.nullable or right.nullable)", totality),
    (rules_numbers, "if not zero:", "if True:", totality),
    (rules_numbers, "math.floor(-1 / step) + 1", "math.floor(-1 / step)", totality),
    (rules_numbers, "round(Fraction(index, width))", "index // width", scalars),
    (rules_dates, "_cycle(node.part, first) != _cycle(node.part, last)", "False", scalars),
    (rules_dates, "return calendar_range(Grid(\"date\", term.lo + node.days",
     "return (Grid(\"date\", term.lo + node.days", totality),
    (rules_dates, "ends = [-ends[1], -ends[0]]", "pass", scalars),
    (rules_text, "return times * len(node.new) + rest", "return most", totality),
    (rules_text, "nullable or len(numbers) < len(found)", "nullable", totality),
    (texts, "text.replace(node.old, node.new)[:MAX_TEXT]", "text.replace(node.old, node.new)", totality),
    (texts, "math.floor(Fraction(text) / step)", "int(Fraction(text) / step)", totality),
    (curves, "scale**2 // x.denominator", "scale // x.denominator", curved),
    (scalars_numbers_sql, "rest if grid.lo >= 0 else", "rest if True else", scalars),
    (scalars_numbers_sql, "if node.kind == \"even\" and width % 2 == 0:", "if False:", scalars),
    (scalars_numbers_sql, "if positive:\n", "if True:\n", scalars),
    (scalars_numbers_sql, "if under.lo >= 0:", "if True:", scalars),
    (scalars_numbers_sql, "{bottom} <> 0 AND {top} IS NOT NULL", "{bottom} <> 0", scalars),
    (scalars_dates_sql, "- {bind.integer(FIRST_DAY)})\"", "+ {bind.integer(3)})\"", totality),
    (scalars_dates_sql, "'+' if node.kind == 'add' else '-'", "'+'", scalars),
    (scalars_text_sql, "COALESCE({node.kind}({text}, {bind.text(node.text)}), FALSE)",
     "{node.kind}({text}, {bind.text(node.text)})", scalars),
    (scalars_text_sql, "return _cut(f\"({joined})\", bind)", "return f\"({joined})\"", scalars),
    (scalars_text_sql, "CASE WHEN {text} IS NOT NULL THEN", "CASE WHEN TRUE THEN", scalars),
    (scalars_text_sql, "CASE WHEN regexp_full_match({text}, '{NUMBER}') THEN", "CASE WHEN TRUE THEN", totality),
    (scalars_text_sql, "first = math.floor(low / step)", "first = 0", totality),
    (sql_terms, "[{code} + {bind.integer(1)}]\"\n\n\ndef as_text", "[{code}]\"\n\n\ndef as_text", scalars),
    (canonical, "pc.cast(data, pa.large_string()), 0, MAX_TEXT)", "pc.cast(data, pa.large_string()), 0, 999)", loading),
    (canonical, "return text if column.nullable else pc.fill_null(text, \"\")", "return text", loading),
    (stage, "self.hashed[block].view(np.int64)", "0 * self.hashed[block].view(np.int64)", row_hash),
    (costs, "| a.Parse():\n            return 2", "| a.Parse():\n            return 1", counting),
    # Price.
    (price, "while Fraction(sigma) ** 2 < target:", "while False:", check_price),
    (precision, "/ (2 * Fraction(sigma) ** 2)", "/ (4 * Fraction(sigma) ** 2)", check_price),
    (precision, "math.ceil(l2_squared", "math.floor(l2_squared", check_price),
    (price, "target = Fraction(l2_squared) / (2 * rho)", "target = Fraction(l2_squared) / rho", check_price),
    (price, "rho * part.weight", "rho", check_price),
    (price, "if step > 2 * predicted", "if step > 2", check_deadline),
    (price, "+ cost.integers * _MS_PER_INTEGER", "", check_deadline),
    # Noise.
    (noise, "scale=sigma)", "scale=sigma / 2)", noising),
    (noise, "min(max(value, -LIMIT), LIMIT)", "value", noising),
    (noise, "        start += width\n", "", noising),
    (sampler, "square / scale) ** 2", "scale) ** 2", sampling),
    (sampler, "if not (negative and magnitude == 0):", "if True:", sampling),
    (sampler, "return k % 2 == 1", "return k == 1", sampling),
    # Shape.
    (shape, "max(floor, value)", "value", check_shape),
    (moments, "value = limited(above.value / size, bounds)", "value = above.value / size", check_shape),
    (moments, "if square <= 0 or root < 0:", "if root < 0:", check_shape),
    (moments, "(below.value if positive else abs(below.value)) < 3 * below.error", "False", check_shape),
    (moments, "square = below.value**2 - below.reach**2", "square = below.value**2", check_shape),
    (shape, "value - reach", "value", check_shape),
    (gaussian, "reached += 2 * terms[q]", "reached += 3 * terms[q]", check_shape),
    (gaussian, "- 0.5)", "* 0.9)", check_shape),
]  # fmt: skip


# The mutants every run must kill; the others run with `-m slow` (make nightly).
EVERY_RUN = (0, 1, 3, 8, 16, 27, 28, 32, 44, 45, 51, 60, 68, 76, 78, 87, 94, 101)


def _cases() -> list:
    return [
        pytest.param(*mutant, id=f"{mutant[0].__name__.split('.')[-1]}-{index}",
                     marks=() if index in EVERY_RUN else pytest.mark.slow)
        for index, mutant in enumerate(MUTANTS)
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), _cases())
def test_the_mutant_is_caught(module, old, new, check):
    with mutated(module, old, new), pytest.raises((Exception, pytest.fail.Exception)):  # a crash catches one too
        check()


def test_the_list_is_long_enough():
    assert len(MUTANTS) >= 75


@pytest.mark.slow
def test_fuzzing_passes_without_a_mutant():
    fuzz()


@pytest.mark.parametrize("check", [check_analysis, check_lineage, check_price, check_deadline, check_shape])
@pytest.mark.parametrize("module", [analyse, price, layout, shape, rules, gaussian, precision])
def test_the_checks_pass_without_a_mutant(module, check):
    """The harness itself changes nothing: a mutant that is no mutant is not caught."""
    unchanged = "from __future__ import annotations"
    with mutated(module, unchanged, unchanged + "  # the same"):
        check()
