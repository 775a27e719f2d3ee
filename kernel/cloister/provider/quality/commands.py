"""``cloister quality``: the report of a table, on the provider's own machine."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from cloister.contract.card import Card
from cloister.errors import MalformedError, RefusedError
from cloister.provider import files, tables
from cloister.provider.quality import published
from cloister.provider.quality.measures import Measure, QualityReport
from cloister.provider.quality.page import page, percent
from cloister.provider.quality.report import measure
from cloister.provider.quality.rules import Rules, read_rules
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.text import spelt_out

out = Terminal(emoji=False)


def mount(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quality")(quality)


def quality(
    data: Annotated[Path, typer.Argument(help="CSV or Parquet.")],
    card: Annotated[
        Path | None, typer.Option("--card", help="The card to measure against; without it no validity.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="What else you know of the table (TOML, docs/provider.md).")
    ] = None,
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
    """Measure a table: completeness, validity, consistency, timeliness. Nothing leaves your machine.

    The report is for your eyes only: it is exact, so whatever of it you show to others is a disclosure outside the
    privacy guarantee. Values are shown only with --show-examples. By default nothing is published; --publish DIMENSION
    --published FILE writes the score of that dimension, rounded down to hundredths, and a digest of the whole report
    (keep it: --report), and `cloister seal --quality FILE` puts that into the capsule's manifest, where everybody can
    read it. Exit code 1 if a dimension is below its threshold.
    """
    if bool(publish) != (published_to is not None) or (publish and report is None):
        raise RefusedError(
            "quality.publish", "publishing takes --publish DIMENSION, --published FILE and --report FILE",
            next_step="the report stays with you: its digest is published, and only it can open the digest",
        )  # fmt: skip
    found = _measure(data, card, rules, at_least or [], _day(as_of), show_examples)
    chosen = published.of_report(found, publish) if publish else None
    if as_json:
        out.print(published.encode(found).decode(), markup=False, highlight=False, soft_wrap=True)
    else:
        _show(found)
    for path, text in ((html, page(found).encode() if html else b""), (report, published.encode(found))):
        if path is not None:
            files.write_private(path, text)
            _say(f"written: {path}", quiet=as_json)
    if chosen is not None and published_to is not None:
        published_to.write_bytes(canonical.encode(chosen))
        figures = ", ".join(f"{name} {share}" for name, share in chosen.figures.items())
        _say(f"written: {published_to}: whoever seals with it makes public: {figures}", quiet=as_json)
    if found.below:
        raise RefusedError(
            "quality.below",
            "below the threshold: " + ", ".join(f"{one.dimension} (at least {one.at_least})" for one in found.below),
            next_step="--show-examples shows what is wrong; correct the data, the card or the threshold",
        )


def _measure(
    data: Path, card: Path | None, rules: Path | None, at_least: list[str], as_of: datetime.date, show_examples: bool
) -> QualityReport:
    known = read_rules(rules) if rules else Rules()
    wanted = dict(known.at_least)
    for text in at_least:
        dimension, _, share = text.partition("=")
        wanted[dimension] = share
    beside = rules.parent if rules else Path()
    return measure(
        data, _card(card), msgspec.structs.replace(known, at_least=wanted), as_of=as_of, show_examples=show_examples,
        name=data.name, other=lambda name: tables.read(beside / name),
    )  # fmt: skip


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


def _card(path: Path | None) -> Card | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError("card.file", f"{path} is no card: {error}", next_step="cloister card suggest") from error


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text) if text else datetime.datetime.now(datetime.UTC).date()
    except ValueError as error:
        raise MalformedError("quality.as-of", f"{text!r} is no day", next_step="write 2026-01-31") from error


def _say(text: str, *, quiet: bool = False) -> None:
    if not quiet:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
