"""Anchors: places a broker's checkpoints go to, where the broker cannot take them back: a file, another broker.

An anchor knows the newest checkpoint it has seen, and takes a later one only if that extends it. So whoever restores or
forks a broker has to show the anchor two histories, and it sees them.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import sqlalchemy as sa

from cloister.contract.findings import parse_time
from cloister.errors import MalformedError, RefusedError, TrustError, UnavailableError
from cloister.provider import clock, event_log, files, schema
from cloister.provider.broker import Broker
from cloister.provider.home import BrokerHome
from cloister.receipt.checkpoint import (
    Anchored,
    Extension,
    Taken,
    check_extension,
    digest_of,
    open_anchored,
    open_checkpoint,
    sign_anchored,
)
from cloister.receipt.events import Event
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope, open_envelope, seal, unverified_payload
from cloister.wire.identity import SigningKey

REQUEST_TYPE = "application/vnd.cloister.anchor-request.v1+json"
_FRESH_S = 300
_TIMEOUT_S = 30
_MAX_ANSWER = 32 * 2**20
Prove = Callable[[Envelope | None], Taken]
"""Takes a checkpoint that extends an earlier one (``checkpoints.take``)."""


class AnchorRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``broker`` asks the broker ``to``, signed: its newest checkpoint there, or to take up a later one.

    ``extends`` proves that the checkpoint extends the one that was seen last. Requests are fresh (five minutes).
    """

    broker: str
    to: str
    time: str
    checkpoint: Envelope | None = None
    extends: tuple[Extension, ...] = ()
    version: Literal[1] = 1


def sign_request(asked: AnchorRequest, key: SigningKey) -> Envelope:
    """Return the request signed by the broker that asks."""
    return seal(REQUEST_TYPE, canonical.encode(asked), key)


class Anchor(Protocol):
    """A place for checkpoints."""

    def newest(self) -> Envelope | None:
        """Return the newest checkpoint of the broker that the place holds."""
        ...

    def put(self, taken: Taken) -> str:
        """Hand over a checkpoint that is proven to extend the newest one; return what to say about it."""
        ...


def anchor(place: Anchor, prove: Prove) -> tuple[Taken, str]:
    """Take a checkpoint that extends what a place has seen, hand it over, and return it.

    Raises:
        TrustError: What the place has seen is no earlier state of this broker: it was restored, or forked.
        UnavailableError: The place cannot be reached.
    """
    taken = prove(place.newest())
    return taken, place.put(taken)


class FileAnchor:
    """A file, on another disk or machine: one checkpoint a line, only ever longer."""

    def __init__(self, path: Path, broker: str) -> None:
        self._path, self._broker = path, broker

    def newest(self) -> Envelope | None:
        """Return the last line's checkpoint.

        Raises:
            MalformedError: ``anchor.file``.
            TrustError: A line that is no checkpoint of this broker.
        """
        try:
            lines = self._path.read_bytes().splitlines()
            documents_ = [msgspec.json.decode(line, type=Envelope) for line in lines if line.strip()]
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise MalformedError("anchor.file", f"{self._path} is no file of checkpoints") from error
        for document in documents_[-1:]:
            open_checkpoint(document, broker=self._broker)
        return documents_[-1] if documents_ else None

    def put(self, taken: Taken) -> str:
        """Append the checkpoint, on disk when this returns.

        Raises:
            TrustError: It does not extend the last one.
            UnavailableError: ``anchor.file``.
        """
        before = self.newest()
        stated = open_checkpoint(taken.checkpoint, broker=self._broker)
        if before is not None:
            check_extension(open_checkpoint(before), stated, taken.extends)
        try:
            files.append_private(self._path, canonical.encode(taken.checkpoint) + b"\n")
        except OSError as error:
            raise UnavailableError("anchor.file", f"{self._path} cannot be written") from error
        return f"{self._path}: {stated.events} events"


class BrokerAnchor:
    """Another broker, which lists this one among its peers; it signs what it has seen, in its own event log too."""

    def __init__(self, url: str, key: SigningKey, peer: str, *, now: Callable[[], str] | None = None) -> None:
        """``key`` is this broker's, ``peer`` the did of the other one: nobody else's word counts."""
        self._url, self._key, self._broker, self._peer = url.rstrip("/"), key, key.did, peer
        self._now = now or (lambda: clock.text(clock.Clock().now()))

    def newest(self) -> Envelope | None:
        """Return the checkpoint that broker has seen last, if any.

        Raises:
            UnavailableError: ``anchor.unavailable``.
            TrustError: It names a checkpoint that this broker never signed.
        """
        raw = self._post("/v1/anchor/newest", None, ())
        found = msgspec.json.decode(raw, type=Envelope | None)
        if found is not None:
            open_checkpoint(found, broker=self._broker)
        return found

    def put(self, taken: Taken) -> str:
        """Hand the checkpoint over and check what the other broker signs about it.

        Raises:
            UnavailableError: ``anchor.unavailable``.
            TrustError: ``anchor.*``: it refuses the checkpoint, or its statement is about another one; or a signature
                that is not the peer's.
        """
        raw = self._post("/v1/anchor", taken.checkpoint, taken.extends)
        document = msgspec.json.decode(raw, type=Envelope)
        said = open_anchored(document, broker=self._peer, checkpoint=taken.checkpoint)
        return f"{said.broker} has seen {said.events} events at {said.time}"

    def _post(self, path: str, checkpoint: Envelope | None, extends: tuple[Extension, ...]) -> bytes:
        asked = AnchorRequest(self._broker, self._peer, self._now(), checkpoint, extends)
        body = canonical.encode(sign_request(asked, self._key))
        if not self._url.startswith(("http://", "https://")):
            raise MalformedError("anchor.url", "an anchor is a file or an http:// or https:// URL")
        request = urllib.request.Request(self._url + path, data=body, method="POST")  # noqa: S310 (checked above)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                raw: bytes = answer.read(_MAX_ANSWER)
        except urllib.error.HTTPError as error:
            try:
                said = json.loads(error.read(65536))["error"]
                raise TrustError(str(said["code"]), str(said["reason"]), next_step=str(said["next_step"])) from error
            except (ValueError, KeyError, TypeError):
                raise UnavailableError("anchor.unavailable", f"{self._url} answered {error.code}") from error
        except OSError as error:
            raise UnavailableError("anchor.unavailable", f"{self._url} cannot be reached") from error
        return raw


