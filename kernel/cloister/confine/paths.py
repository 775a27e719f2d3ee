"""Where the interpreter and its libraries live: what any Python process must be able to read, and nothing of a user.

Everything listed is public software: the standard library, installed packages, shared libraries, fonts, time
zones. ``/proc``, ``/sys``, ``/dev``, ``/tmp`` and home directories are never on the list, except for the folders
of them that hold an interpreter or its packages.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

_SYSTEM = (
    "/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/fonts",
    "/usr/local/share/fonts", "/usr/share/fontconfig", "/usr/share/zoneinfo", "/usr/share/locale", "/etc/ld.so.cache",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/fonts", "/etc/localtime", "/etc/timezone", "/etc/mime.types",
    "/nix/store",
)  # fmt: skip


def interpreter_paths() -> tuple[Path, ...]:
    """Return the folders that hold this interpreter, its packages and this package itself."""
    own_package = Path(__file__).resolve().parent.parent
    found = {Path(path).resolve() for name, path in sysconfig.get_paths().items() if name not in {"scripts", "data"}}
    found |= {Path(sys.base_prefix, "lib").resolve(), Path(sys.prefix, "lib").resolve(), own_package}
    found |= {Path(entry).resolve() for entry in sys.path if entry and "site-packages" in entry}
    found |= {Path(entry).resolve() for entry in sys.path if entry and "dist-packages" in entry}
    found |= {Path(sys.prefix, folder).resolve() for folder in ("share/fonts", "share/zoneinfo", "share/jupyter")}
    return tuple(sorted(path for path in found if path.exists() and path not in {Path("/"), Path.home()}))


def library_paths() -> tuple[Path, ...]:
    """Return the system's shared libraries, fonts and time zones, and the interpreter's own folders."""
    system = {Path(path) for path in _SYSTEM}
    pyvenv = Path(sys.prefix, "pyvenv.cfg")
    return tuple(sorted(path for path in {*system, *interpreter_paths(), pyvenv} if os.path.lexists(path)))


def package_parent() -> Path:
    """Return the folder that ``cloister`` is imported from: listing it is enough, reading beside it is not needed."""
    return Path(__file__).resolve().parent.parent.parent
