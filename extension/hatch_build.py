"""Build hook: puts the JupyterLab extension into wheel and sdist, building it where that is possible.

    built files of these very sources  -->  taken as they are; nobody needs Node
    otherwise, Node on the path        -->  jlpm install --immutable, jlpm build:prod
    otherwise                          -->  left out, with one visible line; the kernels work without it

``CLOISTER_LAB_EXTENSION=require`` turns leaving out into an error (for releases), ``skip`` leaves it out untried.
Whether built files belong to the sources is a digest written beside them: file times do not survive an archive.
"""

from __future__ import annotations

import contextlib
import hashlib
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
_LAST_LINES = 20


class LabExtensionHook(BuildHookInterface[Any]):
    """Builds the extension if need be and adds it to what is built."""

    def dependencies(self) -> list[str]:
        """Return what building needs from PyPI; nothing where nothing is built."""
        return [] if _is_built(self._folder) or self._obstacle() else [_BUILDER]

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
        return "" if shutil.which("node") else "Node is not installed"

    def _leave_out(self, obstacle: str) -> None:
        if os.environ.get(SWITCH) == "require":
            raise RuntimeError(f"the JupyterLab extension cannot be built: {obstacle}")
        line = f"cloister: installed without the JupyterLab extension ({obstacle}); everything else works"
        print(line, file=sys.stderr)
        # pip shows what a build says only if it fails; who installs at a terminal should see this line all the same.
        with contextlib.suppress(OSError), Path("/dev/tty").open("w") as terminal:
            terminal.write(f"\r{line}\n")


def _is_built(folder: Path) -> bool:
    built = folder / "labextension"
    stamp = built / _STAMP
    complete = (built / "package.json").is_file() and stamp.is_file()
    return complete and stamp.read_text().strip() == _digest(folder)


def _build(folder: Path) -> str:
    """Build; return the last lines of what went wrong, or nothing."""
    jlpm = [sys.executable, "-c", "from jupyter_builder.jlpm import main; main()"]
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
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
