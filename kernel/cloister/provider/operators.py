"""What only the operator of a broker is told: the counters of ``/v1/metrics``.

They say when a provider's data are used, and how often somebody is refused. So the broker's own port tells them only to
whoever has the token in ``metrics.token``; without that file, nobody. A listener of its own (``--metrics-listen``)
needs no token on the loopback, and does elsewhere.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from typing import Any

import msgspec

from cloister.errors import CloisterError, RefusedError
from cloister.provider import files
from cloister.provider.home import BrokerHome

PATHS = frozenset({"/metrics", "/v1/metrics"})
"""What a listener for metrics serves; Prometheus asks for the first."""


class Listener(msgspec.Struct, frozen=True):
    """Where metrics are served besides the broker's own port."""

    port: int
    loopback: bool


def make_token(home: BrokerHome) -> None:
    """Write a new token into the broker's directory (0600); an older one counts no more."""
    files.write_private(home.metrics_file, secrets.token_urlsafe(32).encode())


def check_listener(home: BrokerHome, host: str, port: int) -> Listener:
    """Return the listener for a socket's address.

    Raises:
        RefusedError: ``metrics.open``: not the loopback, and there is no token.
    """
    loopback = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    if not loopback and not _token(home):
        raise RefusedError(
            "metrics.open",
            f"{host} can be reached from elsewhere, and metrics say when data are used",
            next_step="cloister broker metrics-token, or listen on 127.0.0.1",
        )
    return Listener(port, loopback)


def check(home: BrokerHome, listener: Listener | None, *, server: Any, authorization: str) -> None:
    """Check that whoever asks for metrics may have them.

    Args:
        home: The broker's directory.
        listener: The listener for metrics, if there is one.
        server: The address the request came in at (ASGI's ``server``), which no header can change.
        authorization: The header.

    Raises:
        RefusedError: ``metrics.token``.
    """
    own = listener is not None and listener.loopback and server is not None and server[1] == listener.port
    token = b"" if own else _token(home)
    kind, _, said = authorization.partition(" ")
    shown = kind.casefold() == "bearer" and bool(token) and hmac.compare_digest(said.strip().encode(), token)
    if not own and not shown:
        raise RefusedError(
            "metrics.token",
            "metrics are for the operator of this broker",
            next_step="send the token of `cloister broker metrics-token` as bearer, or use --metrics-listen",
        )


def _token(home: BrokerHome) -> bytes:
    """Return the token; one that is missing, empty or not private is none."""
    try:
        return files.read_private(home.metrics_file).strip()
    except (CloisterError, OSError):
        return b""
