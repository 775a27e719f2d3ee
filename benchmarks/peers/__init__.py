"""One runner per peer: a script run by the peer's own interpreter, with the standard library and ``task`` beside it."""
