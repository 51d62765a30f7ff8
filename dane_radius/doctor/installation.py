"""Which installation is examined, and with which names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Installation:
    """One installation of the module.

    config_file: dane-radius.toml. user: the server's. files and links: the manifest's, path -> digest and path ->
    target. templates: this package's files, name -> text. problem: why the manifest could not be read, or None.
    """

    raddb: Path
    config_file: str
    user: str
    files: Mapping[str, str]
    links: Mapping[str, str]
    templates: Mapping[str, str]
    problem: str | None = None


@dataclass(frozen=True)
class Names:
    """Names to ask the resolver for. None: the default ones, which need the Internet.

    good: one with valid signatures. bad: one with invalid signatures. server: the name of the RADIUS server.
    """

    good: str | None = None
    bad: str | None = None
    server: str | None = None
