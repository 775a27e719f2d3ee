"""The models of the live views, as the plain states that Jupyter's widget protocol carries.

Only core widgets, so that every front end that shows ipywidgets shows these, without a download. The states are the
least a front end needs: what is left out has the default that its own model class gives it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from cloister.analyst import bundles, limits
from cloister.analyst.limits import Limit
from cloister.contract.terms import Contract

PROTOCOL_VERSION = "2.1.0"
CONTROLS = ("@jupyter-widgets/controls", "2.0.0")
BASE = ("@jupyter-widgets/base", "2.0.0")
REFERENCE = "IPY_MODEL_"
STATUS, BUDGET = "status", "budget"
State = dict[str, Any]
Models = dict[str, State]
"""States by key, every model behind those it refers to; a reference is ``REFERENCE`` and a key."""

_BAR_STYLES = {"#b00020": "danger", "#b26a00": "warning"}


def status(info: Mapping[str, Any], left: float | None) -> Models:
    """Return the models of the live line about the enclave; its root is ``STATUS``."""
    verdict, error = info.get("verdict") or {}, info.get("error")
    facts = [f"<b>{html.escape(str(info['word']))}</b>", html.escape(str(info["state"]))]
    if info.get("mode") == "mock":
        facts.append("MOCK: invented values")
    if verdict.get("time"):
        facts.append(f"evidence checked at {html.escape(str(verdict['time']))}")
    releases = int(info.get("releases", 0))
    facts.append(f"{releases:,} {'release' if releases == 1 else 'releases'} verified")
    if left is not None and info.get("mode") != "mock":
        facts.append(f"{limits.percent(left)} of the privacy budget left")
    if error:
        facts.append(html.escape(f"[{error['code']}] {error['reason']}"))
    return {**_frame(), STATUS: _html(_line("Live", facts))}


def budget(known: Mapping[str, Any] | None, contract: Contract | None, mode: str) -> Models:
    """Return the models of the live budget, a bar and words per limit; its root is ``BUDGET``."""
    found = limits.limits(known or {}, contract)
    time = html.escape(f"as of {(known or {}).get('time') or 'unknown'}")
    title = bundles.budget_title(found, mode) if found else "no budget was reported yet"
    models = {**_frame(), "head": _html(_line("Live", [html.escape(title), time]))}
    rows = ["head"]
    for number, limit in enumerate(found):
        models |= _row(f"limit-{number}", limit)
        rows.append(f"limit-{number}")
    return {**models, BUDGET: _box("VBox", rows)}


def _row(key: str, limit: Limit) -> Models:
    used = limit.used or 0.0
    bar = _model("FloatProgress", CONTROLS, "ProgressView") | {
        "value": round(100 * min(max(used, 0.0), 1.0), 2),
        "min": 0.0,
        "max": 100.0,
        "bar_style": _BAR_STYLES.get(bundles.colour(used), "info"),
        "layout": REFERENCE + "bar-layout",
        "style": REFERENCE + "bar-style",
    }
    name = f"<b>{html.escape(limit.label)}</b>"
    # A block, so that the second line of a long text stands under the first.
    words = _html(
        f'<div style="margin-left:8px;padding-top:5px;line-height:1.4">{name}: {html.escape(limit.words)}</div>'
    )
    return {f"{key}-bar": bar, f"{key}-words": words, key: _box("HBox", [f"{key}-bar", f"{key}-words"])}


def _frame() -> Models:
    """Return what the other models share: layouts and styles."""
    return {
        "layout": _model("Layout", BASE, "LayoutView"),
        "bar-layout": _model("Layout", BASE, "LayoutView") | {"width": "12em", "flex": "0 0 auto"},
        "html-style": _style("HTMLStyle"),
        "bar-style": _style("ProgressStyle"),
    }


def _line(name: str, facts: list[str]) -> str:
    # "status" has screen readers say what changed.
    return f'<div role="status"><span style="opacity:.7">{name}:</span> {" · ".join(facts)}</div>'


def _html(value: str) -> State:
    state = _model("HTML", CONTROLS, "HTMLView")
    return state | {"value": value, "layout": REFERENCE + "layout", "style": REFERENCE + "html-style"}


def _box(kind: str, children: list[str]) -> State:
    listed = [REFERENCE + child for child in children]
    return _model(kind, CONTROLS, f"{kind}View") | {"children": listed, "layout": REFERENCE + "layout"}


def _style(kind: str) -> State:
    return _model(kind, CONTROLS, "StyleView") | {"_view_module": BASE[0], "_view_module_version": BASE[1]}


def _model(kind: str, module: tuple[str, str], view: str) -> State:
    return {
        "_model_name": f"{kind}Model",
        "_model_module": module[0],
        "_model_module_version": module[1],
        "_view_name": view,
        "_view_module": module[0],
        "_view_module_version": module[1],
    }
