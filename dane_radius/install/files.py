"""The templates of the installed files, and the values in them."""

from __future__ import annotations

import importlib.resources
import re

from dane_radius.install.errors import InstallError


def template(name: str) -> str:
    """The text of a file in the `freeradius` package."""
    return importlib.resources.files("freeradius").joinpath(name).read_text(encoding="utf-8")


def render(text: str, values: dict[str, str]) -> str:
    """Replace each `@name@` in `text` by its value. Raises InstallError for a name without a value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InstallError(f"no value for @{match[1]}@")
        return values[match[1]]

    return re.sub(r"@([a-z_]+)@", value, text)
