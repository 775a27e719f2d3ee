"""Files beside the notebook: a notebook that somebody else wrote cannot reach for others, or replace any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.analyst import files
from cloister.errors import CloisterError


def refused(work: object) -> str:
    with pytest.raises(CloisterError) as caught:
        work()  # type: ignore[operator]
    assert caught.value.next_step
    return caught.value.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("of the analyst")
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_beside_the_notebook_is_read(folder: Path) -> None:
    (folder / "regions.csv").write_bytes(b"a,b")
    assert files.read(folder, "regions.csv") == b"a,b"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "~/x", ".ssh", "a/b", "..", "C:\\x", "C:x", "-rf", ""])
def test_only_plain_names_beside_the_notebook(folder: Path, name: str) -> None:
    assert refused(lambda: files.read(folder, name)) == "file.name"
    assert refused(lambda: files.write(folder, name, b"", force=True)) == "file.name"
    assert refused(lambda: files.check_free(folder, name)) == "file.name"


def test_what_cannot_be_read_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(lambda: files.read(folder, "missing")) == "file.missing"
    (folder / "d").mkdir()
    assert refused(lambda: files.read(folder, "d")) == "file.kind"
    (folder / "huge").write_bytes(bytes(11))
    monkeypatch.setattr(files, "MAX_FILE", 10)
    assert refused(lambda: files.read(folder, "huge")) == "file.size"


@pytest.mark.skipif(sys.platform == "win32", reason="links and FIFOs of Unix")
def test_links_and_fifos_are_not_read(folder: Path) -> None:
    (folder / "x").symlink_to(folder.parent / "secret")
    assert refused(lambda: files.read(folder, "x")) == "file.kind"
    (folder / "x").unlink()
    os.mkfifo(folder / "x")  # would wait for a writer
    assert refused(lambda: files.read(folder, "x")) == "file.kind"


def test_a_link_is_refused_by_the_open_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may appear between the look and the open."""
    (folder / "x").symlink_to(folder.parent / "secret")
    monkeypatch.setattr(Path, "is_symlink", lambda self: False)
    assert refused(lambda: files.read(folder, "x")) == "file.kind"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_told_as_such(folder: Path) -> None:
    (folder / "x").write_bytes(b"1")
    (folder / "x").chmod(0)
    assert refused(lambda: files.read(folder, "x")) == "file.read"


def test_a_file_is_written_once_and_replaced_only_on_purpose(folder: Path) -> None:
    files.check_free(folder, "plot.png")
    files.write(folder, "plot.png", b"1", force=False)
    assert refused(lambda: files.check_free(folder, "plot.png")) == "file.exists"
    assert refused(lambda: files.write(folder, "plot.png", b"2", force=False)) == "file.exists"
    assert (folder / "plot.png").read_bytes() == b"1"
    files.write(folder, "plot.png", b"2", force=True)
    assert (folder / "plot.png").read_bytes() == b"2"
    assert names(folder) == ["plot.png"]


@pytest.mark.parametrize("name", ["json.py", "json.PY", "numpy.so", "x.pth", "x.pyc", "json.py.", "a.pyd"])
@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_written_that_another_notebook_would_import(folder: Path, name: str, force: bool) -> None:
    assert refused(lambda: files.write(folder, name, b"import os", force=force)) == "file.code"
    assert refused(lambda: files.check_free(folder, name)) == "file.code"
    files.write(folder, f"{name}.txt", b"import os", force=force)


def test_writing_follows_no_link(folder: Path) -> None:
    (folder / "x").symlink_to(folder.parent / "secret")
    (folder / "dangling").symlink_to(folder.parent / "new")
    for name in ("x", "dangling"):
        assert refused(lambda name=name: files.write(folder, name, b"2", force=False)) == "file.exists"
        files.write(folder, name, b"2", force=True)
        assert not (folder / name).is_symlink()
    assert (folder.parent / "secret").read_text() == "of the analyst"
    assert not (folder.parent / "new").exists()
    (folder / "d").mkdir()
    assert refused(lambda: files.write(folder, "d", b"2", force=True)) == "file.kind"
    assert names(folder) == ["d", "dangling", "x"]


def test_without_links_in_the_file_system_nothing_is_overwritten_either(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    files.write(folder, "x", b"1", force=False)
    assert refused(lambda: files.write(folder, "x", b"2", force=False)) == "file.exists"
    assert (folder / "x").read_bytes() == b"1"
    assert names(folder) == ["x"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a small disk")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        assert refused(lambda: files.write(disk, "x", bytes(2**20), force=False)) == "file.write"
        assert names(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
