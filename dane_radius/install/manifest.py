"""The manifest: a JSON file in raddb that records what was installed, with the digest of each file.

By the digest, the installer recognizes a file that an operator has changed, and neither overwrites nor removes it.
Earlier versions of the installer read it too: they ignore keys that they do not know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dane_radius.install.errors import InstallError
from dane_radius.install.nodes import Absent, File, Node, name_of
from dane_radius.install.server_limits import LimitKey
from dane_radius.install.server_security import SecurityKey

MANIFEST = ".dane-radius.json"
VERSION = 1

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4096)]
# The values are written into configuration files, between quotes.
_Value = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\x22\x27\x5c]*$", max_length=4096)]
StockLink = Literal["sites-enabled/default", "sites-enabled/inner-tunnel", "mods-enabled/eap"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class Limit(_Section):
    """The old and the new value of a limit in radiusd.conf."""

    old: Annotated[int, Field(ge=0, lt=2**31)]
    new: Annotated[int, Field(ge=0, lt=2**31)]


class Options(_Section):
    """The options of the last installation. None: not recorded, or "none" for `hint_socket` and `standing`."""

    config_dir: _Value | None = None
    anchors: _Value | None = None
    server_key: _Value | None = None
    server_certificate: _Value | None = None
    hint_socket: _Value | None = None
    standing: _Value | None = None
    user: _Value | None = None
    keep_default: bool | None = None
    resumption: bool | None = None
    accounting: Literal["none", "sqlite"] | None = None
    threads: Annotated[int, Field(ge=0, le=4096)] | None = None


class Manifest(_Section):
    """What was installed. Paths of files and links are absolute.

    owners: user and group of each displaced link. folders: those that the installer made.
    """

    version: Literal[1] = 1
    files: dict[_Text, _Digest] = Field(default_factory=dict)
    links: dict[_Text, _Text] = Field(default_factory=dict)
    displaced: dict[StockLink, _Text] = Field(default_factory=dict)
    owners: dict[StockLink, tuple[int, int]] = Field(default_factory=dict, strict=False)
    folders: list[_Text] = Field(default_factory=list)
    limits: dict[LimitKey, Limit] = Field(default_factory=dict)
    security: list[SecurityKey] = Field(default_factory=list)
    options: Options = Field(default_factory=Options)


def read_manifest(node: Node, path: Path) -> Manifest | None:
    """The manifest that stands at `path`; None if nothing was installed.

    Raises InstallError if someone else than root could have written it, or if it is not a manifest of this version.
    """
    if isinstance(node, Absent):
        return None
    if not isinstance(node, File):
        raise InstallError(f"{path}: {name_of(node)} found, a file expected; remove it")
    if node.uid != 0 or node.mode & 0o022:
        raise InstallError(
            f"{path}: anyone but root could have written it (owner {node.uid}, mode {node.mode:04o}); "
            "read it, and if it is right: chown root, chmod 0640"
        )
    try:
        data = json.loads(node.octets)
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            newer = isinstance(version, int) and version > VERSION
            hint = "; use the version of dane-radius that installed it, or a later one" if newer else ""
            raise InstallError(f"{path}: version {version!r} found, version {VERSION} expected{hint}")
        return Manifest.model_validate_json(node.octets)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InstallError(f"{path}: {key}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise InstallError(f"{path}: not a manifest: {error}") from error


def own_paths(manifest: Manifest, path: Path, raddb: Path, real: Path, allowed: frozenset[Path]) -> Manifest:
    """The manifest with its paths below `raddb`, also if it has the folder's real name.

    path: of the manifest, for messages. allowed: the paths that an installation consists of. Raises InstallError if it
    names any other: nothing else is ever changed or removed.
    """

    def own(name: str) -> str:
        named = Path(name)
        if named.is_relative_to(real):
            named = raddb / named.relative_to(real)
        if named not in allowed:
            raise InstallError(
                f"{path}: names {name}, which is no part of an installation in {raddb}; "
                "is the manifest forged, or from another server? Compare it, and move it away"
            )
        return str(named)

    changes = {
        "files": {own(name): digest for name, digest in manifest.files.items()},
        "links": {own(name): target for name, target in manifest.links.items()},
        "folders": [own(name) for name in manifest.folders],
    }
    return manifest.model_copy(update=changes)


def encode_manifest(manifest: Manifest) -> bytes:
    """The content of the manifest file."""
    return json.dumps(manifest.model_dump(), indent=2).encode() + b"\n"
