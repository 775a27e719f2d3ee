"""Text of other people on this person's screen: shown as it is, never as commands to the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from cloister.wire.text import spelt_out


class Terminal(Console):
    """A console that passes no command in a text on to the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as ``Console.print`` does."""
        super().print(*(spelt_out(item) if isinstance(item, str) else item for item in objects), **options)
