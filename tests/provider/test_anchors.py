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

from cloister.errors import CloisterError, RefusedError, TrustError, UnavailableError
from cloister.provider import anchors
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
    place = BrokerAnchor(url, first.broker.did, peer=second.broker.did)
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
    assert report.by_kind["anchor"] == 3
    assert report.by_kind["refusal"] >= 1


def test_a_fork_is_seen_by_the_second_broker(pair, make_world, tmp_path):
    first, _, url = pair
    place = BrokerAnchor(url, first.broker.did)
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
        BrokerAnchor(url, stranger.broker.did).newest()
    assert stopped.value.code == "anchor.peer"
    with pytest.raises(RefusedError):
        Witnessing(second.broker).put(canonical.encode(anchors.AnchorRequest(taken(stranger).checkpoint)))


def test_a_statement_about_another_checkpoint_is_worth_nothing(pair):
    first, second, _ = pair
    one = taken(first)
    body = Witnessing(first.broker)  # a broker that is no peer of itself
    with pytest.raises(RefusedError):
        body.put(canonical.encode(anchors.AnchorRequest(one.checkpoint)))
    place = Witnessing(second.broker)
    known = msgspec.json.decode(place.newest(canonical.encode({"broker": first.broker.did})), type=Envelope | None)
    two = taken(first, None if known is None else Taken(known))
    signed = msgspec.json.decode(
        place.put(canonical.encode(anchors.AnchorRequest(two.checkpoint, two.extends))), type=Envelope
    )
    assert open_anchored(signed, broker=second.broker.did, checkpoint=two.checkpoint).events > 0
    for broker, document in ((second.broker.did, one.checkpoint), (first.broker.did, two.checkpoint)):
        with pytest.raises(TrustError):
            open_anchored(signed, broker=broker, checkpoint=document)


def test_an_anchor_that_is_not_there(tmp_path):
    with pytest.raises(UnavailableError):
        BrokerAnchor("http://127.0.0.1:1", "did:key:x").newest()
