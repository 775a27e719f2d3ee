"""What is measured decides who is believed: one changed byte of one measured file, and the kernel refuses."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_world import AgentWorld, Notebook

import cloister
from cloister.enclave.measure import MEASURED_WHEELS, measure, package_folder
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import TrustError, UnavailableError


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that may be changed."""
    copy = tmp_path / "cloister"
    shutil.copytree(Path(cloister.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    world = AgentWorld(tmp_path)
    try:
        yield world
    finally:
        world.stop()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_same_code_same_digest(package: Path) -> None:
    assert measure(package).digest == measure(package).digest


@pytest.mark.parametrize("name", ["vault/__main__.py", "errors.py", "py.typed", "sandbox/__init__.py"])
def test_one_byte_anywhere_in_the_package_changes_the_digest(package: Path, name: str) -> None:
    before = measure(package).digest
    path = package / name
    if path.stat().st_size:
        flip(path)
    else:
        path.write_bytes(b"\n")
    assert measure(package).digest != before


def test_added_removed_and_renamed_files_change_the_digest(package: Path) -> None:
    digests = {measure(package).digest}
    (package / "extra.py").write_text("")
    digests.add(measure(package).digest)
    (package / "extra.py").rename(package / "other.py")
    digests.add(measure(package).digest)
    (package / "other.py").unlink()
    (package / "demo" / "__init__.py").unlink()
    digests.add(measure(package).digest)
    assert len(digests) == 4


def test_bytecode_caches_do_not_count_and_say_so(package: Path) -> None:
    before = measure(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"x")
    assert measure(package).digest == before.digest
    assert "bytecode caches" in before.coverage["not_covered"]


def test_the_vaults_engines_are_measured_in_full() -> None:
    document = measure().document
    assert set(document["wheels"]) == set(MEASURED_WHEELS)
    for name in ("duckdb", "opendp", "cryptography", "msgspec"):
        files = document["wheels"][name]["files"]
        assert any(path.endswith((".so", ".pyd", ".dylib")) for path, _, _ in files), name
        assert sum(size for _, size, _ in files) > 100_000


def test_measuring_is_quick() -> None:
    measure()
    begin = time.monotonic()
    measure()
    # A wide margin: the target is one second on an idle machine.
    assert time.monotonic() - begin < 10


def test_unreadable_code_is_no_code(package: Path) -> None:
    (package / "broken.py").symlink_to(package / "missing")
    measure(package)  # a dangling link is no file
    (package / "loop").mkdir()
    with pytest.raises(UnavailableError):
        measure_unreadable(package / "loop")


def measure_unreadable(folder: Path) -> None:
    class Unreadable(type(folder)):
        def rglob(self, *_: object, **__: object) -> Iterator[Path]:
            raise PermissionError(13, "denied")

    measure(Unreadable(folder))


@pytest.mark.timeout(120)
def test_one_changed_byte_and_the_kernel_refuses(world: AgentWorld) -> None:
    """Same install, same key, same contract, same policy: only one byte of one file differs."""
    package = world.copy_package()
    world.start()
    policy = world.policy()

    async def story() -> None:
        async with Notebook(world, entry=world.entry(policy=policy)) as notebook:
            assert await notebook.run("print('trusted')") == "trusted\n"

    asyncio.run(story())
    world.stop()
    source = package / "plan" / "algebra" / "scalars.py"
    text = source.read_text()
    source.write_text(text.replace("The", "the", 1))  # still valid Python, in a docstring
    world.start()

    async def refused() -> None:
        with pytest.raises(TrustError) as excinfo:
            await Notebook(world, entry=world.entry(policy=policy)).__aenter__()
        assert excinfo.value.code == "appraisal.env_digest"
        assert not world.children("cloister.enclave.jail")  # nothing was started for an analyst who refused

    asyncio.run(refused())
    world.stop()
    source.write_text(text)
    world.start()
    asyncio.run(story())


def test_simulator_key_is_private_and_kept(tmp_path: Path) -> None:
    first, second = SimulatorAttester.load(tmp_path), SimulatorAttester.load(tmp_path)
    assert first.did == second.did
    path = tmp_path / "enclave" / "simulator.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(UnavailableError):
        SimulatorAttester.load(tmp_path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(UnavailableError):
        SimulatorAttester.load(tmp_path)


def test_the_running_package_is_the_measured_one() -> None:
    assert package_folder() == Path(cloister.__file__).resolve().parent