class Peers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dids of other brokers whose checkpoints this one takes up."""

    dids: tuple[str, ...] = ()


def read_peers(home: BrokerHome) -> Peers:
    """Return the peers.

    Raises:
        MalformedError: ``peers.file``.
    """
    try:
        return msgspec.json.decode(home.peers_file.read_bytes(), type=Peers)
    except FileNotFoundError:
        return Peers()
    except (OSError, msgspec.MsgspecError) as error:
        raise MalformedError("peers.file", "the file of the peers cannot be read") from error


def set_peers(home: BrokerHome, dids: tuple[str, ...]) -> None:
    """Keep the peers."""
    files.write_private(home.peers_file, canonical.encode(Peers(tuple(sorted(set(dids))))))


class Witnessing:
    """A broker's side that takes up the checkpoints of its peers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def newest(self, body: bytes) -> bytes:
        """Return the newest checkpoint seen of a peer, or ``null``.

        Raises:
            MalformedError, SignatureError: Not a request signed by the broker it names.
            RefusedError: ``anchor.peer``; ``request.broker``; ``request.stale``.
        """
        did = self._open(body).broker
        with self._broker.accounts.database.transaction() as db:
            known = _known(db, did)
        return b"null" if known is None else known

    def put(self, body: bytes) -> bytes:
        """Take up a peer's checkpoint and return what this broker signs about it.

        Raises:
            MalformedError, SignatureError: Not a request signed by the broker it names, or not a signed checkpoint.
            RefusedError: ``anchor.peer``; ``broker.restored``; ``request.broker``; ``request.stale``.
            TrustError: It does not extend the one seen before: two histories of one broker (kept as an event).
        """
        request = self._open(body)
        if request.checkpoint is None:
            raise MalformedError("anchor.checkpoint", "there is no checkpoint in the request")
        stated = open_checkpoint(request.checkpoint, broker=request.broker)
        if self._broker.restored is not None:
            raise RefusedError("broker.restored", "this broker was restored and signs nothing now")
        now, digest = self._broker.now(), digest_of(request.checkpoint)
        named: dict[str, Any] = {"actor": stated.broker, "subject": digest, "count": stated.events}
        try:
            with self._broker.accounts.database.transaction() as db:
                known = _known(db, stated.broker)
                table = schema.witnessed
                if known is None:
                    values = {"broker": stated.broker, "checkpoint": canonical.encode(request.checkpoint)}
                    db.execute(sa.insert(table), values)
                elif known != canonical.encode(request.checkpoint):
                    before = open_checkpoint(msgspec.json.decode(known, type=Envelope))
                    check_extension(before, stated, request.extends)
                    change = sa.update(table).where(table.c.broker == stated.broker)
                    db.execute(change.values(checkpoint=canonical.encode(request.checkpoint)))
                if known != canonical.encode(request.checkpoint):  # the same again changes nothing
                    event_log.open_log(db, now)
                    event_log.record(db, Event("anchor", now, **named))
                event_log.check_current(db)
        except TrustError as error:
            self._broker.journal.add(Event("refusal", now, op="anchor", status=error.code, **named))
            raise
        statement = Anchored(self._broker.did, stated.broker, digest, stated.events, stated.root, now)
        return canonical.encode(sign_anchored(statement, self._broker.key))

    def _open(self, body: bytes) -> AnchorRequest:
        """Return a request that a peer has signed, for this broker, just now: what it has charged is not for others."""
        try:
            document = msgspec.json.decode(body, type=Envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError("anchor.request", "not a signed request") from error
        asked = documents.decode(unverified_payload(document), AnchorRequest)
        if asked.broker not in read_peers(self._broker.home).dids:
            raise RefusedError("anchor.peer", "this broker takes up no checkpoints of that one")
        open_envelope(document, REQUEST_TYPE, asked.broker)
        if asked.to != self._broker.did:
            raise RefusedError("request.broker", "the request is for another broker")
        if abs(parse_time(self._broker.now()) - parse_time(asked.time)) > timedelta(seconds=_FRESH_S):
            raise RefusedError("request.stale", "the request is too old or from the future", next_step="sign it anew")
        return asked


def _known(db: sa.Connection, did: str) -> bytes | None:
    table = schema.witnessed
    found: bytes | None = db.scalar(sa.select(table.c.checkpoint).where(table.c.broker == did))
    return found
