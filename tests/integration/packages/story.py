"""The life of the packages on one system: install, configure, run, upgrade, roll back, remove, install again, purge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from script.distribution import libraries
from script.distribution.debian import build
from script.distribution.table import Table, read_table
from tests.harness.process import wait_for
from tests.integration.packages.system import System

# A version that is later than any release so far.
NEW = "99.0.dev1"
# The package with most of what can go wrong.
SHORT = ("dane-radius",)
UNITS = ("freeradius", "trust-sync", "iot-registry")
POLICY = "etc/dane-radius/policy.yaml"
SITE = "etc/freeradius/3.0/sites-available/dane"
# Where the operator moves the site that they changed, after the module was removed.
MOVED = f"{SITE}.mine"
_LINE = "# The operator's own line.\n"
MANIFEST = "etc/freeradius/3.0/.dane-radius.json"
_SYNC = """
[sessions]
database = "sqlite:////var/lib/dane-radius/accounting/radacct.db"
"""
_REGISTRY = '[registry]\nstate_dir = "/var/lib/iot-registry"\ndomain = "home.example"\n'
_POLICY = """\
version: 1
# The operator's own.
networks: {}
rules:
  - name: cameras
    identity: ["*.camera._device.home.example"]
    grant: {vlan: 42}
"""
DEVICE = "a1b2c3.camera._device.home.example"


@dataclass
class Story:
    """The system, and the packages of the version before (`old`) and of this one (`new`), by name."""

    system: System
    table: Table
    old: dict[str, Path]
    new: dict[str, Path]
    old_version: str
    new_version: str

    @property
    def with_registry(self) -> bool:
        """Whether the registry's package is one of those under test."""
        return "iot-registry" in self.new

    def registry(self, *command: str) -> str:
        config = ("--config", "/etc/iot-registry/iot-registry.toml")
        return self.system.run("runuser", "-u", "iot-registry", "--", "iot-registry", *command, *config)

    def names(self) -> list[str]:
        return [package.name for package in self.table.packages]


def installed_from_nothing(story: Story) -> None:
    """A first installation makes commands, users and folders. It changes no service, and nothing in FreeRADIUS."""
    system = story.system
    before = system.snapshot("etc/freeradius")
    text = system.install(*story.old.values())
    assert "rror" not in text, text
    assert system.snapshot("etc/freeradius") == before
    for package in story.table.packages:
        for command in package.commands:
            assert "Usage:" in system.run(command, "--help")
            assert system.exists(f"usr/share/man/man1/{command}.1.gz")
        for unit in package.units:
            assert "disabled" in system.run("systemctl", "is-enabled", unit, code=1)
    assert "freerad" in system.run("id", "--name", "--groups", "trust-sync")
    if story.with_registry:
        assert system.run("stat", "--format=%U:%G %a", "/etc/iot-registry").strip() == "root:iot-registry 750"
    assert system.run("stat", "--format=%U:%G %a", "/var/lib/dane-radius/anchors").strip() == "trust-sync:freerad 755"


def only_own_libraries(story: Story) -> None:
    """A package's code and libraries come from its own folder, whatever the environment and the system have."""
    program = (
        "import sys; sys.path.insert(0, '{folder}'); import {module}.cli, cryptography, pydantic, dns; "
        "own = [m for m in sys.modules.values() if getattr(m, '__file__', None) and 'packages' in m.__file__]; "
        "assert not own, own; assert cryptography.__file__.startswith('{folder}/')"
    )
    hostile = story.system.place / "usr/local/lib/hostile"
    hostile.mkdir()
    (hostile / "click.py").write_text("raise SystemExit('the wrong click')\n")
    for package in story.table.packages:
        module = package.modules[0]
        story.system.run("/usr/bin/python3", "-ISc", program.format(folder=package.folder, module=module))
        story.system.run("env", "PYTHONPATH=/usr/local/lib/hostile", package.commands[0], "--help")
    (hostile / "click.py").unlink()
    hostile.rmdir()


