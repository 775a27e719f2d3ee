"""Collects findings while the steps run; a step that raises becomes a line of the report, never a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cloister.errors import CloisterError
from cloister.reviewer.report import Finding, Level


class Findings:
    """The lines of a report, and the reservations they amount to, each once and in order of appearance."""

    def __init__(self) -> None:
        self.lines: list[Finding] = []
        self.reservations: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether any line says that something is false."""
        return self.failures > 0

    @property
    def failures(self) -> int:
        """How many lines say that something is false."""
        return sum(line.level == "fail" for line in self.lines)

    def add(
        self, step: int, level: Level, code: str, text: str, *, cell: int | None = None, release: str | None = None
    ) -> None:
        """Add one line."""
        self.lines.append(Finding(step, level, code, text, cell, release))

    def reserve(self, reservation: str, step: int, code: str, text: str, *, release: str | None = None) -> None:
        """Add one line that weakens the verdict by ``reservation``."""
        if reservation not in self.reservations:
            self.reservations.append(reservation)
        self.add(step, "reservation", code, text, release=release)

    @contextmanager
    def step(self, number: int, *, cell: int | None = None, release: str | None = None) -> Iterator[None]:
        """Turn an error of the block into a failing line of step ``number``."""
        try:
            yield
        except CloisterError as error:
            self.add(number, "fail", error.code, error.reason, cell=cell, release=release)
        except Exception as error:  # noqa: BLE001 (boundary: whatever a notebook holds must fail, not crash the check)
            text = f"this cannot be checked ({type(error).__name__})"
            self.add(number, "fail", "verify.malformed", text, cell=cell, release=release)
