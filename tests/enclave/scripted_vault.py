"""Stands in for ``cloister.vault`` in a copied package: what the agent tells a vault, and what a hostile one gets.

describe: the context. release: the context, with a receipt, an admission and a rehearsal in the routing. price: asks
the attester with the hello in the plan and returns what it said. budget: nothing.
"""

import argparse
import base64
import json
import os
import socket
import sys

from cloister.wire import canonical, frames
from cloister.wire.identity import SigningKey

parser = argparse.ArgumentParser()
parser.add_argument("--link-fd", type=int)
parser.add_argument("--broker-fd", type=int)
options = parser.parse_args()
link = socket.socket(fileno=options.link_fd)
broker = socket.socket(fileno=options.broker_fd)
key = SigningKey.generate()


def receive(sock, decoder=None):
    decoder = decoder or frames.Decoder()
    while True:
        data = sock.recv(1 << 16)
        if not data:
            sys.exit(0)
        yield from decoder.feed(data)


requests, answers = receive(link), receive(broker)
config = json.loads(next(requests).parts[0])
hpke = base64.b64encode(b"h" * 32).decode()
link.sendall(frames.encode(0, canonical.encode({"vault_id": key.did, "vault_hpke": hpke})))
for frame in requests:
    context, request = (json.loads(part) for part in frame.parts)
    routing = {"session": context["session"], "receipts": [], "admissions": []}
    result = {"context": context, "config": sorted(config), "env": sorted(os.environ)}
    if request["op"] == "release":
        routing["receipts"], routing["admissions"] = [{"fake": "receipt"}], [{"fake": "admission"}]
        usage = {"rows": 1, "compute": 1, "models": 0}
        routing["rehearsals"] = [{"release": "r", "plan": "p", "question": "q", "costs": [], "usage": usage}]
    if request["op"] == "price":
        head = {"type": "attest", "id": "1"}
        broker.sendall(frames.encode(5, canonical.encode(head), request["plan"]["hello"].encode()))
        answer = next(answers)
        result = {"head": json.loads(answer.parts[0]), "offer": json.loads(answer.parts[1]) if answer.parts[1:] else {}}
    if request["op"] == "describe" and request["plan"]:
        routing["session"] = request["plan"]["session"]  # tries to answer somebody else
    link.sendall(frames.encode(7, canonical.encode(routing), canonical.encode({"id": request["id"], "result": result})))
