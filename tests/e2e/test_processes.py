"""The zones are processes: who runs, what each has mapped and open, what none of them may do."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from pathlib import Path

import msgspec
import pytest

from cloister.contract.capsule_keys import group_key
from cloister.provider.data_keys import DataKey

CELL = "import cloister as cl, pandas, sklearn\nprint(float(cl.table('st_anna.visits').bmi.mean()))"


@pytest.fixture(scope="module")
def kernel(demo):
    with demo.kernel() as kernel:
        kernel.run(CELL)
        # Sessions whose proxy was killed in an earlier file wait to be resumed, and then end by themselves.
        deadline = time.monotonic() + 200
        while len(demo.processes("cloister.vault")) > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        yield kernel


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def descriptors(pid: int) -> dict[int, str]:
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            continue
    return found


def test_every_part_is_a_process_of_its_own(demo, kernel):
    parts = [
        "cloister.provider",
        "cloister.enclave --config",
        "cloister.enclave.bridge",
        "cloister.enclave.jail",
        "cloister.vault",
    ]
    pids = {part: {p.pid for p in demo.processes(part)} for part in parts}
    assert all(len(found) == 1 for found in pids.values()), pids
    assert len(set.union(*pids.values()) | {demo.pair()["pid"], os.getpid()}) == len(parts) + 2
    assert kernel.manager.provisioner.pid not in set.union(*pids.values())


def test_the_sandbox_has_no_engine_and_no_door_but_its_link(demo, kernel):
    (sandbox,) = demo.processes("cloister.enclave.jail")
    assert "duckdb" not in maps(sandbox.pid)
    assert "opendp" not in maps(sandbox.pid)
    work = sandbox.cmdline()[sandbox.cmdline().index("--work") + 1]
    opened = [path for path in descriptors(sandbox.pid).values() if path.startswith("/")]
    assert [path for path in opened if not path.startswith((work, "/dev/null"))] == []
    environment = Path(f"/proc/{sandbox.pid}/environ").read_bytes()
    state = demo.pair()
    assert state["broker"].encode() not in environment
    assert not sandbox.net_connections(kind="inet")


def test_the_vault_has_the_engine_two_descriptors_and_no_socket_rights(demo, kernel):
    (vault,) = demo.processes("cloister.vault")
    assert "duckdb" in maps(vault.pid)
    sockets = [path for path in descriptors(vault.pid).values() if path.startswith("socket:")]
    assert len(sockets) == 2
    status = Path(f"/proc/{vault.pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert not vault.net_connections(kind="inet")


def memory(pid: int) -> bytes:
    """Every private, writable page of a process; needs root."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as pages:
        for line in maps(pid).splitlines():
            span, rights, *_ = line.split()
            if rights == "rw-p":
                low, high = (int(end, 16) for end in span.split("-"))
                pages.seek(low)
                with contextlib.suppress(OSError):
                    found += pages.read(high - low) or b""
    return bytes(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of processes that are not dumpable")
def test_data_keys_are_in_the_vault_and_not_in_the_sandbox_or_the_bridge(demo, kernel):
    files = (demo.home / "demo" / "world" / "broker" / "keys").glob("*.key")
    held_by_broker = [msgspec.json.decode(path.read_bytes(), type=DataKey) for path in files]
    assert len(held_by_broker) == 4
    keys = [
        key
        for one in held_by_broker
        for table in one.tables
        for key in (
            one.secret(table.card.name),
            *(group_key(one.raw(), table.card.name, number) for number in range(len(table.groups))),
        )
    ]
    (vault,), (sandbox,), (bridge,) = (
        demo.processes(part) for part in ("cloister.vault", "cloister.enclave.jail", "cloister.enclave.bridge")
    )
    held = memory(vault.pid)
    assert any(key in held for key in keys)  # so the search finds a key where there is one
    data_keys = [one.raw() for one in held_by_broker]
    assert not any(key in held for key in data_keys), "not even the vault is given what all keys follow from"
    keys += data_keys
    for process in (sandbox, bridge):
        seen = memory(process.pid)
        assert len(seen) > 1_000_000
        for key in keys:
            assert key not in seen
            assert base64.b64encode(key) not in seen
            assert key.hex().encode() not in seen


def test_large_outputs_pass(kernel):
    # Above 64 KiB pyzmq sends without copying, from a thread of its own: it once killed the sandbox.
    reply, seen = kernel.messages("print('x' * 10_000_000)")
    assert reply["status"] == "ok"
    assert sum(len(m["content"]["text"]) for m in seen if m["msg_type"] == "stream") == 10_000_001


def test_the_sandbox_cannot_gain_anything(demo, kernel):
    (sandbox,) = demo.processes("cloister.enclave.jail")
    status = Path(f"/proc/{sandbox.pid}/status").read_text()
    for line in ("Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"):
        assert line in status


def test_no_process_of_the_enclave_outlives_its_notebook(demo):
    with demo.kernel() as kernel:
        kernel.run("1")
        before = {p.pid for p in demo.processes("cloister.enclave.jail")}
    for _ in range(100):
        left = {p.pid for p in demo.processes("cloister.enclave.jail")} & before
        if len(left) < len(before):
            return
        time.sleep(0.1)
    pytest.fail("the sandbox outlived its kernel")
