"""nbformat, imported without a grammar that it has no use for.

jsonschema, where it can check the format ``iri``, builds the grammar of RFC 3987 when it is imported: two seconds of
processor time, more than a command needs for all else. No schema of a notebook has that format, and jsonschema does
without the package that brings it.
"""

from __future__ import annotations

import sys

_GRAMMAR = "rfc3987_syntax"


def load() -> None:
    """Import nbformat so; nothing if jsonschema or the grammar is there already."""
    if "jsonschema" in sys.modules or _GRAMMAR in sys.modules:
        return
    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]
    try:
        import nbformat  # noqa: F401, PLC0415 (only now, without the grammar)
    finally:
        del sys.modules[_GRAMMAR]
