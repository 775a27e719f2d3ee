"""``python -m cloister.analyst -f CONNECTION --entry NAME --mode confidential|mock``: one notebook's kernel."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cloister.analyst.agreed import Agreed
from cloister.analyst.chips import ReceiptBook
from cloister.analyst.serve import serve
from cloister.analyst.session import Session

if TYPE_CHECKING:
    from cloister.analyst.dial import EnclaveSession


def main(argv: list[str] | None = None) -> int:
    """Run the proxy of one kernel; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloister.analyst", description=__doc__)
    parser.add_argument("-f", dest="connection_file", type=Path, required=True, help="written by Jupyter")
    parser.add_argument("--entry", required=True, help="entry of the trust store")
    parser.add_argument("--mode", choices=("confidential", "mock"), required=True)
    parser.add_argument("--purpose", default="", help="a purpose of the contract; default: the entry's")
    options = parser.parse_args(argv)

    async def dial() -> Session:
        # In a thread: kernel_info is answered while the cryptography is still being loaded.
        attested = await asyncio.to_thread(importlib.import_module, "cloister.analyst.attested")
        session: Session = await attested.dial(options.entry, options.mode, options.purpose)
        return session

    def open_book(session: Session, cards: list[dict[str, Any]]) -> ReceiptBook | None:
        from cloister.analyst import attested  # noqa: PLC0415 (loaded by dial)

        return attested.open_book(options.entry, options.mode, cast("EnclaveSession", session), cards)

    def load_agreed() -> Agreed:
        from cloister.analyst import attested  # noqa: PLC0415 (in a thread, or loaded by dial)

        return attested.load_agreed(options.entry)

    return serve(
        options.connection_file,
        dial,
        entry=options.entry,
        mode=options.mode,
        open_book=open_book,
        load_agreed=load_agreed,
    )


if __name__ == "__main__":
    sys.exit(main())
