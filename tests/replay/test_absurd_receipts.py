"""Receipts that verify but for one absurd number: whoever signs them ends in a refusal, not in a defect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from signed_world import Story

from cloister.errors import TrustError
from cloister.replay import classify, source
from cloister.reviewer.verify import examine

replace = msgspec.structs.replace


def noise(story: Story, sigma: str) -> dict[str, Any]:
    return {"noise": (replace(story.count.noise[0], sigma=sigma),)}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {"raw": ("9" * 320,)},
        lambda _: {"raw": ("9" * 5_000,)},
        lambda _: {"raw": ("\u0661\u0662",)},
        lambda _: {"raw": ("1_003",)},
        lambda _: {"raw": (" 1003",)},
        lambda _: {"raw": ("01003",)},
        lambda story: noise(story, "0x1p1023"),
        lambda story: noise(story, "inf"),
    ],
    ids=[
        "too large for a float",
        "too long",
        "digits of another script",
        "underscore",
        "space",
        "zero",
        "sigma",
        "inf",
    ],
)
def test_a_number_no_vault_releases(change: Any) -> None:
    story = Story()
    receipt = replace(story.count, **change(story))
    examined = examine(story.notebook(receipts=[story.world.sign(receipt), story.world.sign(story.means)]))
    failed = {(found.step, found.code) for found in examined.report.findings if found.level == "fail"}
    assert failed & {(8, "receipt.shape"), (8, "receipt.sigma")}
    assert len(examined.receipts) == 1
    classify.known(examined)
    with pytest.raises(TrustError, match=r"replay\.bundle"):
        source.joined([("n.ipynb", examined)])


def test_large_numbers_of_a_release_are_none_of_these() -> None:
    story = Story()
    receipt = replace(story.count, raw=(str(-(2**62)),))
    examined = examine(story.notebook(receipts=[story.world.sign(receipt), story.world.sign(story.means)]))
    assert len(examined.receipts) == 2
    classify.known(examined)
