"""The operators: each is total. Null stays null, and what is none of the operator's kind becomes null, never an error.

What an operator returns has the type the card declares for the column *after* it (``check`` refuses other cards), so
that nothing is changed again when the table is brought into the card's types.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pyarrow as pa

from cloister.contract.card import OTHER, Column
from cloister.contract.findings import exact
from cloister.provider.deidentify import recipe as steps
from cloister.provider.deidentify.pseudonyms import pseudonym
from cloister.provider.engine import Rows, literal
from cloister.provider.hashed_keys import Salt

FILL_SIGNS = 4


def apply(step: steps.Step, rows: Rows, column: Column, *, normaliser: str, secret: Salt | None,
          levels: dict[str, dict[str, tuple[str, ...]]]) -> pa.Array:  # fmt: skip
    """Return a column's values after a step that ``check`` found nothing against."""
    match step:
        case steps.Mask():
            return rows.column(_mask(step, rows.text(column.name)))
        case steps.Pseudonymise():
            if secret is None:
                raise AssertionError("checked before")
            return _by_value(
                rows, column.name,
                lambda text: pseudonym(text, secret, domain=step.domain, normaliser=normaliser),
            )  # fmt: skip
        case steps.Generalise(hierarchy=str(name)):
            classes = levels[name]
            return _by_value(rows, column.name, lambda text: _class_of(text, classes, step.level))
        case steps.Generalise():
            return rows.column(_generalise(step, rows, column))
        case steps.Round():
            return rows.column(_round(exact_of(step.to), rows, column))
        case steps.TopBottomCode():
            return rows.column(_code(step, rows, column))
    raise AssertionError("dropped columns are not computed")


def exact_of(text: str) -> Fraction:
    """Return a checked exact number."""
    value = exact(text)
    if value is None:
        raise AssertionError("checked before")
    return value


def label(low: Fraction | None, high: Fraction | None) -> str:
    """Return a bin's name: ``[30,40)``, ``<18`` or ``>=65``."""
    if low is None:
        return f"<{_shown(high)}"
    return f">={_shown(low)}" if high is None else f"[{_shown(low)},{_shown(high)})"


def _shown(value: Fraction | None) -> str:
    return "" if value is None else str(value) if value.denominator == 1 else f"{float(value):.12g}"


