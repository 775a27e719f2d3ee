"""``cloister quality``: the reports of tables, on the provider's own machine."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
import typer
from rich.table import Table
from rich.text import Text

from cloister.contract.card import Card
from cloister.contract.findings import twice
from cloister.errors import MalformedError, RefusedError
from cloister.provider import files, per_table, readers, tables
from cloister.provider.commands import read_card
from cloister.provider.deidentify import commands as deidentify_commands
from cloister.provider.deidentify import run as deidentify
from cloister.provider.deidentify import together
from cloister.provider.quality import published
from cloister.provider.quality.measures import Measure, QualityReport
from cloister.provider.quality.page import page, percent
from cloister.provider.quality.report import measure
from cloister.provider.quality.rules import Rules, read_rules
from cloister.provider.seal_commands import others
from cloister.terminal import Terminal
from cloister.wire.text import spelt_out

out = Terminal(emoji=False)


def mount(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quality")(quality)


class _Table(NamedTuple):
    """A table to measure: its name, its card if it has one, and its rows, as a recipe made them if there is one."""

    name: str
    card: Card | None
    rows: pa.Table


def quality(
    data: Annotated[str, typer.Argument(help="CSV or Parquet, or a database (as for `cloister seal`).")],
    card: Annotated[
        Path | None, typer.Option("--card", help="The card to measure against; without it no validity.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="CARD=DATA: another table of the same capsule; units are looked up across them."),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rules", help="What else you know of a table (TOML); of several tables: TABLE=FILE, each."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="Measure what this recipe makes of the data, which is what `seal` seals."),
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="The secret file of the recipes' pseudonyms, or TABLE=FILE.")
    ] = None,
    table: Annotated[str, typer.Option(help="The table of a database to read.")] = "",
    query: Annotated[str, typer.Option(help="A SELECT to read from a database, instead of a table.")] = "",
    at_least: Annotated[
        list[str] | None, typer.Option("--at-least", help="A threshold, such as validity=0.98; exit code 1 below it.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with plots (mode 0600).")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the report as JSON (mode 0600).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of tables.")] = False,
    show_examples: Annotated[
        bool, typer.Option("--show-examples", help="Also show values that are not as they should be.")
    ] = False,
    as_of: Annotated[str, typer.Option("--as-of", help="The day ages are counted from; default: today.")] = "",
    publish: Annotated[
        list[str] | None,
        typer.Option("--publish", help="A dimension whose score may become public. A disclosure: see above."),
    ] = None,
    published_to: Annotated[
        Path | None,
        typer.Option("--published", help="Where to write what is published, for `cloister seal --quality`."),
    ] = None,
) -> None:
    """Measure tables: completeness, validity, consistency, timeliness. Nothing leaves your machine.

    The report is for your eyes only: it is exact, so whatever of it you show to others is a disclosure outside the
    privacy guarantee. Values are shown only with --show-examples. By default nothing is published; --publish DIMENSION
    --published FILE writes the score of that dimension, rounded down to hundredths, and a digest of the whole report
    (keep it: --report), bound to the card and the data it was measured on; `cloister seal --quality FILE` checks that
    and puts score and digest into the capsule's manifest, where everybody can read them. With several tables every file
    but that one is written per table: quality.json becomes quality.TABLE.json. Exit code 1 if a dimension is below its
    threshold.
    """
    if bool(publish) != (published_to is not None) or (publish and (report is None or card is None)):
        raise RefusedError(
            "quality.publish", "publishing takes --publish DIMENSION, --published FILE, --report FILE and --card CARD",
            next_step="the report stays with you: its digest is published, and only it can open the digest",
        )  # fmt: skip
    held = _tables(data, card, also, recipe or (), secret or (), readers.source(data, table, query))
    found = _measure(held, rules or (), at_least or [], _day(as_of), show_examples)
    chosen = [
        published.measured(published.of_report(one, publish), its.card, its.rows)
        for one, its in zip(found, held, strict=True)
        if publish and its.card is not None
    ]
    if as_json:
        texts = [published.encode(one).decode() for one in found]
        printed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        out.print(printed, markup=False, highlight=False, soft_wrap=True)
    for one, its in zip(found, held, strict=True):
        if not as_json:
            _show(one)
        for path, text in ((html, page(one).encode() if html else b""), (report, published.encode(one))):
            if path is not None:
                own = path if len(held) == 1 else path.with_suffix(f".{its.name}{path.suffix}")
                files.write_private(own, text)
                _say(f"written: {own}", quiet=as_json)
    if published_to is not None:
        published.write(published_to, chosen)
        said = "; ".join(f"{one.table}: {', '.join(map(' '.join, one.quality.figures.items()))}" for one in chosen)
        _say(f"written: {published_to}: whoever seals with it makes public: {said}", quiet=as_json)
    if below := [(one.table, score) for one in found for score in one.below]:
        raise RefusedError(
            "quality.below",
            "below the threshold: "
            + ", ".join(f"{table} {score.dimension} (at least {score.at_least})" for table, score in below),
            next_step="--show-examples shows what is wrong; correct the data, the card or the threshold",
        )


def _tables(
    data: str, card: Path | None, also: Sequence[str] | None, recipe: Sequence[str], secret: Sequence[str], source: Any
) -> list[_Table]:
    """Read the tables, and let recipes make of them what would be sealed."""
    first = None if card is None else read_card(card)
    if first is None and (also or recipe):
        raise RefusedError("quality.card", "several tables, or a recipe, need cards", next_step="--card CARD")
    known = [(first, source), *others(also)]
    names = [readers.label(data) if one is None else one.name for one, _ in known]
    if same := twice(names):
        raise RefusedError("seal.table", f"two tables are called {same[0]}", next_step="name each card once")
    recipes = deidentify_commands.load_all(per_table.files("--recipe", recipe, names), secret, names)
    together.check_all([one for one, _ in known if one is not None], recipes)
    held = []
    for name, (one, where) in zip(names, known, strict=True):
        rows = tables.read(where, one)
        if one is not None and name in recipes:
            rows = deidentify.run(one, rows, recipes[name]).table
        held.append(_Table(Path(name).name if one is None else name, one, rows))
    return held


def _measure(
    held: Sequence[_Table], rules: Sequence[str], at_least: list[str], as_of: datetime.date, show_examples: bool
) -> list[QualityReport]:
    named = per_table.files("--rules", rules, [one.name for one in held])
    wanted = dict(text.partition("=")[::2] for text in at_least)
    found = []
    for one in held:
        path = named.get(one.name)
        known = read_rules(path) if path else Rules()
        asked = msgspec.structs.replace(known, at_least={**known.at_least, **wanted})
        folder = path.parent if path else Path()
        found.append(
            measure(
                one.rows, one.card, asked, as_of=as_of, show_examples=show_examples, name=one.name,
                other=lambda name, folder=folder: tables.read(folder / name),  # type: ignore[misc]
                beside=[(its.card, its.rows) for its in held if its is not one and its.card is not None],
            )
        )  # fmt: skip
    return found


def _show(report: QualityReport) -> None:
    _say(f"{report.table}: {report.rows:,} rows, {report.columns} columns, as of {report.as_of} (for your eyes only)")
    table = Table("dimension", "score", "grade", "worst measure", "asked", box=None)
    for score in report.scores:
        worst = score.worst
        named = "not measured" if worst is None else f"{spelt_out(worst.subject)}: {worst.name}"
        shown = "" if worst is None else f"{percent(worst)}  {worst.good:,}/{worst.total:,}"
        style = "red" if score.below else ""
        table.add_row(score.dimension, shown, score.grade, Text(named), score.at_least, style=style)
    out.print(table)
    wrong = [one for one in report.measures if one.good < one.total or one.note]
    if wrong:
        out.print(_measures(wrong))
    _say(f"{len(report.measures) - len(wrong)} other measures are whole")


def _measures(measures: list[Measure]) -> Table:
    table = Table("what", "measure", "good", "of", "share", "", box=None)
    for one in measures:
        said = [one.note] if one.note else []
        said += [] if one.scored or one.note else ["not scored"]
        said += [f"for example {', '.join(map(repr, one.examples))}"] if one.examples else []
        style = "red" if one.scored and one.good < one.total else ""
        cells = (Text(spelt_out(one.subject)), one.name, f"{one.good:,}", f"{one.total:,}", percent(one))
        table.add_row(*cells, Text(spelt_out("; ".join(said))), style=style)
    return table


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text) if text else datetime.datetime.now(datetime.UTC).date()
    except ValueError as error:
        raise MalformedError("quality.as-of", f"{text!r} is no day", next_step="write 2026-01-31") from error


def _say(text: str, *, quiet: bool = False) -> None:
    if not quiet:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
