"""The Tab key: chains on handles, names inside quotes, and never a release."""

from __future__ import annotations

from typing import Any

import pytest
import sandbox_world as world
from IPython.core.completer import IPCompleter, provisionalcompleter

import cloister.sandbox as cl
from cloister.sandbox.tab import names_in_quotes, teach


class Tab:
    """What a kernel's completer offers behind a text."""

    def __init__(self, **names: Any) -> None:
        self.names = names
        self._completer = IPCompleter(shell=None, namespace=names, global_namespace={})
        teach(self._completer, cl.table)

    def __call__(self, text: str) -> set[str]:
        with provisionalcompleter():
            return {found.text for found in self._completer.completions(text, len(text))}


@pytest.fixture
def tab(visits: cl.Frame) -> Tab:
    return Tab(visits=visits, cl=cl)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("visits.", "age"),
        ("visits.age.", "mean"),
        ('visits.groupby("sex").', "agg"),
        ('visits.groupby("sex").', "age"),
        ('visits.query("age>3").age.', "mean"),
        ("visits.assign(x=1).", "x"),
        ('cl.table("clinic.visits").', "age"),
        ('cl.table("cl', "clinic.visits"),
        ('visits["', "age"),
        ('visits.groupby("', "sex"),
        ('visits.groupby(["age", "se', "sex"),
        ("visits.query('age > 3 and se", "sex"),
        ("visits.age.mean(eps", "epsilon="),
        ("visits.date.dt.", "dayofyear"),
        ("visits.sex.str.", "startswith"),
        ("visits.sex.cat.", "categories"),
        ("visits.date.dt.isocalendar().", "week"),
        ('visits.groupby("patient_id").', "cumcount"),
        ('visits.sort_values("date").groupby("patient_id").bmi.', "shift"),
        ('visits.groupby("patient_id").cost.max().', "mean"),
        ('visits.sort_values("', "date"),
    ],
)
def test_what_is_offered(tab: Tab, text: str, expected: str) -> None:
    assert expected in tab(text)


@pytest.mark.parametrize(
    "text",
    [
        "visits.age.mean().",
        "visits.count().",
        "visits.age.mean(",
        "visits.agg('mean').",
        "visits.groupby('patient_id').cost.max().mean().",
    ],
)
def test_completion_never_releases(tab: Tab, vault: world.Vault, text: str) -> None:
    tab(text)
    assert vault.releases() == []


@pytest.mark.parametrize("text", ['visits.groupby("sex").', 'visits.groupby("sex")["', 'print("', 'other.groupby("'])
def test_no_names_outside_an_open_quote_of_a_handle(visits: cl.Frame, text: str) -> None:
    assert names_in_quotes(text, {"visits": visits}) == ("", [])


def test_released_tables_complete_as_pandas(tab: Tab, visits: cl.Frame) -> None:
    tab.names["table"] = visits.groupby("sex").age.agg(["count", "mean"])
    tab.names["mean"] = visits.age.mean()
    assert "describe" in tab("table.")
    assert "describe" in tab("table.head().")
    assert {"stderr", "interval"} <= tab("mean.release.")
