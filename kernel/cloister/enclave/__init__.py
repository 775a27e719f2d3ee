"""The enclave outside the vault: agent, channels, attesters, isolation, bridges; starts sandboxes and vaults."""
