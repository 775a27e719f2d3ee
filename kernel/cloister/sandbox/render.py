"""How handles, releases and prices are shown: one function per thing and medium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from cloister.contract.card import Column as CardColumn
from cloister.plan import algebra as a
from cloister.plan.typing import NO_UNIT, chain
from cloister.sandbox import dtypes, html, literals
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

if TYPE_CHECKING:
    from cloister.sandbox.column import Column
    from cloister.sandbox.cost import Cost
    from cloister.sandbox.gram import Gram
    from cloister.sandbox.precision import Charged
    from cloister.sandbox.release import Release

_SHOWN_LABELS = 8
_SHOWN_ROWS = 30
_NOISE = "privacy noise"
_COST_WORDS = {
    "mock": "\nmock kernel: the price is what a confidential kernel would charge",
    "teaching": "\nlesson: the price is what a confidential kernel would charge; no privacy here",
}
_WHERE_ROWS_ARE = {"mock": "mock rows, invented from the card", "teaching": "a lesson: invented rows, no enclave"}


def number(value: Any, error: Any = None) -> str:
    """Return a number with the digits its error leaves meaningful."""
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        return "n/a"
    if isinstance(value, bool):
        return str(value)
    if error is not None and error > 0:
        digits = max(0, -_magnitude(error) + 1)
        return f"{float(value):,.{min(digits, 10)}f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def percent(share: float) -> str:
    """Return a share of the budget in per cent."""
    return f"{100 * share:.3g} %"


def number_text(release: Release) -> str:
    """Return a released number with its error, on one line."""
    mark = {"mock": "  [mock]", "teaching": f"  [{release.assurance}]"}.get(release.mode, "")
    return f"{number(release.value, release.stderr)} ± {number(release.stderr, release.stderr)} ({_NOISE}){mark}"


def release_text(release: Release) -> str:
    """Return a release as lines of text."""
    if isinstance(release.value, pd.Series | pd.DataFrame):
        body = _lines(release.table().head(_SHOWN_ROWS))
        if release.value.size > _SHOWN_ROWS:
            body += f"\n... {release.value.size - _SHOWN_ROWS} more"
    else:
        low, high = release.interval()
        ends = f"[{number(low, release.stderr)}, {number(high, release.stderr)}]"
        body = f"{number_text(release)}, 95 % interval {ends}" + (", unreliable" if release.unreliable else "")
    return "\n".join([body, *facts(release)])


def release_html(release: Release) -> str:
    """Return a release as HTML."""
    notes = [html.note(line) for line in facts(release)]
    mark = html.mark(release.mode, release.assurance)
    if not isinstance(release.value, pd.Series | pd.DataFrame):
        low, high = (number(end, release.stderr) for end in release.interval())
        line = html.paragraph(
            html.strong(f"{number(release.value, release.stderr)} ± {number(release.stderr, release.stderr)}"),
            html.text(f"({_NOISE}), 95 % interval [{low}, {high}]"),
            html.badge("unreliable", "#a3243b") if release.unreliable else "",
            mark,
        )
        return html.block(line, *notes)
    shown = release.table()
    rows = [
        [
            html.text(" / ".join(map(str, label)) if isinstance(label, tuple) else label),
            html.strong(number(row.value, row.stderr)),
            html.text(f"± {number(row.stderr, row.stderr)}"),
            html.text(f"[{number(row.low, row.stderr)}, {number(row.high, row.stderr)}]"),
            html.badge("unreliable", "#a3243b") if row.unreliable else "",
        ]
        for label, row in zip(shown.index[:_SHOWN_ROWS], shown.head(_SHOWN_ROWS).itertuples(), strict=True)
    ]
    if len(shown) > _SHOWN_ROWS:
        notes.insert(0, html.note(f"{len(shown) - _SHOWN_ROWS} more values"))
    return html.block(mark, html.table(["", "value", _NOISE, "95 % interval", ""], rows), *notes)


def cost_text(cost: Cost) -> str:
    """Return a price as text."""
    errors = ", ".join(
        f"{name} (a quantile: noise in its rank)" if error != error else f"{name} ± {error:.3g}"  # noqa: PLR0124 (NaN)
        for name, error in cost.errors.items()
    )
    assumed = f" (means: at most, at {cost.n:,.0f} rows per cell)" if cost.n is not None else ""
    cells = f" in each of {cost.cells:,} cells" if cost.cells > 1 else ""
    if cost.threshold:
        least = f"{cost.threshold + 1:,}"
        cells = f"; values that fewer than about {least} units have are left out (delta {float(cost.delta):.2g})"
    mock = _COST_WORDS.get(cost.mode, "")
    doubts = "".join(f"\nTOO LITTLE: {doubt}" for doubt in cost.doubts)
    return (
        f"epsilon {cost.epsilon:.3g} = {percent(cost.share)} of your total (rho {float(cost.rho):.3g}); not spent yet"
        f"{each_account(cost.accounts)}"
        f"\nexpected standard error: {errors}{assumed}{cells}"
        f"{doubts}"
        f"\nalso uses {cost.uses}{mock}"
    )


def each_account(accounts: Sequence[Charged]) -> str:
    """Return what each of several accounts pays, as a line of its own; nothing for one."""
    if len(accounts) < 2:
        return ""
    each = "; ".join(f"{one.population} epsilon {one.epsilon:.3g} = {percent(one.share)}" for one in accounts)
    return f"\nfrom each account: {each}"


def cost_html(cost: Cost) -> str:
    """Return a price as HTML."""
    first, *rest = cost_text(cost).splitlines()
    return html.block(html.paragraph(html.strong(first)), html.bar(cost.share), *map(html.note, rest))


def column_text(column: Column) -> str:
    """Return a column as text: what it is, never what it holds."""
    term, rows = column._term, column._rows
    mock = ", mock" if rows.session.mock else ""
    return f"<column {column.name or '(unnamed)'}: {values_text(term)}; rows of {rows_text(rows)}{mock}>"


def frame_text(rows: Rows, columns: Mapping[str, Term]) -> str:
    """Return a table handle as text."""
    width = max((len(name) for name in columns), default=0)
    kind = _WHERE_ROWS_ARE.get(rows.session.about.mode, "rows stay in the enclave")
    lines = [f"{rows_text(rows)}: {rows.card.title} ({kind})"]
    lines += [f"  {name:<{width}}  {dtypes.of(term)!s:<14}  {values_text(term)}" for name, term in columns.items()]
    return "\n".join([*lines, f"  {_influence(rows)}"])


def frame_html(rows: Rows, columns: Mapping[str, Term]) -> str:
    """Return a table handle as HTML."""
    card = rows.card
    lines = []
    for name, term in columns.items():
        declared = _declared(rows, term)
        lines.append(
            [
                html.strong(name),
                html.text(dtypes.of(term)),
                html.text(values_text(term)),
                html.tier(declared.tier) if declared else html.text("derived"),
                html.text(declared.description if declared else ""),
            ]
        )
    mark = html.mark(rows.session.about.mode, rows.session.about.assurance)
    head = html.paragraph(html.strong(rows_text(rows)), html.text(card.title), mark)
    foot = f"rows never leave; {_influence(rows)}; .mock(5) shows invented ones"
    return html.block(head, html.table(["column", "dtype", "values", "tier", ""], lines), html.note(foot))


def gram_text(gram: Gram) -> str:
    """Return a Gram as text."""
    mock = {"mock": " [mock]", "teaching": f" [{gram.fact.assurance}]"}.get(gram.fact.mode, "")
    return (
        f"noisy Gram of {', '.join(gram.scales.index)}{mock}: every entry ± {gram.stderr:.3g} ({_NOISE}), n about "
        f"{number(gram.n, gram.stderr)}\nepsilon {gram.fact.epsilon:.3g}; "
        ".mean() .cov() .corr() .std() .ridge(target) are free"
    )


def rows_text(rows: Rows) -> str:
    """Return which rows a handle stands for, in words."""
    nodes = chain(rows.relation)
    filters = sum(isinstance(node, a.Filter) for node in nodes)
    parts = [rows.card.name]
    if rows.caption:
        parts.append(rows.caption)
    if filters:
        parts.append(f"{filters} filter{'s' if filters > 1 else ''}")
    if any(isinstance(node, a.Cap) for node in nodes):
        parts.append("capped")
    if any(isinstance(node, a.Split) for node in nodes):
        parts.append("a part of the units")
    return ", ".join(parts)


def _influence(rows: Rows) -> str:
    """Return how much one unit can contribute, in words."""
    if rows.card.unit == NO_UNIT:
        return f"a reference table: other tables look it up by {', '.join(rows.key)}"
    most = rows.schema.rows
    return f"one {rows.card.unit} has at most {most:,} row{'s' if most > 1 else ''}"


def _declared(rows: Rows, term: Term) -> CardColumn | None:
    """Return the card's column that a term shows as it is stored, if it does."""
    if not isinstance(term.scalar, a.Col) or len(term.grid.uses) != 1:
        return None
    ((table, name),) = term.grid.uses
    return rows.session.about.cards[table].column(name) if term.scalar.name.startswith(name) else None


