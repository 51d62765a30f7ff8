"""Reference IoT registry: issues device certificates, publishes TLSA records and revokes them.

Packages, inner to outer; each may import only those before it:
`names`, `errors`, `config` (values), `pki` (keys, requests, certificates), `store` (database), `feed` and
`publication` (what the DNS must say, and making it so), `signer` (the zone-signing server), `service` (what
may be asked for), `web` and `cli` (how it is asked).
"""

from __future__ import annotations

__version__ = "0.1.0"
