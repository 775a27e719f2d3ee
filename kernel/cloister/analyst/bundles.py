"""Small two-column cards in text and static HTML: what ``%cloister`` commands show.

No script, no style sheet, every text escaped: the same bytes are safe in Lab, Notebook 7, VS Code and on a
static page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from cloister.receipt.facts import ReleaseFacts

_NO_RECEIPTS = {"receipts": "none yet: nothing was released in this session"}
_UNKNOWN_BUDGET = "unknown: no budget was reported in this session; run cl.budget() in a cell"


def table(title: str, rows: Mapping[str, str]) -> dict[str, str]:
    """Return a titled two-column card as a MIME bundle."""
    width = max(map(len, rows), default=0)
    text = "\n".join([title, *(f"  {key:<{width}}  {value}" for key, value in rows.items())])
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(key)}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for key, value in rows.items()
    )
    return {"text/plain": text, "text/html": f"<table><caption>{html.escape(title)}</caption>{cells}</table>"}


def status(info: Mapping[str, Any]) -> dict[str, str]:
    """Return the card of ``%cloister status`` from the proxy's own block about the enclave."""
    rows = {"enclave": str(info["word"]), "state": str(info["state"]), "mode": str(info["mode"])}
    verdict = info.get("verdict") or {}
    for key in ("assurance", "status", "time"):
        if verdict.get(key):
            rows[key] = str(verdict[key])
    if isolation := verdict.get("isolation"):
        rows["isolation"] = _isolation(isolation)
    for number, reason in enumerate(verdict.get("reasons", ()), 1):
        rows[f"reason {number}"] = str(reason)
    if error := info.get("error"):
        rows["error"] = f"[{error['code']}] {error['reason']}"
        if error["next_step"]:
            rows["next step"] = error["next_step"]
    rows["entry"] = str(info["entry"])
    return table("Cloister: verified on this machine", rows)


def receipts(releases: Sequence[ReleaseFacts]) -> dict[str, str]:
    """Return the card of ``%cloister verify``: one line per receipt whose whole chain this machine checked."""
    rows = {
        f"{number}. {item.receipt.removeprefix('sha256:')[:12]}": (
            f"verified: {item.question}; {'recalled' if item.recalled else f'charged at {item.time}'}"
        )
        for number, item in enumerate(releases, 1)
    }
    simulated = any(item.assurance == "simulated" for item in releases)
    rows["signatures"] = "contract by all parties, admission by the broker, receipts by the vault this machine attested"
    rows["enclave"] = "Simulated: its owner could have signed anything" if simulated else "genuine hardware"
    rows["for others"] = "`cloister verify NOTEBOOK` checks the saved notebook, offline"
    return table(f"Cloister: {len(releases)} receipts verified on this machine", rows if releases else _NO_RECEIPTS)


def budget(known: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the card of ``%cloister budget`` from the last budget the enclave reported (rho as fractions)."""
    if known is None:
        return table("Cloister budget", {"budget": _UNKNOWN_BUDGET})
    rows: dict[str, str] = {}
    for limit in known.get("limits", ()):
        name = " ".join(str(limit[key]) for key in ("name", "population") if limit.get(key))
        if "not_after" in limit:
            rows[name] = str(limit["not_after"])
            continue
        unit = "rho" if "analyst_limit" in limit else ""
        rows[name] = _used(limit.get("spent"), limit.get("limit"), unit)
        if "analyst_limit" in limit and limit["analyst_limit"] != limit.get("limit"):
            rows[f"{name}, your part"] = _used(limit.get("analyst_spent"), limit["analyst_limit"], unit)
    rows["as of"] = str(known.get("time", "unknown"))
    return table("Cloister budget", rows)


def _used(spent: Any, limit: Any, unit: str) -> str:
    try:
        part, whole = Fraction(str(spent)), Fraction(str(limit))
        return f"{float(part / whole):.1%} used ({_number(part)} of {_number(whole)} {unit}".rstrip() + ")"
    except (ValueError, ZeroDivisionError):
        return f"{spent} of {limit}"


def _number(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):.4g}"


def _isolation(reached: Mapping[str, Any]) -> str:
    """Say the level first; the features in the agent's own words, without the figures of the limits."""
    shown = [f"{key} {value}" for key, value in reached.items() if key != "level" and not isinstance(value, Mapping)]
    return f"{reached.get('level', 'unknown')} ({', '.join(shown)})" if shown else str(reached.get("level", "unknown"))
