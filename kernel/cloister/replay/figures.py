"""Figures by what was drawn: the numbers behind bars, lines and points, captured where the figure is shown.

Before the notebook's first cell the replay puts ``HOOK`` into the sandbox: a display formatter that adds the data of a
matplotlib figure's artists to its output, under a type of its own that no front end shows. Without such data (another
library, a picture from a file) a figure is compared by its bytes.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from cloister.reviewer.notebook import joined
from cloister.reviewer.numbers import Released

DRAWN_MIME = "application/x-replay-drawn+json"
MAX_DRAWN = 20_000
Kind = Literal["released", "derived", "constant"]

HOOK = f"""
def _install(mime={DRAWN_MIME!r}, most={MAX_DRAWN}):
    from IPython import get_ipython
    from IPython.core.formatters import JSONFormatter
    from traitlets import ObjectName, Unicode

    class DrawnFormatter(JSONFormatter):
        format_type = Unicode(mime)
        print_method = ObjectName("_repr_replay_drawn_")

    def numbers(figure):
        import numpy as np
        found = []
        def add(values):
            flat = np.asarray(values, dtype=float).ravel()
            found.extend(float(v) for v in flat[: most - len(found)] if np.isfinite(v))
        for axes in figure.axes:
            for line in axes.lines:
                add(line.get_ydata())
            for patch in axes.patches:
                if hasattr(patch, "get_height"):
                    add([patch.get_height(), patch.get_width()])
                else:
                    add(patch.get_path().vertices)
            for collection in axes.collections:
                for path in collection.get_paths():
                    add(path.vertices)
                add(collection.get_offsets())
                if collection.get_array() is not None:
                    add(collection.get_array())
            for image in axes.images:
                add(image.get_array())
        return {{"drawn": found}}

    formatters = get_ipython().display_formatter.formatters
    formatters[mime] = DrawnFormatter(parent=get_ipython().display_formatter)
    # Of the base class: the inline backend clears what is registered for Figure itself.
    formatters[mime].for_type_by_name("matplotlib.figure", "FigureBase", numbers)
_install()
del _install
"""


class Figure(NamedTuple):
    """What was found about one figure; ``fixed`` of its ``drawn`` numbers did not move."""

    kind: Kind
    reason: str
    drawn: int = 0
    fixed: int = 0


def is_figure(output: dict[str, Any]) -> bool:
    """Whether an output shows a picture."""
    data = output.get("data")
    return isinstance(data, dict) and any(name.startswith("image/") for name in data)


def compare(one: dict[str, Any], other: dict[str, Any] | None, released: Released) -> Figure:
    """Return how a figure of the honest run stands to the perturbed run's.

    Args:
        one: The output of the honest run.
        other: The output at its place in the perturbed run, if there is one.
        released: The released values.
    """
    if other is None or not is_figure(other):
        return Figure("derived", "the perturbed run shows no such figure")
    first, second = _drawn(one), _drawn(other)
    if first is None or second is None or not first:
        return _by_bytes(one, other)
    if len(first) != len(second):
        return Figure("derived", "another number of things is drawn in the perturbed run", len(first))
    moved = [value for value, after in zip(first, second, strict=True) if value != after]
    fixed = len(first) - len(moved)
    if not moved:
        return Figure("constant", "nothing that is drawn moved", len(first), fixed)
    if pictures(one) == pictures(other):
        # What is drawn is told by the notebook's own process; the picture is what people see.
        return Figure("constant", "the picture did not move, although other numbers were drawn", len(first), len(first))
    bound = all(released.accounts_for(f"{value:.10g}") for value in moved)
    reason = "what moved are released values" if bound else "what moved is computed from released values"
    return Figure("released" if bound else "derived", reason, len(first), fixed)


def _by_bytes(one: dict[str, Any], other: dict[str, Any]) -> Figure:
    """A picture without numbers: only whether it moved can be told."""
    if pictures(one) == pictures(other):
        return Figure("constant", "the picture did not move (its drawn data could not be captured)")
    return Figure("derived", "the picture moved (its drawn data could not be captured)")


def pictures(output: dict[str, Any]) -> dict[str, str]:
    """Return the encoded pictures of an output by type."""
    data = output["data"]
    return {name: joined(value).strip() for name, value in data.items() if name.startswith("image/")}


def _drawn(output: dict[str, Any]) -> list[float] | None:
    content = output["data"].get(DRAWN_MIME)
    try:
        listed = (json.loads(content) if isinstance(content, str) else content)["drawn"]
        return [float(value) for value in listed[:MAX_DRAWN]]
    except (KeyError, TypeError, ValueError):
        return None
