"""The release chip: what the proxy itself shows at the end of a cell that released something.

The facts come from receipts this machine verified. The typed body is constant and the facts sit in the output's
metadata: a front end that does not know the type falls back to HTML or text, and no notebook code can make the
proxy say anything.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

RELEASE_MIME = "application/vnd.cloister.release.v1+json"
BODY = {"version": 1}
METADATA_KEY = "cloister"
_SIMULATED = "simulated"


class ReleaseFacts(Protocol):
    """What a verified receipt says about one release, as far as the chip shows it."""

    @property
    def release(self) -> str:
        """Identifier of the release."""

    @property
    def rho(self) -> str:
        """What it cost, in zCDP rho, as an exact fraction."""

    @property
    def assurance(self) -> str:
        """``simulated`` or the TEE's name."""

    @property
    def time(self) -> str:
        """When, by the broker's clock (RFC 3339, UTC)."""


class ReceiptBook(Protocol):
    """Verifies and keeps receipts; ``receipts`` has the real one."""

    def accept(self, envelope: dict[str, Any], parent: str) -> ReleaseFacts:
        """Verify and store one receipt.

        Raises:
            CloisterError: The receipt does not verify.
        """


def display(facts: Sequence[ReleaseFacts]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return data and metadata of the ``display_data`` for the releases of one cell."""
    line = _sentence(facts)
    state = "simulated" if any(fact.assurance == _SIMULATED for fact in facts) else "confidential"
    listed = [_as_dict(fact) for fact in facts]
    data = {
        "text/plain": line,
        "text/html": f'<div style="{_STYLE[state]}">{html.escape(line)}</div>',
        RELEASE_MIME: BODY,
    }
    return data, {METADATA_KEY: {"state": state, "releases": listed}}


_FRAME = "display:inline-block;padding:1px 8px;border-radius:8px;font-size:90%;border:1px "
_STYLE = {"confidential": _FRAME + "solid #2e7d32", "simulated": _FRAME + "dashed #b26a00"}


def _as_dict(fact: ReleaseFacts) -> Mapping[str, str]:
    return {"release": fact.release, "rho": fact.rho, "assurance": fact.assurance, "time": fact.time}


def _sentence(facts: Sequence[ReleaseFacts]) -> str:
    total = sum((Fraction(fact.rho) for fact in facts), Fraction(0))
    count = "1 release" if len(facts) == 1 else f"{len(facts)} releases"
    where = sorted({fact.assurance for fact in facts})
    return f"Cloister: {count}, cost rho {float(total):.3g}, receipt verified ({', '.join(where)})"
