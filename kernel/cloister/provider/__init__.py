"""The provider's machine: cards, sealing, contract signing and the broker (keys and accounts)."""