def another_installation_is_left_alone(story: Story) -> None:
    """The package neither removes nor takes over a module that FreeRADIUS loads from elsewhere."""
    system = story.system
    program = "import sys; sys.path.insert(0, '/opt/dane'); from dane_radius.cli import main; main()"
    system.run("cp", "-a", "/usr/lib/dane-radius", "/opt/dane")
    system.run("/usr/bin/python3", "-ISc", program, "install", "--no-check")
    before = system.snapshot("etc/freeradius", "etc/dane-radius")
    assert 'python_path = "/opt/dane:' in system.read("etc/freeradius/3.0/mods-available/dane")
    system.install(story.old["dane-radius"])
    assert system.snapshot("etc/freeradius", "etc/dane-radius") == before
    system.run("dpkg", "--remove", "dane-radius")
    assert system.snapshot("etc/freeradius", "etc/dane-radius") == before
    system.install(story.old["dane-radius"])
    assert system.snapshot("etc/freeradius", "etc/dane-radius") == before
    system.run("/usr/bin/python3", "-ISc", program, "install", "--uninstall", "--no-check")
    system.run("rm", "-r", "/opt/dane")


def configured(story: Story) -> None:
    """The operator installs the module into FreeRADIUS, changes files, and makes a registry with a device."""
    system = story.system
    text = system.run("dane-radius", "install", "--accounting", "sqlite", "--hint-socket",
                      "/run/trust-sync/trust-sync.sock")  # fmt: skip
    assert "nothing to do" not in text
    (system.place / POLICY).write_text(_POLICY)
    with (system.place / SITE).open("a") as site:
        site.write(_LINE)
    (system.place / "etc/dane-radius/trust-sync.toml").write_text(_SYNC)
    system.run("chgrp", "freerad", "/etc/dane-radius/trust-sync.toml")
    (system.place / "var/lib/dane-radius/anchors/kept").write_text("state\n")
    if story.with_registry:
        _make_registry(story)
    works(story, story.old_version)


def _make_registry(story: Story) -> None:
    system = story.system
    (system.place / "etc/iot-registry/iot-registry.toml").write_text(_REGISTRY)
    system.run("chgrp", "iot-registry", "/etc/iot-registry/iot-registry.toml")
    system.run("install", "-d", "-o", "iot-registry", "-g", "iot-registry", "-m", "700", "/var/lib/iot-registry")
    story.registry("init")
    story.registry("device", "add", "a1b2c3", "--type", "camera", "--out", "/var/lib/iot-registry/bundle")


def works(story: Story, version: str) -> None:
    """Each command has the version, FreeRADIUS accepts its configuration, and all state is there."""
    system = story.system
    for package in story.table.packages:
        for command in package.commands:
            if "--version" in system.run(command, "--help"):
                assert version in system.run(command, "--version"), command
    assert "appears to be OK" in system.run("freeradius", "-CX")
    kept(story)
    if story.with_registry:
        assert DEVICE in story.registry("device", "list")


def kept(story: Story) -> None:
    """What the operator wrote, and state."""
    assert story.system.read(POLICY) == _POLICY
    assert any(story.system.exists(path) and story.system.read(path).endswith(_LINE) for path in (SITE, MOVED))
    assert story.system.read("etc/dane-radius/trust-sync.toml") == _SYNC
    assert story.system.read("var/lib/dane-radius/anchors/kept") == "state\n"
    if story.with_registry:
        assert story.system.read("etc/iot-registry/iot-registry.toml") == _REGISTRY
        assert story.system.exists("var/lib/iot-registry/bundle")


def upgraded(story: Story) -> None:
    """The new version has replaced the old one, also where FreeRADIUS reads it. What is installed twice stays."""
    text = story.system.install(*story.new.values())
    works(story, story.new_version)
    assert "/usr/lib/dane-radius" in story.system.read("etc/freeradius/3.0/mods-available/dane"), text
    before = story.system.snapshot("etc", "var/lib/dane-radius", "usr/lib/dane-radius")
    story.system.install(story.new["dane-radius"])
    assert story.system.snapshot("etc", "var/lib/dane-radius", "usr/lib/dane-radius") == before


