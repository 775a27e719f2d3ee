"""What one host can be told by, among those that ask: limits are counted by it."""

from __future__ import annotations

import ipaddress


def network(address: str) -> str:
    """Return what one host can be told by: an IPv4 address, or the /64 of an IPv6 one, of which a host has 2**64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
