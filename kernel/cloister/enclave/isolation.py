"""How well the sandbox is isolated: what this kernel offers, what was achieved, and what that permits.

The achieved level is a plain dict that goes into evidence. ``FEATURES`` is the one table behind it: for every
feature the line in evidence, what is lost without it and what still holds; ``docs/isolation.md`` shows it and
a test compares the two. Isolation protects the vault from notebook code; it is no protection against the owner
of the machine, whatever the level.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from cloister.confine import landlock, process, seccomp
from cloister.confine.libc import LINUX
from cloister.confine.paths import interpreter_paths

Level = Literal["full", "reduced", "none"]
SCOPES_ABI = 6
FIRST_OWN_UID = 640000


class Feature(msgspec.Struct, frozen=True):
    """One feature of the kernel or the installation: its line in evidence when missing, and what that means."""

    name: str
    missing_line: str
    without: Level
    lost: str
    still_holds: str


FEATURES: tuple[Feature, ...] = (
    Feature(
        "Landlock (Linux 5.13)",
        '"landlock": 0',
        "none",
        "Files of the same user can be opened: the capsules' ciphertext, the trust store, the broker's database. "
        "ptrace is stopped by seccomp alone.",
        "No network, no other program, no fork, no ptrace or signals (seccomp); limits; the vault's memory stays "
        "unreadable (not dumpable). Demonstration data only.",
    ),
    Feature(
        "seccomp filters on a known architecture",
        '"seccomp": "none"',
        "none",
        "UDP, Unix sockets of the desktop, other programs, prlimit and scheduling of the vault, "
        "chmod of the user's files.",
        "Files, TCP, signals and abstract sockets as far as Landlock's ABI goes. Demonstration data only.",
    ),
    Feature(
        "Landlock ABI 2 (Linux 5.19): moving files between folders",
        '"landlock": 1',
        "reduced",
        "Nothing: below ABI 2 such moves are always refused, inside the work folder too.",
        "Everything.",
    ),
    Feature(
        "Landlock ABI 3 (Linux 6.2): truncation",
        '"landlock": 2',
        "reduced",
        "Landlock no longer covers truncation.",
        "Everything: seccomp refuses truncate() and truncating opens of files not opened for writing.",
    ),
    Feature(
        "Landlock ABI 4 (Linux 6.7): TCP",
        '"landlock": 3',
        "reduced",
        "The second lock on TCP.",
        "Everything: seccomp refuses every socket but Unix streams, and connect() and bind() on those.",
    ),
    Feature(
        "Landlock ABI 5 (Linux 6.10): ioctl on devices",
        '"landlock": 4',
        "reduced",
        "The second lock on device commands.",
        "Everything: seccomp allows six harmless commands, and no device but null, zero and urandom can be opened.",
    ),
    Feature(
        "Landlock ABI 6 (Linux 6.12): signals and abstract Unix sockets",
        '"landlock": 5',
        "reduced",
        "The second lock on signals and abstract sockets.",
        "Everything: seccomp allows signals to this process only, and no connect().",
    ),
    Feature(
        "An own uid (started as root, interpreter readable by others)",
        '"uid": "shared"',
        "reduced",
        "The second lock on files, and a separate limit on processes.",
        "Files by Landlock; chmod, chown and utime do nothing (seccomp); memory of others by capabilities dropped, "
        "Landlock and not dumpable; prlimit and scheduling by seccomp.",
    ),
    Feature(
        "Isolation as a whole (macOS, Windows, old kernels, sandboxes that forbid it)",
        '"level": "none"',
        "none",
        "Notebook code runs with the user's rights.",
        "The vault is a process of its own and accepts plans only. Demonstration data only; the badge is red.",
    ),
)


class IsolationReport(msgspec.Struct, frozen=True):
    """What this kernel offers before anything is applied."""

    system: str
    landlock: int
    seccomp: bool
    own_uid: bool

    @property
    def level(self) -> Level:
        """The best level a sandbox can reach here; the jail reports the one it did reach."""
        return level_of(self.landlock, self.seccomp, own_uid=self.own_uid)


def probe(work: Path | None = None) -> IsolationReport:
    """Ask the kernel what it offers; changes nothing.

    Args:
        work: The folder that will hold the sandboxes' work folders. Whether a sandbox can have its own uid depends
            on it; without it the answer is no.
    """
    return IsolationReport(
        system=f"{platform.system()} {platform.release()}",
        landlock=min(landlock.abi(), landlock.NEWEST_ABI),
        seccomp=seccomp.available(),
        own_uid=work is not None and can_have_own_uid(FIRST_OWN_UID, work),
    )


def can_have_own_uid(uid: int, folder: Path) -> bool:
    """Say whether a sandbox working in ``folder`` could run as ``uid`` and still read its interpreter."""
    if not LINUX:
        return False
    needed = (Path(sys.executable), Path(os.__file__), *interpreter_paths())
    reachable = all(parent.stat().st_mode & 0o001 for parent in (folder.resolve(), *folder.resolve().parents))
    return reachable and process.can_become(uid, needed)


def level_of(landlock_abi: int, allowlist: bool, *, own_uid: bool) -> Level:
    """Return the level of a combination: ``none`` without Landlock or seccomp, ``full`` with every lock doubled."""
    if landlock_abi == 0 or not allowlist:
        return "none"
    return "full" if landlock_abi >= SCOPES_ABI and own_uid else "reduced"


def achieved(
    *, landlock_abi: int, allowlist: bool, own_uid: bool, limits: dict[str, int], capabilities: int
) -> dict[str, Any]:
    """Return the line for evidence about a sandbox that has just confined itself."""
    return {
        "level": level_of(landlock_abi, allowlist, own_uid=own_uid),
        "landlock": landlock_abi,
        "seccomp": "allowlist" if allowlist else "none",
        "uid": "own" if own_uid else "shared",
        "no_new_privs": True,
        "dumpable": False,
        "capabilities": capabilities,
        "rlimits": limits,
    }


def unconfined() -> dict[str, Any]:
    """Return the line for evidence about a sandbox on a system that offers no confinement."""
    return {
        "level": "none", "landlock": 0, "seccomp": "none", "uid": "shared", "no_new_privs": False, "dumpable": True,
        "capabilities": 0, "rlimits": {},
    }  # fmt: skip


def allows(isolation: dict[str, Any], grade: str) -> bool:
    """Say whether a sandbox with this line of evidence may be linked to data of ``grade``.

    Args:
        isolation: What the jail reported.
        grade: A card's grade, ``demonstration`` or ``production``; any other value is treated as production.
    """
    return grade == "demonstration" or isolation.get("level") in {"full", "reduced"}


def feature_table() -> str:
    """Return ``FEATURES`` as the Markdown table of ``docs/isolation.md``."""
    rows = [f"| {f.name} | `{f.missing_line}` | {f.without} | {f.lost} | {f.still_holds} |" for f in FEATURES]
    head = ["| missing feature | line in evidence | level | what is lost | what still holds |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])
