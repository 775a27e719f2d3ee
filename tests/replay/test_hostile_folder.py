"""A reviewer opens a folder that somebody sent: what lies beside the notebook is neither run nor shown to its code."""

from __future__ import annotations

import json
from pathlib import Path

import harness
import pytest
from signed_world import Story

NAMES = (
    "cloister",
    "msgspec",
    "zmq",
    "cryptography",
    "json",
    "IPython",
    "ipykernel",
    "nbformat",
    "sitecustomize",
    "os",
)
ATTEMPTS = {
    "the folder": "open({folder!r} + '/told')",
    "its listing": "__import__('os').listdir({folder!r})",
    "the account": "open(__import__('os').path.expanduser('~root') + '/.bashrc')",
    "passwords": "open('/etc/passwd')",
    "environment": "open('/proc/' + str(__import__('os').getppid()) + '/environ')",
    "network": "__import__('socket').create_connection(('127.0.0.1', 1), 2)",
    "programs": "__import__('os').system('true')",
}


@pytest.mark.timeout(120)
def test_a_folder_that_somebody_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    told = folder / "told"
    told.write_text("")
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(told)!r}, 'a').write({name!r})\n")
    (folder / "usercustomize.pth").write_text(f"import pathlib; pathlib.Path({str(told)!r}).write_text('pth')\n")
    (folder / "ipython_config.py").write_text(f"open({str(told)!r}, 'a').write('config')\n")
    (folder / "01.ipynb").write_text(json.dumps(Story().notebook()))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SECRET_OF_THE_REVIEWER", "mine")
    with harness.kernel("cloister-replay", env={"JPY_SESSION_NAME": "../../../../etc/passwd"}) as client:
        cell = client.run("import cloister as cl, os\nprint(cl.table('clinic.visits'), 'SECRET' in str(os.environ))")
        assert cell.content["status"] == "ok", cell.content
        assert "False" in cell.text()
        for what, code in ATTEMPTS.items():
            content = client.run(code.format(folder=str(folder))).content
            assert content["status"] == "error", what
            assert content["ename"] in ("PermissionError", "FileNotFoundError", "OSError"), (what, content["ename"])
        client.run("open('json.py', 'w').write('1')")
        assert client.run("%cloister get json.py stolen.py").content["status"] == "error"
        assert client.run("%cloister get json.py").content["status"] == "error"
    assert told.read_text() == ""
    assert not (folder / "stolen.py").exists()
