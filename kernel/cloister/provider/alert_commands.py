"""``cloister alerts``: the alerts of a broker, at its machine or over HTTP, those there are and those to come."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import typer

from cloister.errors import CloisterError, MalformedError, UnavailableError, from_dict
from cloister.provider import alert_stream, alerting, files, sentinel
from cloister.provider.home import BrokerHome, existing
from cloister.provider.keys import load_identity
from cloister.receipt import alerts
from cloister.receipt.office import ASK_TYPE, Ask
from cloister.terminal import Terminal
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, open_envelope, seal
from cloister.wire.identity import SigningKey

out = Terminal(emoji=False)
Source = Callable[[int, int], alerts.Raises]
"""Returns the alerts from a position on; waits so many seconds for one."""
_LOOK_S = 1.0


def show(
    place: Annotated[str, typer.Argument(help="A broker's directory, or its URL.")],
    *,
    after: Annotated[int, typer.Option(min=0, help="Begin at this position of the event log.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Go on, and print alerts as they come.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
    broker: Annotated[str, typer.Option(help="The did of the broker at the URL.")] = "",
    key: Annotated[Path | None, typer.Option(help="Key of somebody with a role there (docs/roles.md).")] = None,
    token: Annotated[Path | None, typer.Option(help="File with the operator's token.")] = None,
) -> None:
    """Print the alerts in a broker's event log."""
    source = _at_url(place, broker, key, token) if place.startswith(("http://", "https://")) else _at_home(Path(place))
    while True:
        found = source(after, alert_stream.MOST_WAIT_S if follow else 0)
        for one in found.alerts:
            _say(msgspec.json.encode(one).decode() if as_json else _words(one))
        ended, after = found.next == after, found.next
        if ended and not follow:
            return


def _at_home(directory: Path) -> Source:
    home = BrokerHome(existing(directory))
    database, pack, did = home.open_accounts().database, alerting.read_rules(home), home.identity().did

    def read(after: int, wait_s: int) -> alerts.Raises:
        end = time.monotonic() + wait_s
        while True:
            found = sentinel.page(database, pack, broker=did, now=_now(), after=after)
            if found.alerts or time.monotonic() >= end:
                return found
            time.sleep(_LOOK_S)

    return read


def _at_url(url: str, broker: str, key: Path | None, token: Path | None) -> Source:
    if not broker or (key is None) == (token is None):
        raise MalformedError(
            "alerts.who", "over HTTP a broker is told who asks, and its answer is checked",
            next_step="name --broker DID and either --key or --token",
        )  # fmt: skip
    signer = None if key is None else load_identity(key)
    shown = "" if token is None else "Bearer " + files.read_private(token).decode("ascii", "replace").strip()

    def read(after: int, wait_s: int) -> alerts.Raises:
        name = "" if signer is None else secrets.token_hex(16)
        header = shown if signer is None else _signed(name, broker, signer)
        query = {"after": after, "wait": wait_s}
        try:
            reply = httpx.get(
                f"{url.rstrip('/')}/v1/alerts", params=query, headers={"authorization": header}, timeout=wait_s + 20
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError("broker.unreachable", f"{url} does not answer: {error}") from error
        return _believe(reply, broker, name, after)

    return read


def _signed(name: str, broker: str, key: SigningKey) -> str:
    ask = Ask(name, broker, key.did, _now(), "alert.follow")
    body = canonical.encode(seal(ASK_TYPE, canonical.encode(ask), key))
    return f"{alert_stream.SCHEME} {base64.urlsafe_b64encode(body).decode()}"


def _believe(reply: httpx.Response, broker: str, name: str, after: int) -> alerts.Raises:
    """Return what the broker signed for this question."""
    try:
        if reply.status_code != 200:
            raise from_dict(msgspec.json.decode(reply.content)["error"])
        document = msgspec.json.decode(reply.content, type=Envelope)
        found = msgspec.json.decode(open_envelope(document, alerts.ALERTS_TYPE, broker), type=alerts.Raises)
    except CloisterError:
        raise
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError) as error:
        raise MalformedError("alerts.reply", "this is no answer of a broker", next_step="check the URL") from error
    if (found.broker, found.request, found.after) != (broker, name, after):
        raise MalformedError("alerts.reply", "the answer is to another question", next_step="ask again")
    return found


def _words(one: alerts.Raised) -> str:
    beyond = f"{one.count:,} > {one.most:,}" if one.most >= 0 else f"{one.count:,}"
    rule = f"{one.pack} rule {one.rule}" + (f" ({one.text})" if one.text else "")
    return f"{one.position:>8}  {one.time}  {rule}: {one.what} {beyond}, {one.bucket}, {one.subject or 'strangers'}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
