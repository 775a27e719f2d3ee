"""``cloister replay NOTEBOOK``: verify, run twice, compare, say where every number comes from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloister.confine.libc import LINUX
from cloister.replay import classify, compare, report, runner, session, source
from cloister.replay.report import CellLine, ReplayReport
from cloister.reviewer.verify import examine
from cloister.wire.text import spelt_out

if TYPE_CHECKING:
    from cloister.reviewer.trust import ReviewerTrust

_TONES = {"same": "green", "differs": "red", "not compared": "dim", "not run": "red"}
_LISTED = 8


def replay(
    path: Path,
    *,
    trust: ReviewerTrust,
    allow_simulated: bool,
    allow_unknown_origin: bool,
    timeout_s: float,
    progress: runner.Progress,
) -> ReplayReport:
    """Return what came of a replay. A notebook that does not verify is not run.

    Raises:
        CloisterError: It cannot be read, or there is no sandbox to run it in.
    """
    began = time.monotonic()
    notebook = source.read(path)
    examined = examine(
        notebook,
        trust=trust,
        now=datetime.now(UTC),
        allow_simulated=allow_simulated,
        allow_unknown_origin=allow_unknown_origin,
    )
    if examined.report.failed:
        return report.conclude(examined.report, (), time.monotonic() - began)
    if not LINUX:
        raise session.no_sandbox("this system has no sandbox for other people's code; replay runs on Linux")
    known = classify.known(examined)
    honest, moved = runner.start(path.resolve(), notebook, timeout_s=timeout_s, progress=progress)
    lines = []
    for cell, one, other in zip(examined.cells, honest, moved, strict=True):
        compared = compare.compare(cell, one.outputs, one.stopped)
        numbers = classify.classify(cell, one.outputs, other.outputs, known)
        lines.append(report.line(cell.place, cell.source, compared, numbers))
    return report.conclude(examined.report, tuple(lines), time.monotonic() - began)


def render(found: ReplayReport) -> RenderableType:
    """Return the report for a terminal. Whatever comes from the notebook is text, never markup."""
    head = Text(found.overall.upper(), "bold red" if found.exit_code == 2 else "bold")
    if not found.cells:
        return Group(head, Text(), Text(spelt_out(found.verification.to_text())))
    table = Table(box=None, pad_edge=False)
    for name in ("cell", "code", "outputs", "released", "derived", "constant", "figures"):
        table.add_column(name, no_wrap=True)
    for cell in found.cells:
        figures = ", ".join(figure.kind for figure in cell.figures)
        table.add_row(
            str(cell.cell), _text(cell.source[:20]), Text(cell.state, _TONES[cell.state]), _count(cell.released),
            _count(cell.derived), _count(len(cell.constant)), figures,
        )  # fmt: skip
    return Group(head, Text(), table, Text(), *_details(found), _summary(found))


def _details(found: ReplayReport) -> list[Text]:
    lines = []
    for cell in found.cells:
        if cell.reason and cell.state != "same":
            lines.append(_text(f"cell {cell.cell} {cell.state}: {cell.reason}"))
        lines += [_text(f"    {line}", "red" if line.startswith("-") else "green") for line in cell.diff]
        lines += _doubts(cell)
    return [*lines, Text()] if lines else []


def _doubts(cell: CellLine) -> list[Text]:
    lines = []
    if cell.unexplained:
        some = ", ".join(cell.unexplained[:_LISTED]) + (", ..." if len(cell.unexplained) > _LISTED else "")
        text = f"cell {cell.cell}: constant, whatever was released, and not of contract or cards: {some}"
        lines.append(_text(text, "yellow"))
    still = (figure for figure in cell.figures if figure.kind == "constant")
    return lines + [_text(f"cell {cell.cell}: a figure is constant: {figure.reason}", "yellow") for figure in still]


def _summary(found: ReplayReport) -> Text:
    counts = found.counts()
    return Text(
        f"{counts['same']} cells same, {counts['differs']} differ, {counts['not_compared']} not compared, "
        f"{counts['not_run']} not run\n"
        f"Numbers: {counts['released']} released (a receipt accounts for them), {counts['derived']} derived (moved "
        f"with them), {counts['constant']} constant, of these {counts['unexplained']} unexplained\n"
        f"Verification: {found.verification.overall}"
        + (f"; reservations: {', '.join(found.reservations)}" if found.reservations else "")
        + f"\n{found.seconds:.1f} s, from receipts: no enclave, no data, nothing charged"
    )


def _count(number: int) -> str:
    return str(number) if number else ""


def _text(value: str, style: str = "") -> Text:
    return Text(spelt_out(value), style)
