"""Where an embedded demo is and what it pins. Light: the background pair reads it without loading any engine.

The demo itself stands in ``CLOISTER_HOME/demo``, a case beside it in ``CLOISTER_HOME/demo/cases/NAME``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from cloister.errors import MalformedError, RefusedError
from cloister.wire.envelope import Envelope

_CASE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the parts of a built world are, and what they pin. ``brokers`` are homes by did, in contract order.

    ``effect`` is how much of the planted effect the tables of a case have: its contract and cards do not say.
    """

    root: Path
    brokers: dict[str, Path]
    provider_dids: dict[str, str]
    analyst_did: str
    contract: Path
    contract_digest: str
    cards: tuple[Path, ...]
    capsules: dict[str, Path]
    enclave_config: Path
    env_digest: str
    policy_digest: str
    version: int = 1
    effect: str = "1"

    @property
    def broker_home(self) -> Path:
        """The home of the first broker, which in the demo is the only one."""
        return next(iter(self.brokers.values()))

    def contract_envelope(self) -> Envelope:
        """Return the signed contract."""
        return msgspec.json.decode(self.contract.read_bytes(), type=Envelope)

    def card_envelopes(self) -> tuple[Envelope, ...]:
        """Return the signed cards."""
        return tuple(msgspec.json.decode(path.read_bytes(), type=Envelope) for path in self.cards)


def load_world(home: Path, case: str = "") -> World | None:
    """Return the world of the demo, or of a case, built under ``home``; None if there is none.

    Raises:
        MalformedError: ``demo.world``: its description cannot be read.
    """
    path = world_folder(home, case) / "world.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=World, dec_hook=_path)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise MalformedError("demo.world", f"{path} cannot be read", next_step=reset_command(case)) from error


def demo_folder(home: Path, case: str = "") -> Path:
    """Return the folder of the demo, or of a case.

    Raises:
        RefusedError: ``demo.case``: no case is called so; the name may come from a process or a kernelspec.
    """
    if case and not _CASE.fullmatch(case):
        raise RefusedError("demo.case", f"there is no case {case[:40]!r}", next_step="cloister demo case --help")
    return home.absolute() / "demo" / "cases" / case if case else home.absolute() / "demo"


def world_folder(home: Path, case: str = "") -> Path:
    """Return where the world is (or will be)."""
    return demo_folder(home, case) / "world"


def reset_command(case: str = "") -> str:
    """Return the command that builds this world anew."""
    return f"cloister demo case {case} --reset" if case else "cloister demo reset"


def _path(kind: type[Any], value: Any) -> Any:
    return kind(value)
