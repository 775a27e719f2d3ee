"""``python -m cloister.analyst -f CONNECTION --entry NAME --mode confidential|mock``: one notebook's kernel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cloister.analyst.serve import serve
from cloister.analyst.session import Session


def main(argv: list[str] | None = None) -> int:
    """Run the proxy of one kernel; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloister.analyst", description=__doc__)
    parser.add_argument("-f", dest="connection_file", type=Path, required=True, help="written by Jupyter")
    parser.add_argument("--entry", required=True, help="entry of the trust store")
    parser.add_argument("--mode", choices=("confidential", "mock"), required=True)
    parser.add_argument("--purpose", default="", help="a purpose of the contract; default: the entry's")
    options = parser.parse_args(argv)

    async def dial() -> Session:
        # Imported late: the first kernel_info is answered before the cryptography is loaded.
        from cloister.analyst.dial import EnclaveSession  # noqa: PLC0415

        session: Session = await EnclaveSession.open(options.entry, mode=options.mode, purpose=options.purpose)
        return session

    return serve(options.connection_file, dial, entry=options.entry, mode=options.mode)


if __name__ == "__main__":
    sys.exit(main())
