"""``cloister attest check``: runs a manifest of evidence from its folder; every file must be the one it names."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from cloister.attest import roots as packaged
from cloister.attest.evidence import RejectedError
from cloister.attest.tee import manifest as manifests
from cloister.attest.tee import x509
from cloister.attest.tee.examined import Roots
from cloister.attest.tee.formats import FORMATS
from cloister.attest.tee.manifest import Case, Manifest
from cloister.errors import CloisterError, MalformedError, UnavailableError

_LOOK = "look at the manifest's paths and at --base"
MAX_FILE = 8 << 20


class Line(msgspec.Struct, frozen=True):
    """One case as it came out; ``wrong`` is empty if all is as expected."""

    id: str
    verdict: str
    reason: str
    wrong: str

    def __str__(self) -> str:
        verdict = f"{self.verdict} {self.reason}".strip()
        return f"{self.id}  {verdict}  " + (f"MISMATCH ({self.wrong})" if self.wrong else "ok")


def load(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises:
        UnavailableError: It cannot be read.
        MalformedError: It is not of the schema.
    """
    return manifests.parse(_read(path, "the manifest"))


def run(manifest: Manifest, base: Path, *, at: datetime | None = None) -> list[Line]:
    """Run every case over the files under ``base``; ``at`` replaces every case's own time."""
    return [_guarded(case, manifest, base, at) for case in manifest.vectors]


def _guarded(case: Case, manifest: Manifest, base: Path, at: datetime | None) -> Line:
    """Run one case: a verifier that fails on it neither passes it nor hides the others."""
    try:
        return _line(case, manifest, base, at)
    except Exception as error:  # noqa: BLE001 (boundary: stored evidence may be anybody's)
        return Line(case.id, "error", "evidence.malformed", f"the verifier failed ({type(error).__name__})")


def _line(case: Case, manifest: Manifest, base: Path, at: datetime | None) -> Line:
    try:
        blob = _file(base, case.evidence, case.evidence_sha256)
        known = FORMATS.get((case.tee, case.format))
        endorsements: dict[str, bytes] = {}
        if known and case.endorsements is not None:
            if not known.endorsement:
                raise MalformedError("manifest.endorsements", f"{case.format} takes no endorsements")
            if case.endorsements_sha256 is None:
                raise MalformedError("manifest.malformed", "endorsements without their sha256")
            endorsements[known.endorsement] = _file(base, case.endorsements, case.endorsements_sha256)
        if known and case.event_log is not None:
            if not known.event_log:
                raise MalformedError("manifest.endorsements", f"{case.format} takes no event log")
            endorsements[known.event_log] = _file(base, case.event_log, case.event_log_sha256)
        roots = _roots(base, case, known.vendors if known else ())
        outcome = manifests.judge(case, blob, endorsements, roots, at or manifests.time_of(case, manifest))
    except CloisterError as error:
        return Line(case.id, "error", error.code, error.reason)
    return Line(case.id, outcome.verdict, outcome.reason, "; ".join(outcome.differences))


def _roots(base: Path, case: Case, vendors: tuple[str, ...]) -> Roots:
    """Return the roots a case names. A manifest chooses among the packaged ones; it cannot bring its own."""
    if not case.roots:
        return tuple(certificate for vendor in vendors for certificate in packaged.of(vendor))
    found: list[x509.Certificate] = []
    for name in case.roots:
        try:
            found += x509.parse_pem(_file(base, name, None))
        except RejectedError as error:
            raise MalformedError("manifest.root", f"{name}: {error.reason}") from error
    if not all(map(packaged.is_pinned, found)):
        raise MalformedError("manifest.root", "a root that is none of the packaged ones")
    return tuple(found)


def _file(base: Path, name: str, sha256: str | None) -> bytes:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise MalformedError("manifest.path", f"{name!r} is not a path under the manifest's folder")
    data = _read(base / path, name)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise MalformedError("manifest.sha256", f"{name} is not the file the manifest names: its SHA-256 differs")
    return data


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            "manifest.file", f"{what} cannot be read ({type(error).__name__})", next_step=_LOOK
        ) from error
    if len(data) > MAX_FILE:
        raise MalformedError("manifest.file", f"{what} is larger than {MAX_FILE >> 20} MiB", next_step=_LOOK)
    return data
