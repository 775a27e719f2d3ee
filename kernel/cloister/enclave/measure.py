"""``env_digest``: what code this enclave runs, hashed once when the agent starts.

SHA-384 over canonical JSON of, exactly:

* every file of the ``cloister`` package that this process was loaded from: path, size and SHA-256 of all its bytes;
* the wheels the vault computes with (``MEASURED_WHEELS``): every installed file listed in their RECORD, all bytes;
* every other installed distribution: name, version and the SHA-256 of its RECORD (which lists the hashes of its files
  as installed; a file changed afterwards is not noticed here);
* the interpreter's executable (all bytes), its version and the platform.

Not covered: ``__pycache__``, the standard library's files, system libraries, the kernel. On hardware those are covered
by the launch measurement (dm-verity, initrd), without which ``env_digest`` affirms nothing (attestation.md section 2).
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

import cloister
from cloister.errors import UnavailableError
from cloister.wire import canonical

MEASURED_WHEELS = ("cffi", "cryptography", "duckdb", "msgspec", "opendp")
SCHEMA = "cloister/env/v1"
_SKIPPED = ("__pycache__",)


class Measurement(msgspec.Struct, frozen=True):
    """What was measured: the digest, the document it digests, and how much each part covers."""

    digest: str
    document: dict[str, Any]
    coverage: dict[str, Any]


def measure(package: Path | None = None) -> Measurement:
    """Measure the code on disk; ``package`` is the folder of the ``cloister`` package (default: the running one).

    Raises:
        UnavailableError: A file to measure cannot be read: an enclave that cannot say what it is must not start.
    """
    root = package_folder() if package is None else package
    try:
        own = _hash_all(root, _package_files(root))
        wheels: dict[str, Any] = {}
        records: list[tuple[str, str, str]] = []
        for name, version, distribution in _distributions():
            if name in MEASURED_WHEELS:
                wheels[name] = {"version": version, "files": _wheel_files(distribution)}
            else:
                records.append((name, version, _record_digest(distribution)))
        executable = _sha256(Path(sys.executable).resolve())
    except OSError as error:
        raise UnavailableError("measure.unreadable", f"cannot measure the code: {error.strerror}") from error
    document = {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "platform": sys.platform + "-" + platform.machine(),
        "executable": executable,
        "package": own,
        "wheels": wheels,
        "records": sorted(records),
    }
    coverage = {
        "files": len(own),
        "wheels": sorted(wheels),
        "records": len(records),
        "not_covered": ["bytecode caches", "standard library", "system libraries", "kernel"],
    }
    digest = "sha384:" + hashlib.sha384(canonical.encode(document)).hexdigest()
    return Measurement(digest, document, coverage)


def package_folder() -> Path:
    """Return the folder of the running ``cloister`` package; child processes import the same one."""
    return Path(cloister.__file__).resolve().parent


def _package_files(root: Path) -> Iterable[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not set(path.parts) & set(_SKIPPED))


def _distributions() -> list[tuple[str, str, metadata.Distribution]]:
    """Return every installed distribution once, by normalised name, with its version."""
    found: dict[str, tuple[str, metadata.Distribution]] = {}
    for distribution in metadata.distributions():
        # Each access parses the whole file.
        fields = distribution.metadata
        name = (fields["Name"] or "").lower().replace("_", "-")
        # The first one found on sys.path is the one that is imported.
        found.setdefault(name, (fields["Version"], distribution))
    return [(name, *found[name]) for name in sorted(found)]


def _wheel_files(distribution: metadata.Distribution) -> list[tuple[str, int, str]]:
    root = Path(str(distribution.locate_file(""))).resolve()
    listed = [root / str(file) for file in distribution.files or () if not set(file.parts) & set(_SKIPPED)]
    return _hash_all(root, (path for path in listed if path.is_file() and path.is_relative_to(root)))


def _hash_all(root: Path, paths: Iterable[Path]) -> list[tuple[str, int, str]]:
    ordered = sorted(paths)
    # Hashing releases the interpreter lock; the two large engines dominate.
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(_sha256, ordered))
    return [
        (path.relative_to(root).as_posix(), path.stat().st_size, digest)
        for path, digest in zip(ordered, digests, strict=True)
    ]


def _record_digest(distribution: metadata.Distribution) -> str:
    record = distribution.read_text("RECORD") or distribution.read_text("METADATA") or ""
    return hashlib.sha256(record.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
