"""An introduction: who says hello signs it, so that strangers cannot use up the evidence that analysts ask for.

Evidence costs hardware time, and whoever connects can ask for it before he has proved anything. The hello names its
sender in any case; the introduction beside it (an HTTP header of the WebSocket's handshake) shows that it is he. It
opens nothing, is part of no binding, and may be missing: it only says in which queue a hello stands.
"""

from __future__ import annotations

from cloister.attest.encoding import b64, unb64
from cloister.errors import CloisterError
from cloister.wire import identity
from cloister.wire.identity import SigningKey

HEADER = "cloister-introduction"
DOMAIN = "cloister/introduction/v1"
FRESH_S = 120
"""How far the clocks of both sides may be apart; who is further off is a stranger."""
_LONGEST = 128


def introduce(key: SigningKey, hello: bytes, now_s: float) -> str:
    """Return the header for the bytes of a hello, at a Unix time."""
    time = str(int(now_s))
    return f"{time} {b64(key.sign(DOMAIN, _message(time, hello)))}"


def is_introduced(header: str, hello: bytes, audience: str, now_s: float) -> bool:
    """Whether ``audience``, whom the hello names, signed it for about now. Whoever asks has to see it but once."""
    time, _, text = header[:_LONGEST].partition(" ")
    try:
        if not time.isascii() or not time.isdecimal() or abs(int(time) - now_s) > FRESH_S:
            return False
        identity.verify(audience, DOMAIN, _message(time, hello), unb64(text, size=64, code="introduction.malformed"))
    except CloisterError:
        return False
    return True


def _message(time: str, hello: bytes) -> bytes:
    return time.encode() + b"\x00" + hello
