"""Anchors: a file, and a second broker over HTTP; each sees a broker that went back or was forked."""

from __future__ import annotations

import contextlib
import shutil
import threading

import msgspec
import pytest
import uvicorn
from log_world import checked, exported, spend, taken
from provider_world import World

from cloister.errors import CloisterError, RefusedError, SignatureError, TrustError, UnavailableError
from cloister.provider import anchors, clock
from cloister.provider.anchors import BrokerAnchor, FileAnchor, Witnessing
from cloister.provider.server import create_app
from cloister.receipt import checkpoint
from cloister.receipt.checkpoint import Taken, open_anchored, open_checkpoint
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey


def prover(world: World):
    def prove(before: Envelope | None):
        return taken(world, None if before is None else Taken(before))

    return prove


def beside(world: World, other: World, url: str) -> BrokerAnchor:
    """Return the anchor of a world at another one."""
    return BrokerAnchor(url, world.broker_key, other.broker.did, now=lambda: clock.text(world.now))


def asked(world: World, other: World, one: Taken | None = None, *, key: SigningKey | None = None, **changes) -> bytes:
    """Return what a world's broker asks another one."""
    sent = {} if one is None else {"checkpoint": one.checkpoint, "extends": one.extends}
    fields = {"broker": world.broker.did, "to": other.broker.did, "time": clock.text(world.now)} | sent | changes
    return canonical.encode(anchors.sign_request(anchors.AnchorRequest(**fields), key or world.broker_key))


@contextlib.contextmanager
def serving(world: World):
    """Serve a world's broker over HTTP, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(create_app(world.broker), port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A broker with charges, and a second one that takes up its checkpoints."""
    first, second = World(tmp_path_factory.mktemp("first")), World(tmp_path_factory.mktemp("second"))
    spend(first, 2)
    anchors.set_peers(second.home, (first.broker.did,))
    with serving(second) as url:
        yield first, second, url
    first.broker.close()
    second.broker.close()


def test_a_file_takes_what_extends_its_last_line(make_world, tmp_path):
    world, path = make_world(), tmp_path / "elsewhere"
    spend(world, 1)
    place = FileAnchor(path, world.broker.did)
    for number in range(3):
        anchors.anchor(place, prover(world))
        assert len(path.read_bytes().splitlines()) == number + 1
    assert path.stat().st_mode & 0o077 == 0
    unproven = taken(world)
    with pytest.raises(TrustError):
        place.put(unproven)
    # A clone of the broker, or an older copy of it, cannot go on in this file.
    world.broker.close()
    shutil.rmtree(world.home.directory / "keys")
    for file in world.home.directory.glob("accounts.*"):
        file.unlink()
    world.broker = world.start()
    with pytest.raises(CloisterError) as stopped:
        anchors.anchor(place, prover(world))
    assert stopped.value.code in {"log.size", "log.consistency"}
    assert len(path.read_bytes().splitlines()) == 3


def test_a_file_of_another_broker_is_refused(make_world, tmp_path):
    world = make_world()
    anchors.anchor(FileAnchor(tmp_path / "file", world.broker.did), prover(world))
    with pytest.raises(TrustError):
        FileAnchor(tmp_path / "file", SigningKey.generate().did).newest()


def test_a_second_broker_signs_what_it_has_seen(pair):
    first, second, url = pair
    place = beside(first, second, url)
    one, said = anchors.anchor(place, prover(first))
    assert second.broker.did in said
    assert place.newest() == one.checkpoint
    first.later(minutes=1)
    two, _ = anchors.anchor(place, prover(first))
    assert place.newest() == two.checkpoint
    # The same again is seen again, and the older one is not.
    place.put(two)
    with pytest.raises(TrustError):
        place.put(one)
    assert place.newest() == two.checkpoint
    report = checked(exported(second))
    assert report.sound
    assert report.by_kind["anchor"] == 2  # the same again leaves nothing
    assert report.by_kind["refusal"] >= 1


