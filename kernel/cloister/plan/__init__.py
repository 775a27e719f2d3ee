"""Shared vocabulary: the query plan, its types, layout and shaping. Pure."""
