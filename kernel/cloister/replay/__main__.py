"""``python -m cloister.replay -f CONNECTION``: a kernel that answers from the receipts of a notebook."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloister.analyst.serve import serve
from cloister.errors import UnavailableError

if TYPE_CHECKING:
    from cloister.analyst.agreed import Agreed
    from cloister.analyst.chips import ReceiptBook
    from cloister.analyst.session import Session
    from cloister.replay.session import ReplaySession

ENTRY = "receipts"


def main(argv: list[str] | None = None) -> int:
    """Run one replay kernel; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloister.replay", description=__doc__)
    parser.add_argument("-f", dest="connection_file", type=Path, required=True, help="written by Jupyter")
    options = parser.parse_args(argv)
    opened: list[ReplaySession] = []

    async def start() -> Session:
        # In a thread: kernel_info is answered while the cryptography is still being loaded.
        replay: Any = await asyncio.to_thread(importlib.import_module, "cloister.replay.session")
        opened.append(await replay.ReplaySession.open())
        return opened[0]

    def open_book(_session: Session, _cards: list[dict[str, Any]]) -> ReceiptBook | None:
        return opened[0].book()

    def load_agreed() -> Agreed:
        if not opened:
            raise UnavailableError("replay.kernel", "the notebook's receipts are not verified yet")
        return opened[0].agreed()

    return serve(
        options.connection_file, start, entry=ENTRY, mode="replay", open_book=open_book, load_agreed=load_agreed
    )


if __name__ == "__main__":
    sys.exit(main())
