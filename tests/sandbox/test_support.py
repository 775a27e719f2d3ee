"""Every public name of pandas works and equals pandas, or is refused with its own nearest form."""

from __future__ import annotations

from typing import Any

import pytest
import sandbox_world as world
import support
from test_pandas_equality import equal, frame

import cloister.sandbox as cl
from cloister.errors import PlanError
from cloister.sandbox import refuse

LISTED = support.every()
COMPARED = [item for item in LISTED if item.code is not None]
NAMES = [(owner, name) for owner, members in support.names().items() for name in members]
FREE = {"categories", "ordered", "columns", "dtypes", "keys", "items", "dtype", "name"}


def owner_of(owner: str, name: str, visits: cl.Frame) -> Any:
    handles: dict[str, Any] = {
        "DataFrame": lambda: visits,
        "Series": lambda: visits.age,
        "GroupBy": lambda: visits.groupby("sex"),
        "groupby(unit key)": lambda: visits.sort_values("date").groupby("patient_id").cost,
        "Series.dt": lambda: (visits.date - "2022-01-01").dt if name == "days" else visits.date.dt,
        "Series.str": lambda: visits.sex.str,
        "Series.cat": lambda: visits.sex.cat,
    }
    return handles[owner]()


@pytest.mark.parametrize("item", COMPARED, ids=[f"{item.what} {item.case}".strip() for item in COMPARED])
def test_it_works_as_in_pandas(item: support.Works, quiet: cl.Frame) -> None:
    assert item.code is not None
    equal(item.code(quiet.copy()), (item.theirs or item.code)(frame().copy()))


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_a_name_of_pandas_works_or_is_refused_with_its_own_form(owner: str, name: str, visits: cl.Frame) -> None:
    works = f"{owner}.{name}" in {item.what for item in LISTED}
    reason = refuse.reason(owner, name)
    assert works != (reason is not None), f"{owner}.{name}: in the list of what works, or in reasons.py (not both)"
    if works:
        # Some names exist for some kinds of columns only, as in pandas.
        other = {"dt": visits.date, "str": visits.sex, "cat": visits.sex} if owner == "Series" else {}
        getattr(other.get(name, owner_of(owner, name, visits)), name)
        return
    with pytest.raises(PlanError, match=r"api\.") as caught:
        getattr(owner_of(owner, name, visits), name)(1)
    assert caught.value.nearest
    assert name in str(caught.value)


def test_what_is_not_compared_is_public_or_tested_elsewhere() -> None:
    for item in LISTED:
        assert item.code or item.what.rpartition(".")[2] in FREE or item.what.startswith(("cl.", "pd.")), item.what


def test_enough_works() -> None:
    assert len({item.what for item in COMPARED}) >= 80


def test_the_table_is_current() -> None:
    assert support.DOCUMENT.read_text(encoding="utf-8") == support.document(), "python tests/sandbox/support.py"


def test_the_world_is_small_enough_to_compare(quiet: cl.Frame) -> None:
    assert len(frame()) == 3_000
    assert list(quiet) == [column.name for column in world.VISITS.columns]
