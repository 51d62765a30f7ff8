"""An installation made by the release before is upgraded, and that release can be installed over an upgrade."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dane_radius.install import Installer
from dane_radius.install.radiusd import check_configuration
from tests.harness.deploy import REPOSITORY
from tests.integration.dane_radius.test_install import Machine
from tests.integration.dane_radius.test_install_steps import checked, layout, listing, sites

pytestmark = pytest.mark.daemons

# The last commit whose installer had no journal.
BEFORE = "48744ec4b84828059243365c704d733bd9e8f916"


@pytest.fixture
def machine(folder: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    place = folder / f"upgrade-{request.node.name}"
    place.mkdir()
    place.chmod(0o755)
    yield Machine(place)
    shutil.rmtree(place)


@pytest.fixture
def old(machine: Machine) -> Path:
    """The libraries with the release before in them."""
    done = subprocess.run(
        ["git", "-C", REPOSITORY, "archive", BEFORE, "dane_radius", "freeradius", "policy"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this clone does not have commit {BEFORE[:7]}")
    target = machine.folder / "old"
    shutil.copytree(machine.libraries.split(":")[0], target, copy_function=os.link)
    for package in ("dane_radius", "freeradius", "policy"):
        shutil.rmtree(target / package)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target)  # noqa: S202  # of our own repository
    return target


def run_old(machine: Machine, old: Path, *options: str) -> None:
    """The command of the release before."""
    code = "import sys; from dane_radius.cli import main; sys.argv[0] = 'dane-radius'; main()"
    arguments = ["install", "--raddb", machine.raddb, "--config-dir", machine.folder / "etc"]
    arguments += ["--anchors", machine.folder / "var" / "anchors", *options]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(old)},
        cwd="/",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_upgrade_keeps_settings_and_the_server_starts_in_every_state(machine: Machine, old: Path) -> None:
    before = listing(machine.raddb)
    run_old(machine, old, "--resumption", "--threads", "200")
    policy = machine.folder / "etc" / "policy.yaml"
    policy.write_text(policy.read_text() + "# our own policy\n")
    # A site of the previous version that the operator has changed calls policies of that version.
    edited = machine.raddb / "sites-available/dane-check"
    edited.write_text(edited.read_text() + "# our own site\n")
    assert "dane_drop_certificate_strings" in edited.read_text()
    options = json.loads((machine.raddb / ".dane-radius.json").read_text())["options"]
    assert options["resumption"] is True

    states: list[int] = []
    wanted = layout(machine, resumption=True, threads=200)
    report = Installer(wanted, hook=checked(machine, states)).install(check=True)
    assert report.passed, report.check
    assert states == list(range(len(report.actions) + 1))
    assert policy.read_text().endswith("# our own policy\n")
    assert edited.read_text().endswith("# our own site\n")
    assert {edit.path for edit in report.edits} == {policy, edited}
    assert "dane_keep_what_decides" in edited.with_name("dane-check.dane-new").read_text()
    assert "\ndane_drop_certificate_strings {" in (machine.raddb / "policy.d/dane").read_text()
    assert Installer(wanted).install().actions == []

    # With the site replaced, the policies of the previous version go.
    replaced = Installer(wanted, force=True).install(check=True)
    assert replaced.passed, replaced.check
    assert "dane_drop_certificate_strings" not in (machine.raddb / "policy.d/dane").read_text()
    assert policy.read_text().endswith("# our own policy\n")
    removed = Installer(wanted).uninstall(check=True)
    assert removed.passed, removed.check
    assert policy.exists()
    now = listing(machine.raddb)
    # The manifest of the previous version did not record who owned the stock links.
    assert {name: entry[0] for name, entry in now.items()} == {name: entry[0] for name, entry in before.items()}
    assert sites(machine.raddb) == ["default"]


def test_the_release_before_can_be_installed_over_this_one(machine: Machine, old: Path) -> None:
    before = {name: entry[0] for name, entry in listing(machine.raddb).items()}
    Installer(layout(machine)).install(check=True)
    run_old(machine, old)
    site = (machine.raddb / "sites-available/dane-check").read_text()
    assert "dane_drop_certificate_strings" in site
    assert check_configuration(machine.raddb)[0]
    again = Installer(layout(machine)).install(check=True)
    assert again.passed, again.check
    assert again.edits == []
    run_old(machine, old)
    run_old(machine, old, "--uninstall", "--no-check")
    assert {name: entry[0] for name, entry in listing(machine.raddb).items()} == before
