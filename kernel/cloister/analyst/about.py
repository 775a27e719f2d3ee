"""The proxy's own block about the enclave: what ``kernel_info``, the status comm and ``%cloister status`` say."""

from __future__ import annotations

from typing import Any

import msgspec

import cloister
from cloister.analyst.events import Events
from cloister.analyst.uplink import State, Uplink

_WORDS = {
    State.DIALLING: "Not verified yet (dialling)",
    State.REFUSED: "Not verified",
    State.LOST: "Not verified (connection lost)",
}


def about(entry: str, mode: str, uplink: Uplink, events: Events) -> dict[str, Any]:
    """Return the block as JSON builtins; ``word`` is the badge's text."""
    verdict = uplink.verdict
    return {
        "version": cloister.__version__,
        "entry": entry,
        "mode": mode,
        "state": uplink.state.value,
        "assurance": verdict.assurance if verdict else None,
        "word": badge(uplink),
        "verdict": msgspec.to_builtins(verdict) if verdict else None,
        "error": uplink.error.to_dict() if uplink.error else None,
        "vault": events.vault,
        "budget": events.budget,
        "releases": events.released,
    }


def badge(uplink: Uplink) -> str:
    """Return the badge's text."""
    word = _WORDS.get(uplink.state) or (uplink.verdict.word if uplink.verdict else "Not verified")
    return f"{word} (kernel ended)" if uplink.state is State.DEAD else word
