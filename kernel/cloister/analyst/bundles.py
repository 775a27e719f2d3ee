"""Small cards in text and static HTML: what ``%cloister`` commands show.

No script, no style sheet, every text escaped: the same bytes are safe in Lab, Notebook 7, VS Code and on a
static page. A bar is never the only bearer of a fact: the words beside it say the same.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from cloister.analyst import limits
from cloister.analyst.limits import Limit
from cloister.contract.terms import Contract
from cloister.receipt.facts import ReleaseFacts

_NO_RECEIPTS = {"receipts": "none yet: nothing was released in this session"}
_UNKNOWN_BUDGET = "unknown: no budget was reported in this session; run cl.budget() in a cell"
_BAR = 20
_LEFT = "text-align:left;vertical-align:top"
_TRACK = "display:inline-block;width:160px;height:10px;border-radius:3px;border:1px solid #999;background:"
_HATCHED = "repeating-linear-gradient(45deg,#ccc 0 4px,#eee 4px 8px)"


def table(title: str, rows: Mapping[str, str]) -> dict[str, str]:
    """Return a titled two-column card as a MIME bundle."""
    width = max(map(len, rows), default=0)
    text = "\n".join([title, *(f"  {key:<{width}}  {value}" for key, value in rows.items())])
    cells = "".join(f"<tr>{_heading(key)}{_cell(html.escape(value))}</tr>" for key, value in rows.items())
    return {"text/plain": text, "text/html": _table(title, cells)}


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


def receipts(releases: Sequence[ReleaseFacts], *, mode: str = "") -> dict[str, str]:
    """Return the card of ``%cloister verify``: one line per receipt whose whole chain this machine checked."""
    replayed = mode == "replay"
    vault = "a vault the broker admitted" if replayed else "the vault this machine attested"
    rows = {
        f"{number}. {item.receipt.removeprefix('sha256:')[:12]}": (
            f"verified: {item.question}; {'recalled' if item.recalled else f'charged at {item.time}'}"
        )
        for number, item in enumerate(releases, 1)
    }
    simulated = any(item.assurance == "simulated" for item in releases)
    rows["signatures"] = f"contract by all parties, admission by the broker, receipts by {vault}"
    rows["enclave"] = "Simulated: its owner could have signed anything" if simulated else "genuine hardware"
    if replayed:
        rows["enclave"] = "none runs here; cloister verify NOTEBOOK, in a terminal, says what its evidence proves"
    rows["for others"] = "cloister verify NOTEBOOK, in a terminal, checks the saved notebook offline"
    return table(f"Cloister: {len(releases)} receipts verified on this machine", rows if releases else _NO_RECEIPTS)


def budget(known: Mapping[str, Any] | None, contract: Contract | None = None, *, mode: str = "") -> dict[str, str]:
    """Return the card of ``%cloister budget``: every limit with a bar and words."""
    if known is None:
        return table("Cloister budget", {"budget": _UNKNOWN_BUDGET})
    found = limits.limits(known, contract)
    title = budget_title(found, mode)
    time = f"as of {known.get('time') or 'unknown'}"
    said = limits.alerts(known)
    told = [f"  {line}" for line in said]
    text = "\n".join([title, *limits.iter_texts(found, width=_BAR), *told, f"  {time}"])
    rows = "".join(
        f"<tr>{_heading(limit.label)}{_cell(bar(limit.used))}{_cell(html.escape(limit.words))}</tr>" for limit in found
    )
    rows += "".join(f'<tr><td colspan="3" style="{_LEFT}">{html.escape(line)}</td></tr>' for line in said)
    rows += f'<tr><td colspan="3" style="{_LEFT}"><small>{html.escape(time)}</small></td></tr>'
    return {"text/plain": text, "text/html": _table(title, rows)}


def budget_title(found: list[Limit], mode: str) -> str:
    """Return the one line above the limits."""
    if mode == "mock":
        return "Cloister budget of the contract (MOCK kernel: nothing is charged here)"
    part = limits.left(found)
    return "Cloister budget" if part is None else f"Cloister budget: {limits.percent(part)} of the privacy budget left"


def colour(used: float) -> str:
    """Return the colour of a bar: blue, amber above 70 %, red above 90 %."""
    return "#b00020" if used > 0.9 else "#b26a00" if used > 0.7 else "#2b6cb0"


def bar(used: float | None) -> str:
    """Return a bar as HTML; hatched if it is not known how full it is."""
    if used is None:
        return f'<span style="{_TRACK}{_HATCHED}"></span>'
    percent = f"{100 * min(max(used, 0.0), 1.0):.1f}%"
    fill = f"linear-gradient({colour(used)},{colour(used)}) no-repeat 0 0/{percent} 100%,#eee"
    return f'<span style="{_TRACK}{fill}"></span>'


def file_put(name: str, sha256: str, size: int, source: str) -> dict[str, str]:
    """Return the card of ``%cloister put``."""
    rows = {
        "file": f"{source} ({size:,} bytes) is now {name} in the sandbox" if source != name else
        f"{name} ({size:,} bytes) is now in the sandbox",
        "read it": f"open({name!r}), pd.read_csv({name!r}), ...",
        "sha256": sha256.removeprefix("sha256:"),
        "in receipts": "what is released from here on names this file in its transcript",
    }  # fmt: skip
    return table("Cloister: file put into the sandbox", rows)


def file_got(name: str, sha256: str, size: int, target: str, *, mode: str) -> dict[str, str]:
    """Return the card of ``%cloister get``: where the file came from must not be mistaken."""
    made = "notebook code in the sandbox made it, and nothing vouches for its content"
    rows = {
        "file": f"{name} ({size:,} bytes) is now {target} beside the notebook",
        "made by": f"{made}; MOCK: it rests on invented values" if mode == "mock" else made,
        "sha256": sha256.removeprefix("sha256:"),
    }
    return table("Cloister: file from the sandbox", rows)


def _table(title: str, rows: str) -> str:
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"


def _heading(text: str) -> str:
    return f'<th style="{_LEFT};white-space:nowrap">{html.escape(text)}</th>'


def _cell(markup: str) -> str:
    return f'<td style="{_LEFT}">{markup}</td>'


def _isolation(reached: Mapping[str, Any]) -> str:
    """Say the level first; the features in the agent's own words, without the figures of the limits."""
    shown = [f"{key} {value}" for key, value in reached.items() if key != "level" and not isinstance(value, Mapping)]
    return f"{reached.get('level', 'unknown')} ({', '.join(shown)})" if shown else str(reached.get("level", "unknown"))
