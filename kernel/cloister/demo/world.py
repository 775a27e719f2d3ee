"""Where the demo world is and what it pins. Light: the background pair reads it without loading any engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cloister.errors import MalformedError
from cloister.wire.envelope import Envelope


class World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the parts of a built world are, and what they pin."""

    root: Path
    broker_home: Path
    broker_dids: tuple[str, ...]
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

    def contract_envelope(self) -> Envelope:
        """Return the signed contract."""
        return msgspec.json.decode(self.contract.read_bytes(), type=Envelope)

    def card_envelopes(self) -> tuple[Envelope, ...]:
        """Return the signed cards."""
        return tuple(msgspec.json.decode(path.read_bytes(), type=Envelope) for path in self.cards)


def load_world(home: Path) -> World | None:
    """Return the world built under ``home``, or None if there is none.

    Raises:
        MalformedError: ``demo.world``: its description cannot be read.
    """
    path = world_folder(home) / "world.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=World, dec_hook=_path)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise MalformedError("demo.world", f"{path} cannot be read", next_step="cloister demo reset") from error


def world_folder(home: Path) -> Path:
    """Return where the world is (or will be)."""
    return home.absolute() / "demo" / "world"


def _path(kind: type[Any], value: Any) -> Any:
    return kind(value)
