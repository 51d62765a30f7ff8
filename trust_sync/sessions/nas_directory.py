"""The NASes that accept requests, and their secrets."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from trust_sync.shared import IpNetwork, NasConfig, read_secret


@dataclass(frozen=True, slots=True, repr=False)
class Nas:
    """A NAS, or a network of NASes, that accepts requests. coa: whether CoA-Requests may change the VLAN."""

    network: IpNetwork
    secret: bytes
    port: int = 3799
    coa: bool = False

    def __repr__(self) -> str:
        return f"Nas({self.network}, port={self.port}, coa={self.coa})"


class NasDirectory:
    """Finds the NAS entry for an address. The longest network prefix wins."""

    def __init__(self, nases: Sequence[Nas]) -> None:
        self._nases = sorted(nases, key=lambda nas: nas.network.prefixlen, reverse=True)

    @classmethod
    def from_config(cls, entries: Sequence[NasConfig], rows: Sequence[tuple[str, str]] = ()) -> NasDirectory:
        """Combine [[nas]] entries and rows of the `nas` table. Raises ConfigError for an unreadable secret file."""
        nases = [
            Nas(
                entry.network,
                (entry.secret or read_secret(entry.secret_file or "", "nas.secret_file")).encode(),
                entry.port,
                entry.coa,
            )
            for entry in entries
        ]
        for name, secret in rows:
            try:
                nases.append(Nas(ipaddress.ip_network(name, strict=False), secret.encode()))
            except ValueError:
                # FreeRADIUS permits a host name here. It matches no session, as these are stored by address.
                continue
        return cls(nases)

    def find(self, address: str) -> Nas | None:
        """The entry for an address. None: no secret is configured for it."""
        try:
            wanted = ipaddress.ip_address(address)
        except ValueError:
            return None
        return next((nas for nas in self._nases if wanted in nas.network), None)
