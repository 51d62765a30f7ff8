"""The network operator's control plane: which devices are here, what standing each has, and who decided so.

Sub-packages, inner to outer. Each may import only those named before it:

- `core`: names, standings and their transitions, rules, what decision log lines say, SCIM filters. Pure.
- `local`: what belongs to this process and machine: configuration, metrics, the policy file.
- `store`: the database: tables, migrations, the change feed.
- `service`: what people, monitors and RADIUS nodes may ask for.
- `web`: the JSON API, the change feed, SCIM, health and metrics over HTTPS.
- `cli`: the `dane-operations` command.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    # setup.cfg has it, and nothing else.
    __version__ = version("dane-radius")
except PackageNotFoundError:
    # On the path without being installed.
    __version__ = "unknown"
