"""The start of a vault process.

1. ``OPEN`` brings contract, cards and the places of capsules; a contract that does not hold is refused here.
2. The vault confines itself: it can read capsules and use its two descriptors, and nothing else, for good.
3. It makes its keys and answers ``OPEN`` with their public halves, which the attester binds into evidence.
4. It serves requests. When the link closes the process ends at once, and keys and data with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path

from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.vault import confine
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.config import Terms, open_config
from cloister.vault.engine import Engine
from cloister.vault.keys import VaultKeys
from cloister.vault.mock import MockVault
from cloister.vault.pipes import Pipe
from cloister.vault.relay import MAX_REPLY, Relay
from cloister.vault.service import MAX_FRAME, Operation, Service
from cloister.vault.state import VaultState, no_step
from cloister.wire import canonical
from cloister.wire.frames import Kind

_MEMORY_SHARE = 0.6
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_log = logging.getLogger("cloister.vault")


class _WithoutPandas(MetaPathFinder):
    """Keeps pandas out of the vault: PyArrow imports it when it can, half a second and much code near the data."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("the vault works without pandas", name=fullname)


def run(link_fd: int, broker_fd: int, on_step: Callable[[int], None] = no_step) -> int:
    """Serve one vault; return the exit status.

    ``on_step`` sees the number of each step of a release as it begins (``state.VaultState``).
    """
    sys.meta_path.insert(0, _WithoutPandas())
    # Codes and states only: no value, no size, no time of a release may reach a log (G7).
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    link = Pipe(link_fd, MAX_FRAME)
    threads, memory_limit = _machine()
    try:
        terms = _opened(link)
        confined = confine.confine([Path(path) for path in terms.capsules.values()], (link_fd, broker_fd))
        _require_confinement(terms, confined)
    except CloisterError as error:
        _log.error("refused to start: %s", error.code)
        link.send(Kind.OPEN, canonical.encode({"error": error.to_dict()}))
        return 1
    keys = VaultKeys()
    engine = Engine(threads, memory_limit)
    operations, on_event = _operations(terms, keys, Pipe(broker_fd, MAX_REPLY), engine, on_step)
    link.send(Kind.OPEN, canonical.encode({"vault_id": keys.vault_id, "vault_hpke": keys.hpke_public}))
    _log.info("ready: %s", terms.mode)
    try:
        Service(link, operations, confined.release_reserve, on_event).serve()
    except MalformedError as error:
        _log.error("the link is broken: %s", error.code)
    _log.info("the link is closed")
    # A release may still be waiting for its deadline; nobody is left to receive it.
    os._exit(0)


def _opened(link: Pipe) -> Terms:
    for frame in link:
        if frame.kind != Kind.OPEN or len(frame.parts) != 1:
            break
        return open_config(frame.parts[0])
    raise MalformedError("vault.config", "the first frame must tell the vault its contract")


def _require_confinement(terms: Terms, confined: confine.Confinement) -> None:
    whole = confined.report.get("landlock") and confined.report.get("seccomp") == "allowlist"
    if not whole and any(card.grade != "demonstration" for card in terms.cards.values()):
        raise RefusedError(
            "vault.isolation",
            "this machine cannot confine the vault, so only demonstration data may be opened",
            clause="card.grade",
            next_step="Run the enclave on a Linux with Landlock and seccomp.",
        )


def _operations(
    terms: Terms, keys: VaultKeys, broker: Pipe, engine: Engine, on_step: Callable[[int], None]
) -> tuple[Mapping[str, Operation], Callable[[bytes], None]]:
    if terms.mode == "mock":
        return MockVault(terms, engine).operations(), lambda _event: None
    relay = Relay(broker)
    relay.start()
    state = VaultState(terms, keys, relay, engine, on_step)
    return ConfidentialVault(state).operations(), state.refusals.opening


def _machine() -> tuple[int, str]:
    """Return the threads and the memory of the engine; asked before confinement, which hides the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        memory = min(memory, int(_CGROUP_LIMIT.read_text()))
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads, f"{int(memory * _MEMORY_SHARE) >> 20}MiB"
