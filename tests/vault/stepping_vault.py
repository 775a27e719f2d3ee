"""The real vault, with one observer more: it announces each step of a release on a pipe and waits for one byte.

Started by tests as ``python stepping_vault.py FD --link-fd A --broker-fd B``. The product has no such switch: this
program passes its observer to ``boot.run``, which the real entry point calls without one.
"""

from __future__ import annotations

import os
import sys

from cloister.vault import confine


def run(link: int, broker: int, announce: int) -> int:
    """Run a vault that announces its steps."""
    from cloister.vault import boot

    # The observer's pipe must survive the closing of descriptors at confinement.
    real = confine.confine
    confine.confine = lambda folders, fds, **more: real(folders, (*fds, announce), **more)

    def at(step: int) -> None:
        os.write(announce, bytes([step]))
        os.read(announce, 1)

    return boot.run(link, broker, at)


def main() -> int:
    """Run the vault."""
    confine.prepare()
    return run(int(sys.argv[3]), int(sys.argv[5]), int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
