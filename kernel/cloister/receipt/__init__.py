"""Shared vocabulary: receipts, account entries, log proofs. Pure."""
