"""A real PostgreSQL server for the tests that need one: in a temporary directory, on a socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest


def binaries() -> Path:
    """Return the folder of the server's programs; skip where there is none, unless it is required."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if not found and on_path:
        found = [Path(on_path).resolve()]
    if not found:
        message = "no PostgreSQL server here (Debian: apt install postgresql)"
        pytest.fail(message) if os.environ.get("CLOISTER_REQUIRE_POSTGRESQL") else pytest.skip(message)
    return found[-1].parent


class Server:
    """A running server; :meth:`database` makes a fresh database."""

    def __init__(self, folder: Path, programs: Path, user: str) -> None:
        self.folder, self._programs, self._user = folder, programs, user
        self._count = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-c", "listen_addresses=", "-k", str(self.folder), "-c", "fsync=off", "-c", "max_connections=60"]
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **_as(self._user))
        deadline = time.monotonic() + 60
        while subprocess.run(self._ready(), capture_output=True, check=False).returncode != 0:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _ready(self) -> list[str]:
        return [str(self._programs / "pg_isready"), "-h", str(self.folder), "-d", "postgres", "-U", "broker"]

    def kill(self) -> None:
        """kill -9 of the server; its children notice and end: until then no other may start on its directory."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(30)
        assert not psutil.wait_procs(children, timeout=30)[1]
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def database(self) -> str:
        """Return the URL of a new, empty database."""
        import psycopg

        self._count += 1
        name = f"broker_{self._count}"
        with psycopg.connect(f"host={self.folder} user=broker dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://broker@/{name}?host={self.folder}"


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, and remove it afterwards."""
    programs = binaries()
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if os.getuid() == 0:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "broker", "-A", "trust", "-N", "-E", "UTF8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as(user))
    assert done.returncode == 0, done.stderr
    running = Server(folder, programs, user)
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)  # fast: does not wait for clients
        running.process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _as(user: str) -> dict[str, object]:
    # The server refuses to run as root.
    return {"user": user, "cwd": "/tmp"} if os.getuid() == 0 else {}