def values_text(term: Term) -> str:
    """Return the public range or domain of a column."""
    grid = term.grid
    missing = ", may be missing" if grid.nullable else ""
    match grid.kind:
        case "category":
            domain = term.domain
            shown = ", ".join(domain[:_SHOWN_LABELS]) + (", ..." if len(domain) > _SHOWN_LABELS else "")
            return f"{len(domain)} values: {shown}{missing}"
        case "number" | "date":
            low, high = literals.grid_text(grid, grid.lo), literals.grid_text(grid, grid.hi)
            step = f" in steps of {literals.text_of(grid.step)}" if grid.kind == "number" else ""
            return f"{low} .. {high}{step}{missing}"
        case "bool":
            return f"True or False{missing}"
        case _:
            return "unit key or free text: for counting and aligning only"


def _lines(table: pd.DataFrame) -> str:
    """Return the rows of ``release.table()`` with the digits their errors leave meaningful."""
    parts: list[Any] = list(table.itertuples())
    shown = {
        "value": [number(row.value, row.stderr) for row in parts],
        "±": [number(row.stderr, row.stderr) for row in parts],
        "95 % interval": [f"[{number(row.low, row.stderr)}, {number(row.high, row.stderr)}]" for row in parts],
        "": ["unreliable" if row.unreliable else "" for row in parts],
    }
    return pd.DataFrame(shown, table.index).to_string()


def facts(release: Release) -> list[str]:
    """Return price, receipt and enclave of a release in words."""
    price = f"epsilon {release.epsilon:.2g} = {percent(release.share)} of your total"
    if release.mode == "mock":
        lines = [f"MOCK: invented values, nothing charged, no receipt; a confidential kernel would charge {price}"]
    elif release.mode == "teaching":
        lines = [f"LESSON, {release.assurance}: invented people, no receipt; with real noise it would cost {price}"]
    else:
        paid = "recalled: the same answer as before, no charge" if release.recalled else "charged"
        receipt = "signed receipt" if release.receipt else "no receipt"
        lines = [f"{price} ({paid}); {receipt}; enclave: {release.assurance}"]
    lines += each_account(release.fact.accounts).splitlines()[1:]
    if release.derived:
        lines.append(release.derived)
    return [*lines, *release.notes]


def _magnitude(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])
