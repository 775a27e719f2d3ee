"""The broker's directory: one place for its key, policy, contracts, data keys and accounts.

broker.key       the did key that signs replies (0600)
policy.toml      which enclaves this broker admits; contracts pin its digest
contracts/       signed contracts and the provider's decisions about them
keys/            data keys of capsules (0600)
accounts.sqlite  the accounts
"""

from __future__ import annotations

import base64
from pathlib import Path

from cloister.attest.policy import Policy, parse_policy, policy_digest
from cloister.contract.card import Card
from cloister.errors import UnavailableError
from cloister.provider import files
from cloister.provider.keys import DataKey, DataKeys, create_identity, load_identity
from cloister.provider.registry import Registry
from cloister.provider.seal import Sealed
from cloister.wire.identity import SigningKey


class BrokerHome:
    """Paths and stores of one broker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_file = directory / "broker.key"
        self.policy_file = directory / "policy.toml"
        self.accounts_file = directory / "accounts.sqlite"
        self.contracts = Registry(directory / "contracts")
        self.data_keys = DataKeys(directory / "keys")

    @classmethod
    def create(cls, directory: Path, policy: str) -> BrokerHome:
        """Return a broker's directory with a key (kept if there is one) and this policy (TOML).

        Raises:
            MalformedError: Not a policy.
            TrustError: The key file can be read by others.
        """
        parse_policy(policy)
        home = cls(files.private_directory(directory))
        create_identity(home.key_file)
        files.write_private(home.policy_file, policy.encode())
        return home

    def identity(self) -> SigningKey:
        """Return the broker's key.

        Raises:
            UnavailableError: There is none yet.
        """
        return load_identity(self.key_file)

    def policy(self) -> tuple[Policy, str]:
        """Return the appraisal policy and its digest.

        Raises:
            UnavailableError: There is none.
            MalformedError: It cannot be read.
        """
        try:
            text = self.policy_file.read_text(encoding="utf-8")
        except OSError as error:
            raise UnavailableError("policy.missing", f"no policy at {self.policy_file}") from error
        return parse_policy(text), policy_digest(text)

    def add_capsule(self, card: Card, sealed: Sealed) -> None:
        """Keep the data key of a capsule."""
        text = base64.b64encode(sealed.data_key).decode("ascii")
        self.data_keys.put(DataKey(sealed.manifest_digest, card.name, card.grade, text))
