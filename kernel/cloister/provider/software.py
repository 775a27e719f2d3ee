"""A broker and software releases: which it was given, which it vetoed, the highest version it admitted per contract.

``software/`` holds the signed releases; ``software.json`` what the broker decided and remembers. Both are part of a
backup, and the event log tells both: a recovery brings them forward. A veto and a remembered version stay whatever
happens to the releases themselves. A veto is of the code and of every launch that its release was measured in.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from cloister.attest import releases
from cloister.attest.agreed import Agreed
from cloister.attest.references import Launch, launch_of
from cloister.attest.releases import Highest, SoftwareRelease
from cloister.contract import relying
from cloister.contract.terms import Contract
from cloister.errors import CloisterError, MalformedError, TrustError, UnavailableError
from cloister.provider import files
from cloister.provider.accounts import Launched
from cloister.provider.home import BrokerHome
from cloister.receipt.receipt import Admission
from cloister.wire import canonical, documents, envelope
from cloister.wire.envelope import Envelope

MAX_RELEASE = 1 << 20
_LONG_AGO = "1970-01-01T00:00:00Z"


class Veto(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One veto: the version it was of, when, and why."""

    version: str
    time: str
    reason: str = ""


class VetoedLaunch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A launch that was vetoed, whatever code is said to run there."""

    launch: Launch
    veto: Veto


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a broker decided and remembers.

    ``vetoed`` by the digest of the code: another document about it changes nothing. ``launches`` by measurement.
    ``admitted`` by contract. ``lost`` is when a recovery burnt a gap, in which higher versions may have been admitted;
    contracts in ``confirmed`` have the owner's word for their least version since.
    """

    vetoed: dict[str, Veto] = {}
    admitted: dict[str, Highest] = {}
    launches: tuple[VetoedLaunch, ...] = ()
    lost: str = ""
    confirmed: tuple[str, ...] = ()


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
    """Refuse the code of a release, and every launch it is measured in, for good, whoever signs for it.

    Raises:
        CloisterError: As ``releases.open_release``; ``release.file``.
    """
    release = releases.open_release(document)
    said = Veto(release.version, now, reason)
    veto_code(home, release.env_digest, said)
    for launch in launches_of(release):
        veto_launch(home, launch, said)
    return release


def launches_of(release: SoftwareRelease) -> tuple[Launch, ...]:
    """Return the launches that a release states, one for each TEE whose launch covers code."""
    found = (launch_of(one.tee, one.launch) for one in release.references)
    return tuple(one for one in found if one.measurements)


def veto_code(home: BrokerHome, env_digest: str, one: Veto) -> None:
    """Refuse code by its digest; an earlier veto of it stays as it was.

    Raises:
        UnavailableError: ``release.file``.
    """
    with files.changing(home.software_file):
        memory = read(home)
        _write(home, msgspec.structs.replace(memory, vetoed={env_digest: one, **memory.vetoed}))


def veto_launch(home: BrokerHome, launch: Launch, one: Veto) -> None:
    """Refuse a launch by its measurements; an earlier veto of it stays as it was.

    Raises:
        UnavailableError: ``release.file``.
    """
    with files.changing(home.software_file):
        memory = read(home)
        if all(known.launch != launch for known in memory.launches):
            _write(home, msgspec.structs.replace(memory, launches=(*memory.launches, VetoedLaunch(launch, one))))


def least(home: BrokerHome, contract: str, version: str) -> None:
    """Admit nothing below a version for a contract from now on, without an overlap: the owner says so.

    Raises:
        MalformedError: ``release.version``.
        UnavailableError: ``release.file``.
    """
    releases.version_key(version)
    with files.changing(home.software_file):
        memory = read(home)
        highest = releases.highest_of([memory.admitted.get(contract), Highest(version, _LONG_AGO)])
        admitted = memory.admitted if highest is None else {**memory.admitted, contract: highest}
        confirmed = tuple(sorted({*memory.confirmed, contract}))
        _write(home, msgspec.structs.replace(memory, admitted=admitted, confirmed=confirmed))


def lose(home: BrokerHome, *, now: str) -> None:
    """Note that higher versions than are remembered may have been admitted: nothing is, until the owner says which.

    Raises:
        UnavailableError: ``release.file``.
    """
    with files.changing(home.software_file):
        _write(home, msgspec.structs.replace(read(home), lost=now, confirmed=()))


def remember(home: BrokerHome, contract: str, release: SoftwareRelease, *, now: str) -> None:
    """Remember the highest version admitted for a contract; a lower one changes nothing.

    Raises:
        UnavailableError: ``release.file``: what cannot be remembered is not admitted.
    """
    remember_version(home, contract, Highest(release.version, now))


def remember_version(home: BrokerHome, contract: str, seen: Highest) -> None:
    """Remember a version that was admitted at a moment.

    Raises:
        UnavailableError: ``release.file``.
    """
    with files.changing(home.software_file):
        memory = read(home)
        held = memory.admitted.get(contract)
        highest = releases.highest_of([held, seen])
        if highest is not None and highest != held:
            try:
                _write(home, msgspec.structs.replace(memory, admitted={**memory.admitted, contract: highest}))
            except OSError as error:
                raise UnavailableError("release.file", "the admitted version cannot be remembered") from error


def agreed(home: BrokerHome, contract: Contract, digest: str, policy: str) -> Agreed:
    """Return what a contract and this broker's own decisions ask of an enclave.

    Raises:
        UnavailableError: ``release.file``.
        TrustError: ``release.lost``: what was admitted before is not known any more.
    """
    memory = read(home)
    line = _line(home, digest, contract)
    if contract.signed_software and memory.lost and not set(line) & set(memory.confirmed):
        raise TrustError(
            "release.lost",
            f"a recovery at {memory.lost} burnt a gap in which a higher version may have been admitted",
            clause="software",
            next_step="the provider says the least version: `cloister release least BROKER CONTRACT VERSION`",
        )
    # What was admitted for a contract that this one amends, or its former does, was admitted here all the same.
    highest = releases.highest_of(memory.admitted.get(name) for name in line)
    return relying.agreed(
        contract,
        policy=policy,
        documents=known(home) if contract.signed_software else (),
        highest=highest,
        **_vetoes(memory),
    )


def _vetoes(memory: Memory) -> dict[str, Any]:
    return {
        "vetoed": {code: _why(one) for code, one in memory.vetoed.items()},
        "launches": tuple((one.launch, _why(one.veto)) for one in memory.launches),
    }


def _why(one: Veto) -> str:
    return one.reason or f"version {one.version}"


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


def vetoed_session(home: BrokerHome, admission: bytes | None, launch: Launched | None) -> tuple[str, str]:
    """Return status and reason if a session that was admitted may not go on, two empty texts if it may.

    A veto stops running vaults too. One of whose launch nothing is on record has to prove itself again.

    Raises:
        UnavailableError: ``release.file``.
    """
    memory = read(home)
    if not (memory.vetoed or memory.launches) or admission is None:
        return "", ""
    document = documents.decode(admission, Envelope)
    code = documents.decode(envelope.unverified_payload(document), Admission).env_digest
    if launch is None and memory.launches:
        return "session.unknown", "what was measured of this vault's launch is not on record"
    known = Launched("", {}) if launch is None else launch
    why = Agreed(**_vetoes(memory)).veto_of(code, known.tee, known.launch)
    return ("", "") if why is None else ("contract.inactive", why)


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
