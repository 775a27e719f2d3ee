"""A broker and software releases: which it was given, which it vetoed, the highest version it admitted per contract.

``software/`` holds the signed releases; ``software.json`` what the broker decided and remembers. Both are part of a
backup. A veto and a remembered version stay whatever happens to the releases themselves.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from cloister.attest import releases
from cloister.attest.agreed import Agreed
from cloister.attest.releases import Highest, SoftwareRelease
from cloister.contract import relying
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.provider import files
from cloister.provider.home import BrokerHome
from cloister.receipt.receipt import Admission
from cloister.wire import canonical, documents, envelope
from cloister.wire.envelope import Envelope

MAX_RELEASE = 1 << 20


class Veto(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One veto: the version it was of, when, and why."""

    version: str
    time: str
    reason: str = ""


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``vetoed`` by the digest of the code: another document about it changes nothing. ``admitted`` by contract."""

    vetoed: dict[str, Veto] = {}
    admitted: dict[str, Highest] = {}


def read(home: BrokerHome) -> Memory:
    """Return what the broker decided and remembers.

    Raises:
        UnavailableError: ``release.file``: a memory that cannot be read lets nobody in.
    """
    try:
        return msgspec.json.decode(home.software_file.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.MsgspecError) as error:
        raise UnavailableError("release.file", "the memory of software releases cannot be read") from error


def load(path: Path) -> Envelope:
    """Return the signed release in a file, its signature checked.

    Raises:
        MalformedError: ``release.file``, ``release.malformed``, ``release.version``.
        SignatureError: Not signed by the signer it names.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RELEASE + 1)
        document = msgspec.json.decode(data[:MAX_RELEASE], type=Envelope)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("release.file", f"{path} is no signed release", next_step="check the path") from error
    releases.open_release(document)
    return document


def add(home: BrokerHome, document: Envelope) -> SoftwareRelease:
    """Keep a release; whether it counts is decided by each contract.

    Raises:
        CloisterError: As ``releases.open_release``.
    """
    release = releases.open_release(document)
    folder = files.private_directory(home.software_folder)
    files.write_private(
        folder / f"{releases.digest_of(document).removeprefix('sha256:')}.json", canonical.encode(document)
    )
    return release


def known(home: BrokerHome) -> tuple[Envelope, ...]:
    """Return the releases this broker was given; a file that is none counts for nothing."""
    found = []
    for path in sorted(home.software_folder.glob("*.json")):
        with contextlib.suppress(CloisterError):
            found.append(load(path))
    return tuple(found)


def veto(home: BrokerHome, document: Envelope, *, now: str, reason: str = "") -> SoftwareRelease:
    """Refuse the code of a release for good, whoever signs for it.

    Raises:
        CloisterError: As ``releases.open_release``; ``release.file``.
    """
    release = releases.open_release(document)
    veto_code(home, release.env_digest, Veto(release.version, now, reason))
    return release


def veto_code(home: BrokerHome, env_digest: str, one: Veto) -> None:
    """Refuse code by its digest; an earlier veto of it stays as it was.

    Raises:
        UnavailableError: ``release.file``.
    """
    with files.changing(home.software_file):
        memory = read(home)
        _write(home, msgspec.structs.replace(memory, vetoed={env_digest: one, **memory.vetoed}))


def remember(home: BrokerHome, contract: str, release: SoftwareRelease, *, now: str) -> None:
    """Remember the highest version admitted for a contract; a lower one changes nothing.

    Raises:
        UnavailableError: ``release.file``: what cannot be remembered is not admitted.
    """
    with files.changing(home.software_file):
        memory = read(home)
        held = memory.admitted.get(contract)
        highest = releases.highest_of([held, Highest(release.version, now)])
        if highest is not None and highest != held:
            try:
                _write(home, msgspec.structs.replace(memory, admitted={**memory.admitted, contract: highest}))
            except OSError as error:
                raise UnavailableError("release.file", "the admitted version cannot be remembered") from error


def agreed(home: BrokerHome, contract: Contract, digest: str, policy: str) -> Agreed:
    """Return what a contract and this broker's own decisions ask of an enclave.

    Raises:
        UnavailableError: ``release.file``.
    """
    memory = read(home)
    # What was admitted for a contract that this one amends, or its former does, was admitted here all the same.
    highest = releases.highest_of(memory.admitted.get(name) for name in _line(home, digest, contract))
    return relying.agreed(
        contract,
        policy=policy,
        documents=known(home) if contract.signed_software else (),
        highest=highest,
        vetoed={code: one.reason or f"version {one.version}" for code, one in memory.vetoed.items()},
    )


def _line(home: BrokerHome, digest: str, contract: Contract | None) -> list[str]:
    """Return the digests of a contract and of those it amends, as far as they are on file here."""
    found = []
    while digest and digest not in found:
        found.append(digest)
        if contract is None:
            known = home.contracts.get(digest)
            contract = None if known is None else known.contract
        digest, contract = ("" if contract is None else contract.former), None
    return found


def vetoed_session(home: BrokerHome, admission: bytes | None) -> str:
    """Return why a session that was admitted may not go on, "" if it may: a veto stops running vaults too.

    Raises:
        UnavailableError: ``release.file``.
    """
    vetoed = read(home).vetoed
    if not vetoed or admission is None:
        return ""
    document = documents.decode(admission, Envelope)
    one = vetoed.get(documents.decode(envelope.unverified_payload(document), Admission).env_digest)
    return "" if one is None else f"software release {one.version} was vetoed at this broker. {one.reason}".strip()


def find(home: BrokerHome, text: str) -> Envelope:
    """Return the release of a file, or else as ``named``.

    Raises:
        MalformedError: ``release.unknown``; as ``load``.
    """
    return load(Path(text)) if Path(text).is_file() else named(home, text)


def named(home: BrokerHome, text: str) -> Envelope:
    """Return the release of a digest or version among those this broker was given; never a file's.

    Raises:
        MalformedError: ``release.unknown``: there is none, or several.
    """
    found = [
        document
        for document in known(home)
        if text == releases.digest_of(document) or text == releases.open_release(document).version
    ]
    if len(found) != 1:
        raise MalformedError(
            "release.unknown", f"{len(found)} releases here are called {text!r}", next_step="name a digest"
        )
    return found[0]


def _write(home: BrokerHome, memory: Memory) -> None:
    files.write_private(home.software_file, canonical.encode(memory))
