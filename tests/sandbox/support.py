"""What works as in pandas: one list that drives the comparisons with pandas and ``docs/support.md``.

A method works if it is listed here, and then it is compared with pandas on the same rows with the noise off. Every
other public name of a DataFrame, a Series, a group-by and the accessors must be refused with a reason and a nearest
form of its own (``sandbox/refuse.py``); ``tests/sandbox/test_support.py`` fails for a name that is neither.

Row-wise methods and relations stand in ``support_rows.py``, aggregates, plots and functions of libraries in
``support_aggregates.py``. ``python tests/sandbox/support.py`` writes the table anew.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

DOCUMENT = Path(__file__).parents[2] / "docs" / "support.md"


@dataclasses.dataclass(frozen=True)
class Works:
    """A method that works.

    Attributes:
        what: Owner and name: ``DataFrame.merge``, ``Series.dt.year``, ``GroupBy.mean``, ``np.log1p``, ``cl.cut``; an
            operator is ``Series +``.
        code: Written once, run on the handle and on the DataFrame of the same rows (table ``clinic.visits``); the
            results must be equal. None for public facts that other tests look at.
        theirs: The DataFrame's way, where it has to be written differently.
        remark: A difference to know, in a few words.
        case: Tells several comparisons of one method apart.
    """

    what: str
    code: Callable[[Any], Any] | None = None
    theirs: Callable[[Any], Any] | None = None
    remark: str = ""
    case: str = ""


def every() -> list[Works]:
    """Return the whole list."""
    import support_aggregates
    import support_rows

    return [*support_rows.WORKS, *support_aggregates.WORKS]


def names() -> dict[str, list[str]]:
    """Return the public names of pandas by owner."""
    series, frame = pd.Series([1]), pd.DataFrame({"a": [1], "b": [1]})
    owners = {
        "DataFrame": dir(pd.DataFrame),
        "Series": dir(pd.Series),
        "Series.dt": [*dir(pd.Series(pd.to_datetime(["2024-01-01"])).dt), "days"],
        "Series.str": dir(pd.Series(["a"]).str),
        "Series.cat": dir(pd.Series(["a"], dtype="category").cat),
        "GroupBy": [*dir(frame.groupby("a")), *dir(series.groupby([1]))],
    }
    # A frame's columns are attributes too; they are not its methods.
    return {
        owner: sorted({name for name in found if not name.startswith("_")} - {"a", "b", "release"})
        for owner, found in {**owners, "groupby(unit key)": owners["GroupBy"]}.items()
    }


def document() -> str:
    """Return the text of ``docs/support.md``."""
    from cloister.sandbox import refuse

    works: dict[str, list[str]] = {}
    for item in every():
        works.setdefault(item.what, [])
        if item.remark and item.remark not in works[item.what]:
            works[item.what].append(item.remark)
    parts = [
        "# What works as in pandas",
        "",
        "Written by `python tests/sandbox/support.py`. What works is compared with pandas on the same rows, noise off;"
        " every nearest form of what is refused is executed (`test_support.py`, `test_refusals.py` there).",
        "",
        f"{len(works)} methods, operators and functions work.",
    ]
    known: set[str] = set()
    for owner, members in names().items():
        parts += ["", f"## {owner}", "", "| name | | remark or nearest form |", "|---|---|---|"]
        for name in members:
            what = f"{owner}.{name}"
            known.add(what)
            if what in works:
                parts.append(f"| `{name}` | works | {_cell('; '.join(works[what]))} |")
                continue
            reason = refuse.reason(owner, name)
            words = {
                "f": "visits",
                "num": "age",
                "num2": "bmi",
                "cat": "sex",
                "val": "F",
                "c": "visits.age",
                "key": "patient_id",
                "order": "date",
            }
            words["date"] = "date"
            forms = "" if reason is None else " or ".join(f"`{form.format(**words)}`" for form in reason.nearest[:2])
            parts.append(f"| `{name}` | refused | {_cell(forms)} |")
    rest = sorted(set(works) - known)
    parts += ["", "## Operators and functions", "", "| what | remark |", "|---|---|"]
    parts += [f"| `{_cell(what)}` | {_cell('; '.join(works[what]))} |" for what in rest]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    DOCUMENT.write_text(document(), encoding="utf-8")
