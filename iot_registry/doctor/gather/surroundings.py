"""Gathers facts about what surrounds the registry: systemd, and the tools of the signing name server."""

from __future__ import annotations

import subprocess
from pathlib import Path

from health_report import CannotTry
from iot_registry.doctor.facts import UnitFacts
from iot_registry.local.config import Settings

_SECONDS = 5.0
# sd_booted(3)
_SYSTEMD = Path("/run/systemd/system")


def read_unit(name: str) -> UnitFacts:
    """The state of a unit. Raises CannotTry if systemd does not run here, OSError."""
    if not _SYSTEMD.is_dir():
        raise CannotTry("systemd does not run here")
    shown = "--property=LoadState,ActiveState,UnitFileState"
    said = _run(["systemctl", "show", shown, "--", name])
    values = dict(line.partition("=")[::2] for line in said.splitlines())
    return UnitFacts(name, values.get("LoadState", ""), values.get("ActiveState", ""), values.get("UnitFileState", ""))


def signer_problem(settings: Settings) -> str | None:
    """Why the registry cannot control Knot, or None. Nothing is changed there."""
    conf = str(settings.signer.conf.absolute())
    try:
        _run(["knotc", "-c", conf, "status"])
        _run(["keymgr", "-V"])
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except (CannotTry, OSError) as error:
        return str(error)
    return None


def _run(command: list[str]) -> str:
    """The output of a command. Raises CannotTry if it fails or takes too long, OSError."""
    title = " ".join(command)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise CannotTry(f"`{title}` did not finish within {_SECONDS:g} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise CannotTry(f"`{title}`: code {done.returncode}: {said}")
    return done.stdout
