"""Backup of a broker's directory into one file, and its restoration, after which the broker only reads.

The file holds every secret of the broker. It is as old as it is: what was charged afterwards is not in it, so a
restored broker signs nothing until ``cloister ledger recover`` has brought its accounts forward.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import msgspec

from cloister.errors import MalformedError, RefusedError, UnavailableError
from cloister.provider import checkpoints, event_log, files, restored
from cloister.provider.home import BrokerHome
from cloister.receipt.checkpoint import open_checkpoint, sign_checkpoint
from cloister.receipt.events import Event
from cloister.wire import canonical
from cloister.wire.envelope import Envelope

_MANIFEST = "backup.json"
_FOLDERS = ("contracts", "approvals", "keys", "software")
_FILES = (
    "broker.key", "policy.toml", "accounts.url", "roles.json", "revoked.json", "peers.json", "succession.json",
    "software.json", "endorsements.json", "alerts.toml",
)  # fmt: skip
_ACCOUNTS = "accounts.sqlite"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds (SHA-256 by name), and the signed checkpoint of its accounts."""

    broker: str
    time: str
    files: dict[str, str]
    checkpoint: Envelope
    version: int = 1


def backup(home: BrokerHome, target: Path, *, now: str) -> Manifest:
    """Write a backup (0600); the broker may go on serving meanwhile.

    Raises:
        RefusedError: ``backup.exists``; ``broker.restored``.
        UnavailableError: ``ledger.unavailable``, ``backup.file``.
    """
    if target.exists():
        raise RefusedError("backup.exists", f"{target} exists", next_step="choose another name")
    checkpoints.check_current(home)
    files.clear_leftovers(target)  # of a backup that was cut short: it holds every secret
    key, accounts = home.identity(), home.open_accounts()
    try:
        with accounts.database.transaction() as db:
            event_log.open_log(db, now)
            event_log.record(db, Event("backup", now, actor="owner"))
            document = sign_checkpoint(event_log.checkpoint(db, key.did, now), key)
    finally:
        accounts.close()
    contents = {name: (home.directory / name).read_bytes() for name in _FILES if (home.directory / name).exists()}
    for folder in _FOLDERS:
        # What begins with a dot is a lock, or what a write left that was cut short.
        for path in sorted((home.directory / folder).glob("[!.]*")):
            contents[f"{folder}/{path.name}"] = path.read_bytes()
    if not home.accounts_url.exists():
        contents[_ACCOUNTS] = _snapshot(home.accounts_file)
    manifest = Manifest(key.did, now, {name: _digest(data) for name, data in contents.items()}, document)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in {_MANIFEST: canonical.encode(manifest), **contents}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            tar.addfile(entry, io.BytesIO(data))
    try:
        files.write_private(target, packed.getvalue())
    except OSError as error:
        raise UnavailableError("backup.file", f"{target} cannot be written") from error
    return manifest


def restore(archive: Path, directory: Path, *, now: str) -> Manifest:
    """Make a broker's directory from a backup; it only reads until ``cloister ledger recover``.

    Raises:
        RefusedError: ``backup.exists``: there is something in the directory.
        MalformedError: ``backup.malformed``: not a backup, changed, or cut short.
    """
    if directory.exists() and any(directory.iterdir()):
        raise RefusedError("backup.exists", f"{directory} is not empty", next_step="restore into a new directory")
    manifest, contents = read(archive)
    home = BrokerHome(files.private_directory(directory))
    # The mark first: a restoration that is cut short must not look like a broker.
    stated = open_checkpoint(manifest.checkpoint, broker=manifest.broker)
    restored.set_mark(home, restored.Mark(f"restored from a backup of {manifest.time}", now, stated.events))
    for name, data in contents.items():
        files.private_directory((directory / name).parent)
        files.write_private(directory / name, data)
    return manifest


def read(archive: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Return a backup's manifest and files, every digest checked.

    Raises:
        MalformedError: ``backup.malformed``.
    """
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            contents = {entry.name: _bytes(tar, entry) for entry in tar}
        manifest = msgspec.json.decode(contents.pop(_MANIFEST), type=Manifest)
    except (OSError, EOFError, KeyError, tarfile.TarError, msgspec.MsgspecError) as error:
        raise MalformedError("backup.malformed", f"{archive} is no backup: {error}") from error
    if manifest.files != {name: _digest(data) for name, data in contents.items()}:
        raise MalformedError("backup.malformed", f"{archive} does not hold what its manifest says")
    for name in contents:
        folder, _, rest = name.rpartition("/")
        known = name in (*_FILES, _ACCOUNTS) or (folder in _FOLDERS and not rest.startswith("."))
        if not known:
            raise MalformedError("backup.malformed", f"a backup holds no {name!r}")
    return manifest, contents


def _bytes(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(entry) if entry.isfile() else None
    if source is None:
        raise tarfile.TarError(f"{entry.name} is no file")
    return source.read()


def _snapshot(path: Path) -> bytes:
    """Return the database as of one moment, whoever writes to it meanwhile."""
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(":memory:")) as copy:
        live.backup(copy)
        return copy.serialize()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