def _by_value(rows: Rows, name: str, function: Callable[[str | None], str | None]) -> pa.Array:
    encoded = rows.column(rows.text(name)).cast(pa.string()).dictionary_encode()
    replaced = pa.array([function(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return replaced.take(encoded.indices)


def _class_of(text: str | None, classes: dict[str, tuple[str, ...]], level: int) -> str | None:
    if text is None:
        return None
    found = classes.get(text)
    return OTHER if found is None else found[level - 1]


def _mask(step: steps.Mask, text: str) -> str:
    start, end = step.keep_start, step.keep_end
    fill = literal(step.fill * FILL_SIGNS)
    kept = f"concat(left({text}, {start}), {fill}, {f'right({text}, {end})' if end else literal('')})"
    return f"CASE WHEN ({text}) IS NULL THEN NULL WHEN length({text}) <= {start + end} THEN {fill} ELSE {kept} END"


def _number(rows: Rows, name: str) -> str:
    """SQL of a column as a finite double."""
    value = f"TRY_CAST({rows.ref(name)} AS DOUBLE)"
    if not _castable(rows.types[name]):
        value = f"TRY_CAST(CAST({rows.ref(name)} AS VARCHAR) AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def _whole(rows: Rows, name: str) -> str:
    """SQL of a column as a 128-bit integer within 62 bits: what is computed from it does not overflow."""
    value = f"TRY_CAST({rows.ref(name)} AS HUGEINT)"
    if not pa.types.is_integer(rows.types[name]):
        number = _number(rows, name)
        # A text or float that is a whole number too large for a double's 53 bits was none to begin with.
        value = f"TRY_CAST(round_even({number}, 0) AS HUGEINT)"
    return f"CASE WHEN {value} BETWEEN -{2**62} AND {2**62} THEN {value} END"


def _castable(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )  # fmt: skip


def _generalise(step: steps.Generalise, rows: Rows, column: Column) -> str:
    if step.prefix is not None:
        return f"left({rows.text(column.name)}, {step.prefix})"
    if step.date is not None:
        return _date(step.date, rows.day(column.name), column)
    if step.edges is not None:
        return _edges([exact_of(edge) for edge in step.edges], rows, column)
    return _width(exact_of(step.width or ""), rows, column)


def _date(unit: str, day: str, column: Column) -> str:
    if column.type == "date":
        return f"CAST(date_trunc('{unit}', {day}) AS DATE)"
    if column.type == "int":
        return f"CAST(year({day}) AS BIGINT)"
    year = f"lpad(CAST(year({day}) AS VARCHAR), 4, '0')"
    if unit == "year":
        return f"CASE WHEN {day} IS NOT NULL THEN {year} END"
    part = f"lpad(CAST(month({day}) AS VARCHAR), 2, '0')"
    part = part if unit == "month" else f"'Q' || CAST(quarter({day}) AS VARCHAR)"
    return f"CASE WHEN {day} IS NOT NULL THEN {year} || '-' || {part} END"


def _edges(edges: list[Fraction], rows: Rows, column: Column) -> str:
    value = _number(rows, column.name)
    bounds: list[tuple[Fraction | None, Fraction | None]] = list(zip([None, *edges], [*edges, None], strict=True))
    cases = [
        f"WHEN {value} < {float(high)!r} THEN {literal(label(low, high))}" for low, high in bounds if high is not None
    ]
    last = literal(label(*bounds[-1]))
    return f"CASE WHEN ({value}) IS NULL THEN NULL {' '.join(cases)} ELSE {last} END"


def _width(width: Fraction, rows: Rows, column: Column) -> str:
    if column.type == "int":
        value = _whole(rows, column.name)
        return f"TRY_CAST({_floor(value, width.numerator)} AS BIGINT)"
    low = _multiple("floor", _number(rows, column.name), width)
    if column.type == "decimal":
        return low
    if width.denominator == 1:
        value = f"TRY_CAST(floor({_number(rows, column.name)}) AS HUGEINT)"
        value = f"CASE WHEN {value} BETWEEN -{2**62} AND {2**62} THEN {value} END"
        first, last = _floor(value, width.numerator), f"{_floor(value, width.numerator)} + {width.numerator}"
        return f"'[' || CAST({first} AS VARCHAR) || ',' || CAST({last} AS VARCHAR) || ')'"
    # The ends of a bin of fractional width, each a multiple of the width, written as ``label`` writes them.
    high = _multiple("1 + floor", _number(rows, column.name), width)
    return f"'[' || printf('%.12g', {low}) || ',' || printf('%.12g', {high}) || ')'"


def _floor(value: str, width: int) -> str:
    """SQL of the multiple of ``width`` at or below a whole number (``%`` has the sign of the number)."""
    return f"(({value}) - ((({value}) % {width}) + {width}) % {width})"


def _multiple(how: str, value: str, width: Fraction) -> str:
    # Numerator and denominator apart: 0.1 is no double, 1/10 is as exact as doubles go.
    near = f"({how}(({value}) * {width.denominator} / {width.numerator})) * {width.numerator} / {width.denominator}"
    return f"CASE WHEN isfinite({near}) THEN {near} END"


def _round(to: Fraction, rows: Rows, column: Column) -> str:
    if column.type == "decimal":
        return _multiple("round", _number(rows, column.name), to)
    value, step = _whole(rows, column.name), to.numerator
    size = f"((2 * abs({value}) + {step}) // {2 * step}) * {step}"
    return f"TRY_CAST(CASE WHEN ({value}) < 0 THEN -({size}) ELSE {size} END AS BIGINT)"


def _code(step: steps.TopBottomCode, rows: Rows, column: Column) -> str:
    if column.type == "date":
        value, low, high = (
            rows.day(column.name),
            *(None if text is None else f"DATE {literal(text)}" for text in (step.low, step.high)),
        )
    elif column.type == "int":
        value, low, high = (
            _whole(rows, column.name),
            *(
                None if text is None else f"CAST({exact_of(text).numerator} AS HUGEINT)"
                for text in (step.low, step.high)
            ),
        )
    else:
        value, low, high = (
            _number(rows, column.name),
            *(None if text is None else f"CAST({float(exact_of(text))!r} AS DOUBLE)" for text in (step.low, step.high)),
        )
    cases = [f"WHEN ({value}) < {low} THEN {low}"] if low is not None else []
    cases += [f"WHEN ({value}) > {high} THEN {high}"] if high is not None else []
    sql = f"CASE {' '.join(cases)} ELSE {value} END"
    return f"TRY_CAST({sql} AS BIGINT)" if column.type == "int" else sql
