"""What is built and installed: one wheel with package, kernelspecs and Lab extension; nobody needs Node for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = "share/jupyter/labextensions/@cloister/lab"
SERVER = "etc/jupyter/jupyter_server_config.d/cloister.json"
KERNELS = ("share/jupyter/kernels/cloister/kernel.json", "share/jupyter/kernels/cloister-mock/kernel.json")
NO_NODE = "Node 20.19 or later is not installed"
LEFT_OUT = "cloister: installed without the JupyterLab extension"
NOTHING = "/nonexistent"
SOURCES = ("kernel", "extension", "notebooks", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")


def hatch(tree: Path, target: str, *, path: str = NOTHING, switch: str = "") -> subprocess.CompletedProcess[str]:
    """Build ``target`` into ``tree/out``; without Node, unless ``path`` has one."""
    env = {**os.environ, "PATH": path, "CLOISTER_LAB_EXTENSION": switch}
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(tree / "out")]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=280, check=False)


def names(tree: Path) -> set[str]:
    """What the wheel in ``tree/out`` holds, data files by where they are installed."""
    with zipfile.ZipFile(next((tree / "out").glob("*.whl"))) as wheel:
        return {name.partition(".data/data/")[2] or name for name in wheel.namelist()}


@pytest.fixture(scope="module")
def built() -> None:
    """The extension is built from these very sources, as an editable install with Node leaves it."""
    out = ROOT / "build" / "wheel-test"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    env = {**os.environ, "CLOISTER_LAB_EXTENSION": "require"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False)
    shutil.rmtree(out, ignore_errors=True)
    if done.returncode and NO_NODE in done.stderr and os.environ.get("CLOISTER_LAB_EXTENSION") != "require":
        pytest.skip(NO_NODE)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A copy of the sources, with the extension as far as it is built."""
    tree = tmp_path / "tree"
    tree.mkdir()
    ignored = shutil.ignore_patterns("node_modules", "lib", ".yarn", "__pycache__")
    for name in SOURCES:
        source = ROOT / name
        shutil.copytree(source, tree / name, ignore=ignored) if source.is_dir() else shutil.copy(source, tree / name)
    yield tree
    shutil.rmtree(tree)


def test_a_built_extension_goes_into_the_wheel_without_node(built: None, tree: Path) -> None:
    done = hatch(tree, "wheel", switch="require")
    assert done.returncode == 0, done.stderr
    assert LEFT_OUT not in done.stderr
    found = names(tree)
    assert {*KERNELS, f"{EXTENSION}/package.json", f"{EXTENSION}/install.json", f"{EXTENSION}/static/style.js"} <= found
    assert any(name.startswith(f"{EXTENSION}/static/remoteEntry.") for name in found)
    assert not any(name.endswith((".map", ".ts", ".tsx")) for name in found)
    package = json.loads((tree / "extension" / "labextension" / "package.json").read_text())
    assert package["jupyterlab"]["_build"]["extension"] == "./extension"


def test_the_sdist_carries_what_is_built_so_its_wheel_needs_no_node(built: None, tree: Path) -> None:
    assert hatch(tree, "sdist").returncode == 0
    with tarfile.open(next((tree / "out").glob("*.tar.gz"))) as archive:
        inside = archive.getnames()
        archive.extractall(tree / "unpacked", filter="data")
    assert not [name for name in inside if "node_modules" in name or "/.yarn/" in name or "/extension/lib/" in name]
    unpacked = next((tree / "unpacked").iterdir())
    done = hatch(unpacked, "wheel", switch="require")
    assert done.returncode == 0, done.stderr
    assert f"{EXTENSION}/package.json" in names(unpacked)


def test_without_node_the_source_installs_and_says_so_in_one_line(tree: Path) -> None:
    shutil.rmtree(tree / "extension" / "labextension", ignore_errors=True)
    done = hatch(tree, "wheel")
    assert done.returncode == 0, done.stderr
    said = [line for line in (done.stdout + done.stderr).splitlines() if "cloister:" in line.lower()]
    assert said == [f"{LEFT_OUT} ({NO_NODE}); everything else works"]
    found = names(tree)
    # Kernels, and the configuration by which servers strip what they save.
    assert {*KERNELS, SERVER} <= found
    assert not any(name.startswith(EXTENSION) for name in found)


def test_a_release_refuses_to_be_built_without_its_extension(tree: Path) -> None:
    shutil.rmtree(tree / "extension" / "labextension", ignore_errors=True)
    done = hatch(tree, "wheel", switch="require")
    assert done.returncode != 0
    assert f"the JupyterLab extension cannot be built: {NO_NODE}" in done.stderr


def test_a_node_that_is_too_old_counts_as_none(tree: Path, tmp_path: Path) -> None:
    shutil.rmtree(tree / "extension" / "labextension", ignore_errors=True)
    old = tmp_path / "bin" / "node"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho v18.20.4\n")
    old.chmod(0o755)
    done = hatch(tree, "wheel", path=str(old.parent))
    assert f"{LEFT_OUT} ({NO_NODE})" in done.stderr


def test_built_files_of_other_sources_are_not_shipped(built: None, tree: Path) -> None:
    source = tree / "extension" / "src" / "protocol.ts"
    source.write_text(source.read_text() + "// one more line\n")
    done = hatch(tree, "wheel")
    assert LEFT_OUT in done.stderr
    assert not any(name.startswith(EXTENSION) for name in names(tree))


def test_in_a_clean_venv_jupyter_finds_extension_and_kernels(built: None, tree: Path) -> None:
    assert hatch(tree, "wheel", switch="require").returncode == 0
    venv = tree / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=60)
    python = venv / "bin" / "python"
    wheel = str(next((tree / "out").glob("*.whl")))
    quiet = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    # What the wheel needs for its numbers is tested by every other test; here it is about what Jupyter finds.
    subprocess.run([*quiet, "jupyterlab>=4.4"], check=True, timeout=240)
    subprocess.run([*quiet, "--no-deps", wheel], check=True, timeout=60)
    env = {**os.environ, "HOME": str(tree), "PATH": str(venv / "bin"), "JUPYTER_CONFIG_DIR": str(tree / "config")}
    env["JUPYTER_PATH"] = ""

    def jupyter(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [venv / "bin" / "jupyter", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)

    listed = jupyter("labextension", "list")
    line = next(line for line in (listed.stdout + listed.stderr).splitlines() if "@cloister/lab" in line)
    assert "enabled" in line
    assert "OK" in line
    assert "(python, cloister)" in line
    kernels = json.loads(jupyter("kernelspec", "list", "--json").stdout)["kernelspecs"]
    assert {"cloister", "cloister-mock"} <= kernels.keys()


@pytest.mark.slow
def test_with_node_the_extension_is_built_from_source(tree: Path) -> None:
    shutil.rmtree(tree / "extension" / "labextension", ignore_errors=True)
    done = hatch(tree, "wheel", path=os.environ["PATH"], switch="require")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{EXTENSION}/package.json" in names(tree)
