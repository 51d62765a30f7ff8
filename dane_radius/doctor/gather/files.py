"""Gathers facts about files: those of the manifest, and the owners and modes of those that the server needs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dane_radius.doctor.facts import Essential, FileState, InstalledFile, InstallFacts, Link
from dane_radius.doctor.gather.manifest import template_name
from dane_radius.doctor.gather.server import read_file
from dane_radius.doctor.installation import Installation
from dane_radius.doctor.raddb import Block
from health_report import CannotTry

_SETTINGS = ("dane-radius/dane-radius.toml", "dane-radius/policy.yaml")
_PLACEHOLDER = re.compile(r"@[a-z_]+@")
_MODULE = "dane_radius.rlm_python3"
_ACCEPTS = re.compile(r"\bAuth-Type\s*:?\s*:?=\s*[\"']?Accept\b")


def read_install(installation: Installation) -> InstallFacts:
    """The installed files and links. Raises CannotTry if the manifest could not be read."""
    if installation.problem is not None:
        raise CannotTry(installation.problem)
    files = tuple(_read_installed(path, digest, installation) for path, digest in installation.files.items())
    links = tuple(Link(path, target, _target(path)) for path, target in installation.links.items())
    return InstallFacts(files, links, tuple(_essentials(installation.raddb)) if files else ())


def _read_installed(path: str, digest: str, installation: Installation) -> InstalledFile:
    name = template_name(installation.raddb, path)
    template = installation.templates.get(name)
    is_settings = name in _SETTINGS
    try:
        octets = Path(path).read_bytes()
    except FileNotFoundError:
        return InstalledFile(path, FileState.MISSING, None, is_settings)
    except OSError:
        return InstalledFile(path, FileState.UNREADABLE, None, is_settings)
    state = FileState.UNCHANGED if hashlib.sha256(octets).hexdigest() == digest else FileState.CHANGED
    is_current = None if template is None else is_from(template, octets.decode("utf-8", "replace"))
    return InstalledFile(path, state, is_current, is_settings)


def is_from(template: str, text: str) -> bool:
    """Whether a text is a template with any value for each `@name@`."""
    pattern = _PLACEHOLDER.sub(".*", re.escape(template))
    return re.fullmatch(pattern, text) is not None


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return "a file of its own" if Path(path).exists() else None


def _essentials(raddb: Path) -> Iterator[Essential]:
    """Statements of the enabled sites and modules without which decisions are wrong."""
    none = "every device is refused"
    path, outer = _read(raddb, "sites", "dane")
    if outer is not None:
        authorize = outer.find("authorize") or Block()
        forged = "the server answers requests that an attacker may have changed"
        yield Essential(path, "dane_eap_only", forged, authorize.calls("dane_eap_only"))
        yield Essential(path, "dane_eap", none, authorize.calls("dane_eap"))
        yield _no_accept(path, outer)
    path, check = _read(raddb, "sites", "dane-check")
    if check is not None:
        yield Essential(path, "dane.authenticate", none, check.calls("dane.authenticate"))
        yield _no_accept(path, check)
    path, module = _read(raddb, "mods", "dane")
    if module is not None:
        is_ours = any(block.settings.get("module") == _MODULE for block in module.walk())
        yield Essential(path, f"module = {_MODULE}", none, is_ours)
    path, eap = _read(raddb, "mods", "dane_eap")
    if eap is not None:
        yield from _eap_essentials(path, eap)


def _eap_essentials(path: str, eap: Block) -> Iterator[Essential]:
    tls = next((block for block in eap.walk() if block.kind == "tls"), Block())
    cache = next((block for block in eap.walk() if block.kind == "cache"), Block())
    every = "FreeRADIUS accepts every certificate of every known CA"
    missing = "every device is refused with session_file_missing"
    yield Essential(path, "virtual_server = dane-check", every, tls.settings.get("virtual_server") == "dane-check")
    yield Essential(path, "persist_dir", missing, "persist_dir" in cache.settings)
    yield Essential(path, "enable = yes", missing, cache.settings.get("enable") == "yes")


def _no_accept(path: str, site: Block) -> Essential:
    consequence = "it admits devices without a decision"
    return Essential(path, "Auth-Type := Accept", consequence, _accepts(site), is_wanted=False)


def _accepts(site: Block) -> bool:
    """Whether a site has a statement that accepts by itself. Only the module may."""
    return any(
        _ACCEPTS.search(text)
        for block in site.walk()
        for text in (*block.lines, *(f"{key} := {value}" for key, value in block.settings.items()))
    )


def _read(raddb: Path, kind: str, name: str) -> tuple[str, Block | None]:
    """The path and the block of a site or module, the enabled one if there is one. None: it cannot be read."""
    path = raddb / f"{kind}-available" / name
    enabled = raddb / f"{kind}-enabled" / name
    if enabled.exists():
        path = enabled.resolve()
    try:
        block = read_file(path)
    except OSError:
        # The check of the manifest's files says so.
        return str(path), None
    return str(path), next((inner for inner in block.blocks if name in (inner.kind, inner.name)), Block())
