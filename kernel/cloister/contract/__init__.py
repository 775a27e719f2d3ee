"""Shared vocabulary: data cards and contracts. Pure."""