def refused(story: Story) -> None:
    """An upgrade stops where FreeRADIUS would not start with the result, and continues when that is corrected."""
    system = story.system
    (system.place / POLICY).write_text("version: 1\nrules: 7\n")
    before = system.snapshot("etc/freeradius")
    name = story.new["dane-radius"].name
    text = system.run("dpkg", "--install", f"/var/tmp/{name}", code=1)
    assert "dpkg --configure dane-radius" in text, text
    assert system.snapshot("etc/freeradius") == before
    (system.place / POLICY).write_text(_POLICY)
    system.run("dpkg", "--configure", "dane-radius")
    works(story, story.new_version)


def rolled_back(story: Story) -> None:
    """The version before works again, with the state that the new one leaves."""
    story.system.install(*story.old.values())
    works(story, story.old_version)


def removed(story: Story) -> None:
    """Nothing of the packages runs or is needed any more. Configuration and state stay."""
    system = story.system
    system.run("dpkg", "--remove", *story.names())
    assert not system.exists(MANIFEST)
    assert system.exists("etc/freeradius/3.0/sites-enabled/default")
    assert not system.exists("etc/freeradius/3.0/mods-enabled/dane")
    assert "appears to be OK" in system.run("freeradius", "-CX")
    for package in story.table.packages:
        # The site that the operator changed is not ours to delete, and neither are settings and state.
        assert not system.exists(f"usr/lib/{package.name}"), system.run("find", f"/usr/lib/{package.name}")
        assert not system.exists(f"usr/bin/{package.commands[0]}")
    kept(story)


def installed_again(story: Story) -> None:
    """What a removal left is used. A site that the operator changed is in the way, until they move it."""
    system = story.system
    system.install(*story.new.values())
    assert MOVED in system.run("dane-radius", "install", code=1)
    (system.place / SITE).rename(system.place / MOVED)
    assert "nothing to do" not in system.run("dane-radius", "install")
    works(story, story.new_version)


def purged(story: Story, before: dict[str, str]) -> None:
    """Everything is as before the first installation, except for users, and what the operator wrote into raddb."""
    system = story.system
    system.run("dpkg", "--purge", *story.names())
    (system.place / MOVED).unlink()
    after = system.snapshot()
    assert after.keys() - before.keys() == set()
    assert before.keys() - after.keys() == set()
    changed = {name for name in before if before[name] != after[name]}
    assert not changed, changed


