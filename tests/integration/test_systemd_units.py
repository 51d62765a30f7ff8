"""The shipped systemd files, checked with systemd's own tools. `script/images boot` boots a system with them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY

SYSTEMD = REPOSITORY / "containers" / "systemd"
# FreeRADIUS's unit is Debian's; ours confines it further.
DEBIAN_UNIT = Path("/lib/systemd/system/freeradius.service")
DROP_IN = SYSTEMD / "freeradius.service.d" / "dane-radius.conf"
UNITS = [*sorted(SYSTEMD.glob("*.service")), DEBIAN_UNIT]
SERVICES = {"dane-operations", "freeradius", "iot-registry", "trust-sync"}


def test_all_of_them_are_here() -> None:
    assert {unit.stem for unit in UNITS} == SERVICES
    assert {path.name for path in SYSTEMD.iterdir()} == {
        *(f"{name}.service" for name in SERVICES - {"freeradius"}),
        *("freeradius.service.d", "sysusers.d", "tmpfiles.d"),
    }


def installed(root: Path, unit: Path) -> Path:
    """A unit and its drop-in below a root folder, with a program that exists. Returns the file that is ours."""
    folder = root / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    copy = folder / unit.name
    program = re.search(r"^ExecStart=(\S+)", unit.read_text(), re.MULTILINE)
    assert program is not None
    # MemoryLimit=: a deprecated name in Debian's unit, at which the tool stops.
    copy.write_text(unit.read_text().replace(program[1], sys.executable).replace("MemoryLimit=", "MemoryMax="))
    if unit != DEBIAN_UNIT:
        return copy
    shutil.copytree(DROP_IN.parent, folder / DROP_IN.parent.name)
    return folder / DROP_IN.parent.name / DROP_IN.name


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_well_formed_and_tight(tmp_path: Path, unit: Path) -> None:
    ours = installed(tmp_path, unit)
    path = tmp_path / "etc" / "systemd" / "system" / unit.name
    verified = analyze("verify", "--man=no", "--recursive-errors=no", str(path))
    assert verified.returncode == 0, verified.stderr
    assert ours.name not in verified.stderr
    # The control: the tool names a misspelt setting.
    ours.write_text(ours.read_text().replace("ProtectSystem=", "ProtectSytem="))
    misspelt = analyze("verify", "--man=no", str(path))
    assert re.search(rf"{re.escape(ours.name)}.*ProtectSytem", misspelt.stderr)
    ours.write_text(ours.read_text().replace("ProtectSytem=", "ProtectSystem="))
    # Exposure in tenths, 100 being no protection. What remains is the network, which the service needs; for FreeRADIUS
    # also a call that its start needs.
    threshold = 15 if unit == DEBIAN_UNIT else 12
    rated = analyze(
        "security", "--offline=true", f"--root={tmp_path}", f"--threshold={threshold}", "--no-pager", unit.name
    )
    assert rated.returncode == 0, rated.stdout[-200:]
    assert "Overall exposure level" in rated.stdout
    tighter = analyze("security", "--offline=true", f"--root={tmp_path}", "--threshold=9", "--no-pager", unit.name)
    assert tighter.returncode == 1


def test_debian_alone_leaves_freeradius_exposed(tmp_path: Path) -> None:
    """The control of the rating: without the drop-in, the same command refuses."""
    ours = installed(tmp_path, DEBIAN_UNIT)
    ours.unlink()
    rated = analyze(
        "security", "--offline=true", f"--root={tmp_path}", "--threshold=20", "--no-pager", DEBIAN_UNIT.name
    )
    assert rated.returncode == 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system where the packages of Debian have made their users."""
    etc = tmp_path / "etc"
    for folder in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(SYSTEMD / folder, etc / folder)
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nfreerad:x:101:102::/etc/freeradius:/usr/sbin/nologin\n")
    (etc / "group").write_text("root:x:0:\nfreerad:x:102:\n")
    return tmp_path


def system_tool(root: Path, *command: str) -> None:
    done = subprocess.run([*command[:1], f"--root={root}", *command[1:]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr
    assert "Failed" not in done.stderr


def test_the_users_of_the_units_are_made(root: Path) -> None:
    system_tool(root, "systemd-sysusers", "trust-sync.conf", "iot-registry.conf", "dane-operations.conf")
    users = {line.split(":")[0]: line.split(":") for line in (root / "etc" / "passwd").read_text().splitlines()}
    for unit in UNITS:
        user = re.search(r"^User=(\S+)", unit.read_text(), re.MULTILINE)
        assert user is not None
        assert users[user[1]][6] == "/usr/sbin/nologin"
    assert re.search(r"^freerad:x:102:trust-sync$", (root / "etc" / "group").read_text(), re.MULTILINE)


def test_the_folders_belong_to_the_users_that_write_them(root: Path) -> None:
    system_tool(root, "systemd-sysusers", "trust-sync.conf", "iot-registry.conf", "dane-operations.conf")
    system_tool(root, "systemd-tmpfiles", "--create", "trust-sync.conf", "iot-registry.conf", "dane-operations.conf")
    users = {line.split(":")[0]: int(line.split(":")[2]) for line in (root / "etc" / "passwd").read_text().splitlines()}
    found = {
        folder: ((root / folder).stat().st_uid, (root / folder).stat().st_mode & 0o777)
        for folder in ("etc/dane-radius", "etc/iot-registry", "etc/dane-operations", "var/lib/dane-radius/anchors/ca",
                       "var/lib/dane-radius/accounting")
    }  # fmt: skip
    assert found == {
        "etc/dane-radius": (0, 0o750),
        "etc/iot-registry": (0, 0o750),
        "etc/dane-operations": (0, 0o750),
        "var/lib/dane-radius/anchors/ca": (users["trust-sync"], 0o755),
        "var/lib/dane-radius/accounting": (users["freerad"], 0o750),
    }
