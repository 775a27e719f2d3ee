"""docs/conformance.md: every core requirement is there, every test it names exists, and the page is current."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter

import msgspec
import pytest
from report import PAGE, ROOT, Requirement, page, read

from cloister.contract.card import Card
from cloister.demo.cards import VISITS

BESIDE = (folder / "shared" / "reference" / "requirements.md" for folder in (ROOT.parent, ROOT.parent.parent))
SOURCE = next((path for path in BESIDE if path.is_file()), None)
RECORD = read()


@functools.cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("one", RECORD.requirement, ids=lambda one: one.id)
def test_a_requirement_is_shown_or_said_to_be_missing(one: Requirement):
    """By tests that exist; or a reason is given; and nothing waits that is met."""
    assert one.group in RECORD.groups
    assert bool(one.tests) != bool(one.reason)
    assert not (one.reason and one.missing)
    assert re.fullmatch(r"|open(: needs [a-z ]+)?|issue \d+", one.waits)
    assert not (one.waits and one.state == "met")
    for test in one.tests:
        path, _, name = test.partition("::")
        assert name.startswith("test_")
        assert name in functions(path), f"{one.id} names {test}, which does not exist"


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "run python tests/conformance/report.py"


def test_headings_name_requirements():
    known = {one.id for one in RECORD.requirement}
    assert [heading.partition(" ")[0] for heading in RECORD.headings] == ["7.1", "7.2", "7.3", "7.4"]
    for ids in RECORD.headings.values():
        assert ids
        assert set(ids) <= known


def test_each_core_requirement_is_there_once_and_in_its_group():
    if SOURCE is None:
        pytest.skip("the list of requirements is kept beside the repository, and is not here")
    group, core = "", {}
    for line in SOURCE.read_text().splitlines():
        if found := re.search(r"\*\*([A-Z])\. ", line):
            group = found[1]
        elif found := re.match(r"\| (S\d-\d+) \| core \|", line):
            core[found[1]] = group
    asked = {name: group for name, group in core.items() if group in RECORD.groups}
    assert set(asked.values()) == set("ABCDEFGHIJ")
    assert max(Counter(one.id for one in RECORD.requirement).values()) == 1
    assert {one.id: one.group for one in RECORD.requirement} == asked


def test_a_card_without_a_tier_is_no_card():
    """Every column has a tier, from 1 to 5: a card that leaves one out is not read."""
    document = msgspec.to_builtins(VISITS)
    assert msgspec.convert(document, Card) == VISITS
    for tier in (None, 0, 6, "2"):
        document["columns"][0]["tier"] = tier
        with pytest.raises(msgspec.ValidationError, match="tier"):
            msgspec.convert(document, Card)
    del document["columns"][0]["tier"]
    with pytest.raises(msgspec.ValidationError, match="tier"):
        msgspec.convert(document, Card)
