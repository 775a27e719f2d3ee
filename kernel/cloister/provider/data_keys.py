"""The data keys of a broker's capsules: what is kept of each, what a vault is given of it, and how it is destroyed.

Keys lie in files of mode 0600, one per capsule. A vault gets what its contract covers (``contract.coverage``), derived
from the data key, which itself never leaves.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from cloister.attest.encoding import unb64
from cloister.contract import coverage
from cloister.contract.capsule import KEY_BYTES
from cloister.contract.capsule_keys import TableKeys, encode_sent, group_key, table_secret
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.provider import files

_MOMENT = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z"
_TIME = re.compile(_MOMENT)
_RETAIN = re.compile(rb'"retain_until":"(' + _MOMENT + rb')"')


class KeyedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a capsule: its card, the digest of that as signed, and the columns of each column group."""

    card: Card
    digest: str
    groups: tuple[tuple[str, ...], ...]


class DataKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key of one capsule (base64), what the capsule holds, and when the key is destroyed (RFC 3339, or ``""``)."""

    manifest: str
    key: str
    tables: tuple[KeyedTable, ...]
    retain_until: str = ""
    version: Literal[2] = 2

    def raw(self) -> bytes:
        """Return the 32 bytes of the key."""
        return unb64(self.key, size=KEY_BYTES)

    def table(self, name: str) -> KeyedTable | None:
        """Return what is known of a table of the capsule."""
        return next((one for one in self.tables if one.card.name == name), None)

    def secret(self, table: str) -> bytes:
        """Return the secret of a table (``contract.capsule_keys``)."""
        return table_secret(self.raw(), table)

    def covered(self, contract: Contract) -> bytes:
        """Return what a vault of this contract is given: keys of the column groups it covers, and no others."""
        named = {terms.name for terms in contract.tables if terms.manifest == self.manifest}
        sent = {}
        for one in self.tables:
            if (name := one.card.name) in named:
                columns = coverage.covered(contract, one.card)
                keys = {
                    number: group_key(self.raw(), name, number)
                    for number, group in enumerate(one.groups)
                    if not columns.isdisjoint(group)
                }
                sent[name] = TableKeys(self.secret(name), keys)
        return encode_sent(sent)


class Gone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When and why a key was destroyed, by whom (``owner`` or a did), and whether the event log has it."""

    time: str
    cause: str
    reason: str = ""
    contract: str = ""
    told: bool = False
    actor: str = "owner"


