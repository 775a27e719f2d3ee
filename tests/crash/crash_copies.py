"""A broker's accounts put aside and put back, as an owner or an attacker would."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from cloister.provider.home import BrokerHome


def put_aside(home: BrokerHome, folder: Path) -> None:
    """Copy the accounts, and how far their log had come, as of one moment."""
    with contextlib.closing(sqlite3.connect(home.accounts_file, timeout=30)) as live:
        live.isolation_level = None
        live.execute("BEGIN IMMEDIATE")  # nobody writes between the two files
        copy_witness(home.directory, folder)
        copy_database(home.accounts_file, folder / "accounts.sqlite")


def copy_witness(source: Path, target: Path) -> None:
    """Copy what a broker keeps beside its accounts, or remove it where there is none."""
    (target / "accounts.tip").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(source / "accounts.tip", target)


def put_back(home: BrokerHome, old: Path, *, whole: bool) -> None:
    """Put the accounts back: as files (``whole``; nobody has them open), or into the database that is being served."""
    if whole:
        for path in home.directory.glob("accounts.sqlite*"):
            path.unlink()
        shutil.copy(old / "accounts.sqlite", home.accounts_file)
        return
    copy_database(old / "accounts.sqlite", home.accounts_file)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database into another that may be open elsewhere."""
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)
