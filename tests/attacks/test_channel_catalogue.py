"""The channel's attacks in ``docs/protocol.md``: every file and test named exists, and the page is current."""

from __future__ import annotations

import ast
import functools

import pytest
from channel_catalogue import ATTACKS, PAGE, ROOT, Attack, page


@functools.cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.attack[:40])
def test_the_attack_is_tried(attack: Attack) -> None:
    assert attack.tests
    for name in attack.files:
        assert (ROOT / "kernel" / "cloister" / name).is_file(), name
    for test in attack.tests:
        path, _, name = test.partition("::")
        assert name in functions(path), f"{test} does not exist"


def test_the_page_is_current() -> None:
    text = PAGE.read_text()
    assert text == page(text), "run python tests/attacks/channel_catalogue.py"
