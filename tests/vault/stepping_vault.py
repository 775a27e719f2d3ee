"""The real vault, with one observer more: it announces each step of a release on a pipe and waits for one byte.

Within step 7 it also announces every step of a fit, when the noise of that step is drawn: ``DRAWN`` and its number.

Started by tests as ``python stepping_vault.py FD --link-fd A --broker-fd B``. The product has no such switch: this
program passes its observer to ``boot.run``, which the real entry point calls without one.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from cloister.vault import confine

DRAWN = 100


def run(link: int, broker: int, announce: int) -> int:
    """Run a vault that announces its steps."""
    from cloister.vault import boot, fit

    # The observer's pipe must survive the closing of descriptors at confinement.
    real = confine.confine
    confine.confine = lambda folders, fds, **more: real(folders, (*fds, announce), **more)

    drawn: list[int] = []

    def at(step: int) -> None:
        if step == 7:
            drawn.clear()
        os.write(announce, bytes([step]))
        os.read(announce, 1)

    add_noise = fit.add_noise

    def then_announced(*given: Any) -> Any:
        noisy = add_noise(*given)
        at(min(DRAWN + len(drawn), 255))
        drawn.append(1)
        return noisy

    fit.add_noise = then_announced

    return boot.run(link, broker, at)


def main() -> int:
    """Run the vault."""
    confine.prepare()
    return run(int(sys.argv[3]), int(sys.argv[5]), int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
