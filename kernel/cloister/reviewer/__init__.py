"""Verification and replay, anywhere, offline, without data."""
