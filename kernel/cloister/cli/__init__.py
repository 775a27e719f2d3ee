"""The ``cloister`` command. Each command is a few lines here; the work is in the zone it belongs to.

Exit codes: 0 done, 1 refused or failed (code, reason and next step on stderr), 2 wrong usage. ``verify``, ``replay``:
0 verified, replayed exactly; 1 with reservations that were not allowed, or differences; 2 something is false.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from cloister.cli import evidence, groups, notebooks, trusting
from cloister.cli.groups import app, err, out, whole
from cloister.errors import CloisterError, missing_extra

__all__ = ["app", "err", "evidence", "main", "notebooks", "out", "trusting", "whole"]


def main() -> None:
    """Entry point: run a command; show a CloisterError as its words, never as a traceback."""
    try:
        groups.called_for(sys.argv[1:])()
    except CloisterError as error:
        _refuse(error)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cloister"):
            raise
        _refuse(missing_extra(error.name))


def _refuse(error: CloisterError) -> NoReturn:
    err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
