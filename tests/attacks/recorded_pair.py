"""The demo pair with a recorder on every wire: what travels between proxy and agent, and between agent and broker.

    python recorded_pair.py HOME

Does what the pair's supervisor does, with a relay in front of agent and broker that writes both directions to
``HOME/wire/``. Run as a process of its own; stops on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from cloister.demo import pair
from cloister.demo.world import load_world


def relay(url: str, recording: Path) -> str:
    """Listen, forward every connection to ``url``, write what passes; return the address to use instead."""
    target = urlsplit(url)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        number = 0
        while True:
            near, _ = server.accept()
            far = socket.create_connection((target.hostname, target.port))
            for direction, source, sink in (("in", near, far), ("out", far, near)):
                path = recording.with_name(f"{recording.name}-{number}-{direction}.bin")
                threading.Thread(target=_pump, args=(source, sink, path), daemon=True).start()
            number += 1

    threading.Thread(target=serve, daemon=True).start()
    host, port = server.getsockname()
    return target._replace(netloc=f"{host}:{port}").geturl()


def _pump(source: socket.socket, sink: socket.socket, path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        try:
            while data := source.recv(1 << 16):
                file.write(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side is gone; the other pump ends by itself


def main(home: Path) -> int:
    world = load_world(home)
    assert world is not None
    run, wire = home / "demo" / "run", home / "wire"
    run.mkdir(parents=True, exist_ok=True)
    wire.mkdir()
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        brokers = {did: relay(url, wire / "broker") for did, url in pair._start_brokers(world, run, children).items()}
        agent = relay(pair._start_agent(world, run, brokers, children), wire / "agent")
        (broker,) = brokers.values()
        pids = [child.pid for child in children]
        state = {"pid": os.getpid(), "broker": broker, "brokers": brokers, "agent": agent, "children": pids}
        pair._write(pair.state_file(home), state)
        return children[1].wait()
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait(10)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
