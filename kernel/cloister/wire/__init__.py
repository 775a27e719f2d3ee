"""Shared vocabulary: canonical JSON, framing, identities and signed envelopes. Pure."""
