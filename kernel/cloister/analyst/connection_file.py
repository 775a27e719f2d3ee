"""The connection file: where the outer sockets bind and how outer messages are signed.

Source: jupyter-client documentation, "Connection files"; ``curve_*`` keys are those of jupyter_client 8.9.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from cloister.errors import MalformedError


class ConnectionFile(msgspec.Struct, frozen=True):
    """What the front end's kernel manager decided. Curve keys are Z85 text, offered or absent together."""

    shell_port: int
    iopub_port: int
    stdin_port: int
    control_port: int
    hb_port: int
    ip: str = "127.0.0.1"
    transport: Literal["tcp", "ipc"] = "tcp"
    key: str = ""
    signature_scheme: str = "hmac-sha256"
    curve_publickey: str | None = None
    curve_secretkey: str | None = None

    def endpoint(self, port: int) -> str:
        """Return the ZMQ endpoint of one port."""
        joiner = "-" if self.transport == "ipc" else ":"
        return f"{self.transport}://{self.ip}{joiner}{port}"


def load(path: Path) -> ConnectionFile:
    """Read a connection file.

    Raises:
        MalformedError: Not a connection file, or half a Curve key pair.
    """
    try:
        connection = msgspec.json.decode(path.read_bytes(), type=ConnectionFile)
    except (OSError, msgspec.DecodeError) as error:
        raise MalformedError(
            "connection.file",
            f"{path} is not a readable Jupyter connection file",
            next_step="the kernel is started by Jupyter; start it from a notebook or with `cloister run`",
        ) from error
    if (connection.curve_publickey is None) != (connection.curve_secretkey is None):
        raise MalformedError("connection.curve", "the connection file offers half a Curve key pair")
    return connection