class Withheld(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Since when and why a key is not given out: it may have been destroyed in a time that nothing proves."""

    time: str
    reason: str


_Mark = TypeVar("_Mark", Gone, Withheld)


class _Former(msgspec.Struct, frozen=True):
    """What a data key was before capsules had column keys."""

    manifest: str
    table: str
    grade: str
    key: str


class DataKeys:
    """Data keys by manifest digest, one private file each; what was destroyed leaves a mark that says so.

    ``X.key`` is the key, ``X.until`` when it is destroyed (readable where the key is damaged), ``X.gone`` the mark of a
    destroyed one, ``X.withheld`` that of one that waits for its owner's word. A marked key is not given out, even if
    its file came back with a copy of the directory. Changes take turns, between processes too.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, key: DataKey) -> None:
        """Keep a data key.

        Raises:
            RefusedError: ``capsule.shredded``.
        """
        path, until = self._path(key.manifest), self._beside(key.manifest, "until")
        with self._changing():
            if self.gone(key.manifest) is not None:
                raise RefusedError("capsule.shredded", "this key was destroyed", next_step="seal the table again")
            if key.retain_until:
                files.write_private(until, key.retain_until.encode())
            files.replace_secret(path, msgspec.json.encode(key))
            if not key.retain_until:
                until.unlink(missing_ok=True)

    def get(self, manifest: str) -> DataKey | None:
        """Return the key of a capsule, if this broker holds it and it is not withheld.

        Raises:
            TrustError: ``file.permissions``.
            MalformedError: ``keys.file``.
        """
        return None if self.withheld(manifest) is not None else self.look(manifest)

    def look(self, manifest: str) -> DataKey | None:
        """Return the key of a capsule though it be withheld: for the owner to see what it is of.

        Raises:
            TrustError: ``file.permissions``.
            MalformedError: ``keys.file``.
        """
        path = self._path(manifest)
        try:
            body = files.read_private(path)
        except FileNotFoundError:
            return None
        if self.gone(manifest) is not None:  # asked after it was read: it may have been overwritten meanwhile
            return None
        try:
            key = msgspec.json.decode(body, type=DataKey)
        except msgspec.MsgspecError as error:
            raise _unreadable(path, body) from error
        if key.manifest != manifest:
            raise MalformedError("keys.file", f"{path} holds the key of another capsule")
        return key

    def wipe(self, manifest: str, gone: Gone, *, unseen: bool = False) -> bool:
        """Destroy the key of a capsule; return whether there was one. The capsule can then never be opened here.

        The mark is written first: whatever happens in between, a key that is to go is not given out again. ``unseen``:
        leave the mark also where there is no key, so that none is taken up.

        Raises:
            UnavailableError: ``keys.wipe``.
        """
        self._path(manifest)
        if not self._directory.exists() and not unseen:
            return False
        with self._changing():
            return self._wipe(manifest, gone, unseen=unseen)

    def wipe_all(self, gone: Gone) -> tuple[str, ...]:
        """Destroy every key, and let none be added in between; return the capsules they were of.

        Raises:
            UnavailableError: ``keys.wipe``: of one of them; the others are gone.
        """
        failed: UnavailableError | None = None
        found: list[str] = []
        with self._changing():
            for manifest in self.manifests():
                try:
                    self._wipe(manifest, gone)
                    found.append(manifest)
                except UnavailableError as error:
                    failed = error
        if failed is not None:
            raise failed
        return tuple(found)

    def clear_leftovers(self) -> int:
        """Overwrite copies of keys that a crash left beside them; return how many there were."""
        if not self._directory.exists():
            return 0
        with self._changing():
            found = sorted(self._directory.glob(".*.tmp"))
            for path in found:
                files.overwrite(path)
            return len(found)

    def gone(self, manifest: str) -> Gone | None:
        """Return when and why the key of a capsule was destroyed; None if it was not. A damaged mark is a mark."""
        return _mark(self._beside(manifest, "gone"), Gone, Gone("", "unknown", "its mark cannot be read", told=True))

    def withhold(self, manifest: str, why: Withheld) -> None:
        """Give a key out no more until its owner says that it is to be kept."""
        with self._changing():
            files.write_private(self._beside(manifest, "withheld"), msgspec.json.encode(why))

    def withheld(self, manifest: str) -> Withheld | None:
        """Return since when and why a key is withheld; None if it is not. A damaged mark is a mark."""
        return _mark(self._beside(manifest, "withheld"), Withheld, Withheld("", "its mark cannot be read"))

    def keep(self, manifest: str) -> None:
        """Give a withheld key out again."""
        if self._directory.exists():
            with self._changing():
                self._beside(manifest, "withheld").unlink(missing_ok=True)

    def holds(self, manifest: str) -> bool:
        """Whether there is a key of a capsule, readable or not, that was not destroyed."""
        return self._path(manifest).exists() and not self._beside(manifest, "gone").exists()

    def manifests(self) -> tuple[str, ...]:
        """Return the capsules whose keys are held."""
        found = sorted(f"sha256:{path.stem}" for path in self._directory.glob("*.key"))
        return tuple(manifest for manifest in found if self.holds(manifest))

    def retain_until(self, manifest: str) -> str:
        """Return until when a key is kept; ``""``: no time was said, or none can be read of a damaged key."""
        found = []
        with contextlib.suppress(OSError):
            found += _TIME.findall(self._beside(manifest, "until").read_bytes())
        with contextlib.suppress(OSError):
            # As it is written, and where it can be read: not even a file's permissions keep a key beyond its time.
            found += _RETAIN.findall(self._path(manifest).read_bytes())
        return min(found, default=b"").decode("ascii")

    def damaged(self) -> tuple[str, ...]:
        """Return the capsules whose keys cannot be read, and of which no time is known at which they go."""
        found = []
        for manifest in self.manifests():
            try:
                self.look(manifest)
            except CloisterError:
                found += [] if self.retain_until(manifest) else [manifest]
        return tuple(found)

    def destroyed(self) -> tuple[tuple[str, Gone], ...]:
        """Return the marks of destroyed keys, by manifest."""
        names = sorted(f"sha256:{path.stem}" for path in self._directory.glob("*.gone"))
        return tuple((name, gone) for name in names if (gone := self.gone(name)) is not None)

    def untold(self) -> tuple[tuple[str, Gone], ...]:
        """Return the marks that the event log does not have yet."""
        return tuple((name, gone) for name, gone in self.destroyed() if not gone.told)

    def told(self, manifest: str) -> None:
        """Note that the event log has the mark of a key."""
        with self._changing():
            if (gone := self.gone(manifest)) is not None and not gone.told:
                self._write_mark(manifest, msgspec.structs.replace(gone, told=True))

    def _wipe(self, manifest: str, gone: Gone, *, unseen: bool = False) -> bool:
        path = self._path(manifest)
        there = path.exists()
        if there or unseen:
            marked = self.gone(manifest) is not None
            # A disk that is too full for the mark is not too full for zeros.
            with contextlib.suppress(OSError):
                if not marked:
                    self._write_mark(manifest, gone)
                    marked = True
            try:
                files.clear_leftovers(path)
                if there:
                    files.overwrite(path)
                if not marked:
                    self._write_mark(manifest, gone)
            except OSError as error:
                raise UnavailableError(
                    "keys.wipe",
                    f"{path} cannot be overwritten: {error.strerror}",
                    next_step="it is given out no more; let the file be written to, and `cloister broker sweep`",
                ) from error
        else:
            files.clear_leftovers(path)
        return there

    def _write_mark(self, manifest: str, gone: Gone) -> None:
        files.write_private(self._beside(manifest, "gone"), msgspec.json.encode(gone))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        files.private_directory(self._directory)
        with files.changing(self._directory / "keys"):
            yield

    def _beside(self, manifest: str, what: str) -> Path:
        return self._path(manifest).with_suffix(f".{what}")

    def _path(self, manifest: str) -> Path:
        name = manifest.removeprefix("sha256:")
        if len(name) != 64 or set(name) - set("0123456789abcdef"):
            raise MalformedError("keys.digest", "a capsule is named by the digest of its manifest")
        return self._directory / f"{name}.key"


def _mark(path: Path, kind: type[_Mark], damaged: _Mark) -> _Mark | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return damaged


def _unreadable(path: Path, body: bytes) -> MalformedError:
    try:
        former = msgspec.json.decode(body, type=_Former)
    except msgspec.MsgspecError:
        return MalformedError("keys.file", f"{path} is not a data key")
    return MalformedError(
        "keys.version",
        f"the key of {former.table} is of an earlier version, whose keys open all of a capsule or nothing",
        next_step="seal the table again, and sign a contract that pins the new manifest",
    )
