"""The only place with plaintext: loads, checks, prices, runs and releases. Trusts nothing from the sandbox."""
