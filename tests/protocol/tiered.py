"""A kernel that comes to know a result which may not be saved: ``tiered.py -f CONN``, real proxy, real ipykernel.

It stands where an agent stands that forwards a receipt of tier 4 under the pack beijing-4, before the sandbox gets the
value: here before the cell whose text holds ``cloister-release`` is run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent))

import msgspec
from local_session import LocalSession

from cloister.analyst.messages import split
from cloister.contract import packs
from cloister.contract.storage import Unsaved
from cloister.errors import SignatureError
from cloister.receipt.facts import Cost, ReleaseFacts
from cloister.wire.frames import Frame, Kind

WHY = Unsaved(4, 3, "beijing-4", packs.load("beijing-4").storage)
VALUE = "2718.28"
FACTS = ReleaseFacts(
    release="r1", receipt="sha256:ab", charge_id="c", question="visits: count", keys=(), measures=(f"m {VALUE}",),
    rows=(), cells=1, session="s", rho="1/100", costs=(Cost("st_anna", "0.1", "2 %"),), assurance="simulated",
    time="2026", unsaved=WHY,
)  # fmt: skip


class Book:
    """Believes envelopes that say ``good``."""

    from_file = False
    in_memory: ClassVar[dict[str, Any]] = {}

    def accept(self, envelope: dict[str, Any], parent: str) -> ReleaseFacts:
        if not envelope.get("good"):
            raise SignatureError("signature.invalid", "not signed by the vault")
        return FACTS

    def renew(self, vault_id: str) -> None: ...

    def admit(self, envelope: dict[str, Any]) -> None: ...


class TieredSession(LocalSession):
    """Says that there is a receipt before it passes such a cell on."""

    async def send(self, kind: int, *parts: bytes) -> None:
        if kind == Kind.SHELL and any(b"cloister-release" in part for part in parts):
            parent = json.loads(split(parts).header)["msg_id"]
            for event in (
                {"type": "cards", "cards": []},
                {"type": "receipt", "receipt": {"good": True}, "parent": parent},
            ):
                self.inject(Frame(Kind.EVENT, (msgspec.json.encode(event),)))
        await super().send(kind, *parts)


if __name__ == "__main__":
    from cloister.analyst.serve import serve

    book = Book()
    sys.exit(
        serve(
            Path(sys.argv[2]), TieredSession.open, entry="tiered", mode="confidential",
            open_book=lambda session, cards: book,  # type: ignore[arg-type]
        )
    )  # fmt: skip
