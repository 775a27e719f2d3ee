"""The data keys of a broker's capsules: what is kept of each, what a vault is given of it, and how it is destroyed.

Keys lie in files of mode 0600, one per capsule. A vault gets what its contract covers (``contract.coverage``), derived
from the data key, which itself never leaves.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from cloister.attest.encoding import unb64
from cloister.contract import coverage
from cloister.contract.capsule import KEY_BYTES
from cloister.contract.capsule_keys import TableKeys, encode_sent, group_key, table_secret
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.provider import files


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
    """When and why a key was destroyed, and whether the event log has it."""

    time: str
    cause: str
    reason: str = ""
    contract: str = ""
    told: bool = False


class _Former(msgspec.Struct, frozen=True):
    """What a data key was before capsules had column keys."""

    manifest: str
    table: str
    grade: str
    key: str


class DataKeys:
    """Data keys by manifest digest, one private file each; what was destroyed leaves a mark that says so.

    A key whose mark is there is not given out, even if its file came back with a copy of the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, key: DataKey) -> None:
        """Keep a data key.

        Raises:
            RefusedError: ``capsule.shredded``.
        """
        if self.gone(key.manifest) is not None:
            raise RefusedError("capsule.shredded", "this key was destroyed", next_step="seal the table again")
        files.private_directory(self._directory)
        files.write_private(self._path(key.manifest), msgspec.json.encode(key))

    def get(self, manifest: str) -> DataKey | None:
        """Return the key of a capsule, if this broker holds it.

        Raises:
            TrustError: ``file.permissions``.
            MalformedError: ``keys.file``.
        """
        path = self._path(manifest)
        if not path.exists() or self.gone(manifest) is not None:
            return None
        body = files.read_private(path)
        try:
            key = msgspec.json.decode(body, type=DataKey)
        except msgspec.MsgspecError as error:
            raise _unreadable(path, body) from error
        if key.manifest != manifest:
            raise MalformedError("keys.file", f"{path} holds the key of another capsule")
        return key

    def wipe(self, manifest: str, gone: Gone) -> bool:
        """Destroy the key of a capsule; return whether there was one. The capsule can then never be opened here.

        The mark is written first: whatever happens in between, a key that is to go is not given out again.
        """
        path = self._path(manifest)
        if not path.exists():
            return False
        if self.gone(manifest) is None:
            files.write_private(self._mark(manifest), msgspec.json.encode(gone))
        files.overwrite(path)
        return True

    def gone(self, manifest: str) -> Gone | None:
        """Return when and why the key of a capsule was destroyed; None if it was not.

        Raises:
            TrustError: ``file.permissions``.
            MalformedError: ``keys.file``.
        """
        path = self._mark(manifest)
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(files.read_private(path), type=Gone)
        except msgspec.MsgspecError as error:
            raise MalformedError("keys.file", f"{path} is not the mark of a destroyed key") from error

    def holds(self, manifest: str) -> bool:
        """Whether there is a key of a capsule, readable or not, that was not destroyed."""
        return self._path(manifest).exists() and not self._mark(manifest).exists()

    def manifests(self) -> tuple[str, ...]:
        """Return the capsules whose keys are held."""
        found = sorted(f"sha256:{path.stem}" for path in self._directory.glob("*.key"))
        return tuple(manifest for manifest in found if self.holds(manifest))

    def retain_until(self, manifest: str) -> str:
        """Return until when a key is kept; ``""``: no time was said, or the key cannot be read."""
        with contextlib.suppress(CloisterError):
            key = self.get(manifest)
            return "" if key is None else key.retain_until
        return ""

    def destroyed(self) -> tuple[tuple[str, Gone], ...]:
        """Return the marks of destroyed keys, by manifest."""
        names = sorted(f"sha256:{path.stem}" for path in self._directory.glob("*.gone"))
        return tuple((name, gone) for name in names if (gone := self.gone(name)) is not None)

    def untold(self) -> tuple[tuple[str, Gone], ...]:
        """Return the marks that the event log does not have yet."""
        return tuple((name, gone) for name, gone in self.destroyed() if not gone.told)

    def told(self, manifest: str) -> None:
        """Note that the event log has the mark of a key."""
        if (gone := self.gone(manifest)) is not None:
            files.write_private(self._mark(manifest), msgspec.json.encode(msgspec.structs.replace(gone, told=True)))

    def _mark(self, manifest: str) -> Path:
        return self._path(manifest).with_suffix(".gone")

    def _path(self, manifest: str) -> Path:
        name = manifest.removeprefix("sha256:")
        if len(name) != 64 or set(name) - set("0123456789abcdef"):
            raise MalformedError("keys.digest", "a capsule is named by the digest of its manifest")
        return self._directory / f"{name}.key"


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
