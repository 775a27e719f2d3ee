"""The bounded model of the channel (docs/channel-model): secure with every defence, attacked without each."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECK = Path(__file__).parents[2] / "docs" / "channel-model" / "check.py"

pytest.importorskip("maude", reason="the model's searches need Maude's bindings")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("channel_model_check", CHECK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = load()
# Found within a second; the other searches see everything that can happen, or nearly.
QUICK = {"secrecy", "agreement", "downgrade", "datakeys", "vaults", "readmission"}


def cases() -> list[object]:
    return [
        pytest.param(
            case,
            id=f"{case.scenario}-{case.off.replace(' ', '+')}-{case.attack}",
            marks=() if case.found and case.attack in QUICK else (pytest.mark.slow, pytest.mark.timeout(1200)),
        )
        for case in check.CASES
    ]


@pytest.mark.parametrize("case", cases())
def test_the_model_sees_what_the_defence_is_for(case: object) -> None:
    assert check.attacked(case) == case.found


def test_every_defence_is_switched_off_somewhere() -> None:
    text = check.MODEL.read_text()
    declared = text.split("  eq all = ")[1].split(" .\n")[0].split()
    off = {name for case in check.SWITCHED_OFF + check.DOUBLED for name in case.off.split()}
    assert off == set(declared)
