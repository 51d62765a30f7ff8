"""The manifest: a JSON file in raddb that records what was installed, with the digest of each file.

By the digest, the installer recognizes a file that an operator has changed, and neither overwrites nor removes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dane_radius.install.errors import InstallError

MANIFEST = ".dane-radius.json"
_VERSION = 1


def load_manifest(raddb: Path) -> dict[str, Any]:
    """The manifest in `raddb`, empty if nothing was installed. Raises InstallError if it is unreadable."""
    path = raddb / MANIFEST
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {"version": _VERSION, "files": {}, "links": {}, "displaced": {}}
    except (OSError, ValueError) as error:
        raise InstallError(f"{path}: {error}") from error
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        raise InstallError(f"{path}: version {_VERSION} expected")
    if not isinstance(data.get("options", {}), dict):
        raise InstallError(f"{path}: options is no object")
    return data


def encode_manifest(manifest: dict[str, Any]) -> bytes:
    """The content of the manifest file."""
    return json.dumps(manifest, indent=2).encode() + b"\n"
