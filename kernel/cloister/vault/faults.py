"""Faults: what still fails after the charge says nothing but that it failed (G3).

One constant code at the planned deadline, whatever happened. Each fault can tell the outside one bit, so after
three the contract is suspended in this vault. An answer that is late tells one bit too; so many are let pass (the
machine may be busy), and a later one is a fault.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from cloister.errors import FaultError
from cloister.vault.deadline import Deadline

MAX_FAULTS = 3
MAX_LATE = 16


class Faults:
    """Counts the faults of a vault and suspends it after ``MAX_FAULTS``."""

    def __init__(self) -> None:
        self._count = 0
        self._late = 0
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuse further releases once suspended.

        Raises:
            FaultError: ``vault.suspended``.
        """
        with self._lock:
            suspended = self._count >= MAX_FAULTS
        if suspended:
            raise FaultError(
                "vault.suspended",
                f"{MAX_FAULTS} releases failed inside the vault; it releases nothing more under this contract",
                clause="Each failure can tell one bit, so their number is bounded.",
                next_step="Tell the data provider.",
            )

    @contextlib.contextmanager
    def contained(self, deadline: Deadline, *, counts_late: bool = True) -> Iterator[None]:
        """Run a block; any failure becomes the one fault, counted, at the deadline.

        ``counts_late``: a late answer is one of the ``MAX_LATE``. Those of matches are not: their number is limited by
        the contract.

        Raises:
            FaultError: ``vault.fault``.
        """
        try:
            yield
            self._check_late(deadline, counts_late=counts_late)
        except Exception:  # noqa: BLE001 (what failed may depend on data: nothing of it may leave)
            with self._lock:
                self._count += 1
            deadline.wait()
            raise fault() from None

    def _check_late(self, deadline: Deadline, *, counts_late: bool) -> None:
        if deadline.late():
            with self._lock:
                self._late += int(counts_late)
                if (counts_late and self._late > MAX_LATE) or deadline.over():
                    raise fault()


def fault() -> FaultError:
    """Return the one error that stands for every failure inside the vault."""
    return FaultError(
        "vault.fault",
        "the vault could not finish this request",
        clause="What failed is not said: it may depend on data.",
        next_step="Run the cell again; a charge that was made is not made twice.",
    )
