"""A1..A35 (privacy.md section 8 h): each attack has tests that exist, or a written reason, and the page is current."""

from __future__ import annotations

import ast
import functools

import pytest
from attack_catalogue import ATTACKS, PAGE, ROOT, Attack, page


@functools.cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_attack_of_the_catalogue_is_there():
    assert [attack.number for attack in ATTACKS] == list(range(1, 36))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"A{attack.number}")
def test_the_attack_is_carried_out(attack: Attack, record_property):
    """By tests that exist, or there is a reason why by none."""
    assert bool(attack.tests) != bool(attack.reason)
    for test in attack.tests:
        path, _, name = test.partition("::")
        assert name in functions(path), f"A{attack.number} names {test}, which does not exist"
    record_property("named tests", len(attack.tests))


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "run python tests/proof/attack_catalogue.py"