def test_a_fork_is_seen_by_the_second_broker(pair, make_world, tmp_path):
    first, second, url = pair
    place = beside(first, second, url)
    anchors.anchor(place, prover(first))
    seen = place.newest()
    # What the second broker believes is not changed by a checkpoint that goes another way.
    stated = open_checkpoint(seen)
    longer = msgspec.structs.replace(stated, events=stated.events + 5, root="sha256:" + "7" * 64)
    forged = checkpoint.sign_checkpoint(longer, first.broker_key)
    proofs = taken(first, Taken(seen)).extends
    with pytest.raises(TrustError) as stopped:
        place.put(Taken(forged, "", proofs))
    assert stopped.value.code == "log.consistency"
    assert place.newest() == seen


def test_strangers_are_not_taken_up(pair, make_world):
    _, second, url = pair
    stranger = make_world()
    with pytest.raises(TrustError) as stopped:
        beside(stranger, second, url).newest()
    assert stopped.value.code == "anchor.peer"
    with pytest.raises(RefusedError):
        Witnessing(second.broker).put(asked(stranger, second, taken(stranger)))


def test_only_the_peer_itself_asks_and_hands_over(pair):
    """What an account has spent is in a checkpoint; and whoever has one of a peer could fill the log with it."""
    first, second, _ = pair
    place, stranger = Witnessing(second.broker), SigningKey.generate()
    one = taken(first)
    for body in (
        canonical.encode({"broker": first.broker.did}),
        asked(first, second, key=stranger),
        asked(first, second, one, key=stranger),
        asked(first, first),
        asked(first, second, time="2026-05-31T23:00:00Z"),
    ):
        for act in (place.put, place.newest):
            with pytest.raises(CloisterError) as stopped:
                act(body)
            assert stopped.value.code not in {"anchor.peer", "anchor.checkpoint"}
    with pytest.raises(CloisterError) as stopped:
        place.put(asked(first, second))
    assert stopped.value.code == "anchor.checkpoint"


def test_the_word_of_anybody_but_the_peer_is_worth_nothing(pair):
    first, second, url = pair
    place = BrokerAnchor(url, first.broker_key, SigningKey.generate().did, now=lambda: clock.text(first.now))
    with pytest.raises(CloisterError):
        place.put(taken(first))
    # Also if it is somebody who answers everything and signs with a key of his own.
    two = taken(first)
    stated, signer = open_checkpoint(two.checkpoint), SigningKey.generate()
    named = (stated.broker, checkpoint.digest_of(two.checkpoint), stated.events, stated.root, stated.time)
    said = checkpoint.sign_anchored(checkpoint.Anchored(signer.did, *named), signer)
    other = beside(first, second, url)
    other._post = lambda *_: canonical.encode(said)
    with pytest.raises(CloisterError) as stopped:
        other.put(two)
    assert isinstance(stopped.value, TrustError | SignatureError)


def test_a_statement_about_another_checkpoint_is_worth_nothing(pair):
    first, second, _ = pair
    one = taken(first)
    body = Witnessing(first.broker)  # a broker that is no peer of itself
    with pytest.raises(RefusedError):
        body.put(asked(first, first, one))
    place = Witnessing(second.broker)
    known = msgspec.json.decode(place.newest(asked(first, second)), type=Envelope | None)
    two = taken(first, None if known is None else Taken(known))
    signed = msgspec.json.decode(place.put(asked(first, second, two)), type=Envelope)
    assert open_anchored(signed, broker=second.broker.did, checkpoint=two.checkpoint).events > 0
    for broker, document in ((second.broker.did, one.checkpoint), (first.broker.did, two.checkpoint)):
        with pytest.raises(TrustError):
            open_anchored(signed, broker=broker, checkpoint=document)


def test_an_anchor_that_is_not_there(tmp_path):
    with pytest.raises(UnavailableError):
        BrokerAnchor("http://127.0.0.1:1", SigningKey.generate(), "did:key:x").newest()
