"""Reference IoT registry: issues device certificates, publishes their TLSA records and revokes devices.

Sub-packages, inner to outer. Each may import only those named before it:

- `core`: names, refusals, certificates, certificate requests, TLSA records. Pure.
- `local`: what belongs to this process and machine: configuration, clock, log, metrics, key files.
- `store`: the database: tables, transactions, migrations, the change feed.
- `publication`: which records the DNS must serve, and the updates (RFC 2136) that make it serve them.
- `signer`: the zone-signing name server, for what updates cannot do.
- `service`: what administrators and devices may ask for.
- `https`: accepting connections, with their bounds, deadlines and TLS.
- `web`: EST, the JSON API, the change feed and public data over HTTP.
- `cli`: the `iot-registry` command.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    # setup.cfg has it, and nothing else.
    __version__ = version("dane-radius")
except PackageNotFoundError:
    # On the path without being installed.
    __version__ = "unknown"
