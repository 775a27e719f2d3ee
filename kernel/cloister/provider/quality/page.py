"""A quality report as one HTML page: no script, nothing loaded from anywhere, every text of the data's escaped."""

from __future__ import annotations

from html import escape

from cloister.contract.lineage import DIMENSIONS
from cloister.provider.quality import plots
from cloister.provider.quality.measures import Measure, QualityReport, Score

# Nothing may be fetched and nothing run, whatever a column is called.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .private { background: #fff4d6; border-left: 4px solid #b77900; padding: .5rem .8rem; }
.scores { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8rem; margin: 1rem 0; }
.score { border: 1px solid #c9d1d9; border-radius: 6px; padding: .7rem; }
.score b { font-size: 1.5rem; } .score .grade { float: right; font-size: 1.5rem; color: #57606a; }
.score.below { border-color: #b42318; } .small { color: #57606a; font-size: .85rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e3e7eb; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } svg { max-width: 100%; height: auto; }
tr.bad td { color: #b42318; } .legend span { margin-right: 1rem; }
.swatch { display: inline-block; width: .8em; height: .8em; }
@media (max-width: 40rem) { .scores { grid-template-columns: 1fr 1fr; } }
"""


def page(report: QualityReport) -> str:
    """Return the page."""
    title = f"Data quality of {escape(report.table or 'a table')}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p class="small">{report.rows:,} rows, {report.columns} columns, as of {escape(report.as_of)}</p>
<p class="private">For the data provider only. The figures are exact: no privacy guarantee covers them.</p>
<div class="scores">{"".join(map(_score, report.scores))}</div>
<p class="small">The score of a dimension is that of its worst measure: an average would hide a bad column.</p>
{_cells(report)}{_months(report)}{_units(report)}
<h2>All measures</h2>{"".join(_table(report, dimension) for dimension in DIMENSIONS)}
</body></html>
"""


def _score(score: Score) -> str:
    if score.worst is None:
        body = "<b>&ndash;</b><br><span class='small'>not measured</span>"
    else:
        worst = score.worst
        body = (
            f"<span class='grade' title='grade'>{score.grade}</span><b>{percent(worst)}</b>{plots.bar(worst.ratio)}"
            f"<span class='small'>{worst.good:,} of {worst.total:,}<br>"
            f"{escape(worst.subject)}: {escape(worst.name)}</span>"
        )
    asked = f"<br><span class='small'>asked: at least {escape(score.at_least)}</span>" if score.at_least else ""
    failed = " <strong>below</strong>" if score.below else ""
    style = "score below" if score.below else "score"
    return f"<div class='{style}'>{score.dimension.capitalize()}{failed}<br>{body}{asked}</div>"


def percent(measure: Measure) -> str:
    """Return the ratio of a measure in per cent, rounded down: 100 % means all of them."""
    tenths = measure.good * 1000 // measure.total if measure.total else 1000
    return f"{tenths // 10}.{tenths % 10} %"


def _cells(report: QualityReport) -> str:
    legend = "".join(
        f"<span><i class='swatch' style='background:{colour}'></i> {name}</span>"
        for name, colour in plots.KINDS.items()
    )
    picture = plots.stacked(report.plots.cells)
    return f"<h2>What the columns hold</h2><p class='small legend'>{legend}</p>{picture}" if picture else ""


def _months(report: QualityReport) -> str:
    pictures = [
        f"<p>{escape(name)}: rows by {'month' if '-' in next(iter(counts)) else 'year'}</p>{plots.columns(counts)}"
        for name, counts in report.plots.months.items()
        if counts
    ]
    return "<h2>When</h2>" + "".join(pictures) if pictures else ""


def _units(report: QualityReport) -> str:
    counts = report.plots.rows_per_unit
    if not counts:
        return ""
    shown = {(f"{number}" if number < 20 else "20+"): counts.get(number, 0) for number in range(1, max(counts) + 1)}
    return f"<h2>Rows per unit</h2><p class='small'>Units by their number of rows</p>{plots.columns(shown)}"


def _table(report: QualityReport, dimension: str) -> str:
    rows = "".join(_row(measure) for measure in report.measures if measure.dimension == dimension)
    head = "<tr><th>what<th>measure<th>good<th>of<th>share<th></tr>"
    return f"<table><caption>{dimension.capitalize()}</caption>{head}{rows}</table>" if rows else ""


def _row(measure: Measure) -> str:
    said = "; ".join(
        (*([measure.note] if measure.note else []), *([] if measure.scored else ["not scored"]),
         *([] if not measure.examples else ["for example " + ", ".join(repr(text) for text in measure.examples)]))
    )  # fmt: skip
    bad = " class='bad'" if measure.scored and measure.good < measure.total else ""
    return (
        f"<tr{bad}><td>{escape(measure.subject)}<td>{escape(measure.name)}<td class='number'>{measure.good:,}"
        f"<td class='number'>{measure.total:,}<td class='number'>{percent(measure)}"
        f"<td class='small'>{escape(said)}</tr>"
    )
