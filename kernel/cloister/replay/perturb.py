"""Moving released values: the second run of a replay tells what depends on them and what does not.

Every raw integer moves by two to four standard deviations of its noise, in a direction and by an amount that follow
from the release key and its place: the same question gets the same answer throughout a run, as in an enclave.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from cloister.contract.card import Card
from cloister.enclave.causes import DELIMITER
from cloister.plan import codec
from cloister.plan.layout import Component, layout
from cloister.receipt.receipt import Receipt
from cloister.wire import canonical

CHOSEN = "CLOISTER_REPLAY_PERTURB"
_LEAST, _SPREAD = 2.0, 2.0
MARK_KEY = "replay-perturbed"
_MARK = "Cloister replay: PERTURBED values. Every number below was moved on purpose; none was released."


def moved(receipt: Receipt, cards: Mapping[str, Card]) -> tuple[str, ...]:
    """Return the raw values of a receipt, moved."""
    frame = layout(codec.decode(receipt.plan), cards)
    sigmas = [float.fromhex(part.sigma) for part in receipt.noise]
    parts = [(part, sigma) for part, sigma in zip(frame.components, sigmas, strict=True) for _ in range(part.width)]
    return tuple(
        str(_moved(int(text), *parts[place % len(parts)], f"{receipt.release} {place}"))
        for place, text in enumerate(receipt.raw)
    )


def _moved(value: int, part: Component, sigma: float, place: str) -> int:
    if part.role != "quantile":
        return value + _step(place, sigma)
    # The index of a candidate: another one, as the scale of its noise is in rows.
    return (value + 1 + abs(_step(place, 1.0)) % max(part.candidates - 1, 1)) % part.candidates


def message(parent: str) -> tuple[bytes, ...]:
    """Return what a cell shows in place of a release chip, as the frames of a ``display_data``.

    Args:
        parent: The Jupyter message id of the cell.
    """
    style = "display:inline-block;padding:4px 10px;border:2px dashed #b00020;color:#b00020"
    data = {"text/plain": _MARK, "text/html": f'<div style="{style}"><b>{_MARK}</b></div>'}
    header = {"msg_id": secrets.token_hex(16), "msg_type": "display_data", "session": "replay", "username": "replay"}
    parts: tuple[dict[str, Any], ...] = (
        {**header, "date": "", "version": "5.3"},
        {"msg_id": parent},
        {},
        {"data": data, "metadata": {MARK_KEY: True}, "transient": {}},
    )
    return (b"display_data", DELIMITER, *map(canonical.encode, parts))


def _step(place: str, sigma: float) -> int:
    drawn = hashlib.sha256(f"cloister/replay/perturb/v1 {place}".encode()).digest()
    factor = _LEAST + _SPREAD * int.from_bytes(drawn[1:5]) / 2**32
    return max(1, round(factor * sigma)) * (1 if drawn[0] & 1 else -1)
