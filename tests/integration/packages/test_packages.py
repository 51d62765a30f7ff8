"""The Debian package of a RADIUS server on a clean Debian: the short form of `script/deb check`."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from script.distribution import libraries
from script.distribution.project import BuildError, epoch
from tests.integration.packages.story import check

pytestmark = [pytest.mark.daemons, pytest.mark.timeout(1200)]
PREVIOUS = "v0.2.0"


def _cannot() -> str | None:
    """Why packages cannot be built and installed here."""
    missing = [name for name in ("mmdebstrap", "dpkg-buildpackage", "dh") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    if {name for _, name in socket.if_nameindex()} == {"lo"}:
        return "needs the package archives of Debian and Python"
    try:
        epoch(PREVIOUS)
    except BuildError as error:
        return str(error)
    return None


def test_the_life_of_a_package(tmp_path: Path) -> None:
    if reason := _cannot():
        pytest.skip(reason)
    held: list[str] = []
    check(tmp_path, libraries.this_release(), PREVIOUS, short=True, say=held.append)
    assert sum(line.startswith("held: ") for line in held) == 10