def dependencies_installed(story: Story) -> dict[str, str]:
    """The system with what the packages depend on, and no more."""
    system = story.system
    system.run("apt-get", "--quiet", "update")
    for path in story.old.values():
        (system.place / "var/tmp" / path.name).write_bytes(path.read_bytes())
    names = [f"/var/tmp/{path.name}" for path in story.old.values()]
    planned = system.run("apt-get", "--simulate", "--no-install-recommends", "install", *names)
    wanted = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    others = [name for name in wanted if name not in story.old]
    if others:
        system.run("apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *others)
    return system.snapshot()


# --- with systemd ----------------------------------------------------------------------------------------------------


def running(story: Story) -> None:
    """All services run, and their own commands answer."""
    for unit in UNITS:
        wait_for(lambda unit=unit: _active(story, unit), f"{unit}: {_journal(story, unit)}", 30)  # type: ignore[misc]
    wait_for(lambda: '"policy"' in story.system.run("dane-radius", "status", "--json", code=None), "dane-radius", 30)
    wait_for(lambda: '"anchors"' in story.system.run("trust-sync", "status", "--json", code=None), "trust-sync", 30)
    assert "outbox_pending" in story.registry("status", "--json")


def _active(story: Story, unit: str) -> bool:
    return story.system.run("systemctl", "is-active", unit, code=None).strip() == "active"


def _journal(story: Story, unit: str) -> str:
    return story.system.run("journalctl", "--no-pager", "--lines=20", f"--unit={unit}", code=None)


def upgraded_while_running(story: Story) -> None:
    """An upgrade and a roll back restart what runs, and leave alone what does not."""
    system = story.system
    for packages, version in ((story.new, story.new_version), (story.old, story.old_version)):
        before = {unit: system.main_process(unit) for unit in UNITS}
        system.install(*packages.values())
        running(story)
        works(story, version)
        after = {unit: system.main_process(unit) for unit in UNITS}
        assert all(before[unit] != after[unit] for unit in UNITS), (before, after)
        status = json.loads(system.run("dane-radius", "status", "--json"))
        assert version in json.dumps(status), status
    system.run("systemctl", "stop", *UNITS)
    system.install(*story.new.values())
    assert not _active(story, "freeradius"), "an upgrade started a server that was stopped"
    system.run("systemctl", "start", *UNITS)
    running(story)


def refused_while_running(story: Story) -> None:
    """A server whose new configuration is refused runs on, with its old code and policy."""
    server = story.system.main_process("freeradius")
    refused_text = (story.system.place / POLICY, "version: 1\nrules: 7\n")
    refused_text[0].write_text(refused_text[1])
    story.system.run("dpkg", "--install", f"/var/tmp/{story.new['dane-radius'].name}", code=1)
    assert story.system.main_process("freeradius") == server
    assert '"policy"' in story.system.run("dane-radius", "status", "--json")
    (story.system.place / POLICY).write_text(_POLICY)
    story.system.run("dpkg", "--configure", "dane-radius")
    running(story)


def removed_while_running(story: Story) -> None:
    """A removal ends the services, and FreeRADIUS goes on with its stock configuration."""
    removed(story)
    wait_for(lambda: _active(story, "freeradius"), _journal(story, "freeradius"), 30)
    for unit in ("trust-sync", "iot-registry"):
        assert not _active(story, unit)


# --- all of it -------------------------------------------------------------------------------------------------------


def by_name(paths: list[Path]) -> dict[str, Path]:
    return {path.name.partition("_")[0]: path for path in paths}


def same_files(first: dict[str, Path], second: dict[str, Path]) -> None:
    """Two builds of a commit are identical."""
    assert first.keys() == second.keys()
    differ = [name for name in first if first[name].read_bytes() != second[name].read_bytes()]
    assert not differ, f"a second build differs: {', '.join(differ)}"


def check(scratch: Path, release: str, previous: str, *, short: bool, say: Callable[[str], None]) -> None:
    """Build two versions, and go through everything. Raises AssertionError, BuildError."""
    table, target = read_table().only(SHORT) if short else read_table(), libraries.target(release)
    old = by_name(build(table, target, scratch / "old", ref=previous, quick=True, say=say))
    new = by_name(build(table, target, scratch / "new", version=NEW, quick=True, say=say))
    if not short:
        same_files(old, by_name(build(table, target, scratch / "again", ref=previous, quick=True, say=say)))
        say(f"held: {same_files.__doc__}")
    story = Story(System(scratch, release), table, old, new, previous.lstrip("v"), NEW)
    before = dependencies_installed(story)
    steps: list[Callable[[Story], None]] = [
        installed_from_nothing,
        only_own_libraries,
        another_installation_is_left_alone,
        configured,
    ]
    if not short:
        for step in steps:
            step(story)
            say(f"held: {step.__doc__}")
        story.system.run("systemctl", "enable", *UNITS)
        with story.system:
            for step in (running, upgraded_while_running, refused_while_running, removed_while_running):
                step(story)
                say(f"held: {step.__doc__}")
        steps = [installed_again]
    else:
        steps += [upgraded, refused, rolled_back, removed, installed_again]
    for step in steps:
        step(story)
        say(f"held: {step.__doc__}")
    purged(story, before)
    say(f"held: {purged.__doc__}")
