"""Text of other people on this person's screen: shown as it is, never as commands to the terminal."""

from __future__ import annotations

import textwrap
from typing import Any

from rich.console import Console

from cloister.wire.text import spelt_out


def hanging(text: str, width: int) -> str:
    """Break long lines so that what follows stands under the line it belongs to; digests and dids stay whole."""
    lines = []
    for line in text.split("\n"):
        margin = " " * (len(line) - len(line.lstrip()) + 2)
        broken = textwrap.wrap(
            line, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False,
            drop_whitespace=True, replace_whitespace=False,
        )  # fmt: skip
        lines += broken or [""]
    return "\n".join(lines)


class Terminal(Console):
    """A console that passes no command in a text on to the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as ``Console.print`` does."""
        super().print(*(spelt_out(item) if isinstance(item, str) else item for item in objects), **options)
