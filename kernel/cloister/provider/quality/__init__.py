"""Data quality, measured on the provider's machine against the card and the provider's rules."""
