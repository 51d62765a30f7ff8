"""Reads the installer's manifest: what was installed, and with which options.

This room does not use the installer, which an examination must not depend on.
"""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

from dane_radius.doctor.installation import Installation
from dane_radius.server import DEFAULT_CONFIG

_MANIFEST, _VERSION = ".dane-radius.json", 1
_DEFAULT_USER = "freerad"
_SETTINGS_FILE = "dane-radius.toml"


def read_installation(raddb: Path, config_file: str | None) -> Installation:
    """What the manifest in `raddb` describes. `config_file` overrides the installed one. Never raises."""
    problem = None
    data: dict[str, Any] = {}
    try:
        data = _read(raddb / _MANIFEST)
    except FileNotFoundError:
        problem = f"{raddb} has no {_MANIFEST}: the module is not installed there"
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
    except (ValueError, RecursionError) as error:
        problem = f"{raddb / _MANIFEST}: {error}"
    files, links, options = (_texts(data, key) for key in ("files", "links", "options"))
    installed = str(Path(options["config_dir"], _SETTINGS_FILE)) if "config_dir" in options else DEFAULT_CONFIG
    names = {template_name(raddb, path) for path in files}
    return Installation(
        raddb=raddb,
        config_file=config_file or installed,
        user=options.get("user", _DEFAULT_USER),
        files=files,
        links=links,
        templates={name: text for name in names if (text := _template(name)) is not None},
        problem=problem,
    )


def _read(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_bytes())
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        raise ValueError(f"version {_VERSION} of the manifest is expected")
    return data


def _texts(data: dict[str, Any], key: str) -> dict[str, str]:
    """The entries of a section whose values are text."""
    section = data.get(key)
    return {k: v for k, v in section.items() if isinstance(v, str)} if isinstance(section, dict) else {}


def template_name(raddb: Path, path: str) -> str:
    """The name in the package `freeradius` of an installed file."""
    file = Path(path)
    return str(file.relative_to(raddb)) if file.is_relative_to(raddb) else f"dane-radius/{file.name}"


def _template(name: str) -> str | None:
    """The text of a file of this package; None if it has none of this name."""
    try:
        return importlib.resources.files("freeradius").joinpath(name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
