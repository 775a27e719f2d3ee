"""Replay: a notebook runs again on anybody's machine, with its own receipts in place of an enclave.

A room that is put together from others, as ``demo`` is: the analyst's proxy in front, the enclave's sandbox behind
it, the vault's pure code for prices and refusals, the reviewer's checks before anything runs. No data, no network, no
engine.
"""
