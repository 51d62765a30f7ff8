"""The Debian packages before they are built: the table, what the code needs, the files that debhelper reads."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from script.distribution import imports, libraries, package_tree
from script.distribution.debian import control, unit_rules
from script.distribution.libraries import Target, files_of
from script.distribution.project import REPOSITORY, BuildError, debian_version, read_project
from script.distribution.table import FOLDER, Package, Table, read_table

BOOKWORM = Target("bookworm", 12, "3.11", 36, "amd64")
PACKAGE = Package("iot-thing", "a thing", "\nFirst.\n\nSecond.\n", ("thing",), ("thing",))


@pytest.mark.parametrize("package", read_table().packages, ids=lambda package: package.name)
def test_a_package_names_only_what_the_checkout_has(package: Package) -> None:
    project = read_project(REPOSITORY)
    for module in package.modules:
        assert (REPOSITORY / module / "__init__.py").is_file(), module
    assert set(package.commands) <= project.commands.keys()
    for command in package.commands:
        assert project.commands[command].partition(".")[0] in package.modules
    containers = REPOSITORY / "containers"
    folders = {
        "units": containers / "systemd",
        "sysusers": containers / "systemd" / "sysusers.d",
        "tmpfiles": containers / "systemd" / "tmpfiles.d",
        "logrotate": containers / "logrotate",
        "docs": REPOSITORY,
        "examples": REPOSITORY,
    }
    for kind, folder in folders.items():
        for name in getattr(package, kind):
            assert (folder / name).exists(), f"{kind}: {name}"


def test_no_command_is_in_two_packages() -> None:
    packaged = [command for package in read_table().packages for command in package.commands]
    assert len(packaged) == len(set(packaged))


def test_an_unknown_key_in_the_table_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "packages.toml"
    table.write_text('maintainer = "a"\nhomepage = "b"\n[packages.x]\nsummary = "s"\nunit = ["x.service"]\n')
    with pytest.raises(BuildError, match=r"packages\.x: unknown key unit"):
        read_table(table)
    table.write_text('maintainer = "a"\nhomepage = "b"\n[packages.x]\nsummary = "s"\n')
    with pytest.raises(BuildError, match="missing"):
        read_table(table)


def test_a_package_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(BuildError, match="dane-radius"):
        read_table().only(["dane-rdius"])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (("0.2.0", 12), ("0.2.1", 12)),
        (("0.2.1.dev1", 12), ("0.2.1", 12)),
        (("0.2.1rc1", 12), ("0.2.1", 12)),
        (("0.2.1.dev2", 12), ("0.2.1.dev10", 12)),
        (("0.2.0", 13), ("0.2.1.dev1", 12)),
        (("0.2.1", 12), ("0.2.1", 13)),
    ],
)
def test_versions_upgrade_in_their_order(earlier: tuple[str, int], later: tuple[str, int]) -> None:
    """dpkg itself compares. A later Debian's package replaces the same version for the one before."""
    versions = [debian_version(*earlier), debian_version(*later)]
    assert subprocess.run(["dpkg", "--compare-versions", versions[0], "lt", versions[1]], check=False).returncode == 0


def test_what_debian_may_package_replaces_ours() -> None:
    assert subprocess.run(["dpkg", "--compare-versions", debian_version("1.0", 13), "lt", "1.0-1"]).returncode == 0


def _code(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_imports_are_followed_through_the_projects_packages(tmp_path: Path) -> None:
    source = _code(tmp_path, {
        "thing/__init__.py": "import json\nfrom . import sibling\nfrom helper.part import x\n",
        "thing/sibling.py": "def late():\n    import yaml\n",
        "helper/__init__.py": "",
        "helper/part.py": "import thing\nimport dns.resolver as r\nimport radiusd\n",
        "unrelated/__init__.py": "import numpy\n",
    })  # fmt: skip
    assert imports.needed(source, ["thing"]) == ({"thing", "helper"}, {"yaml", "dns"})


def test_the_devices_package_has_nothing_of_the_servers() -> None:
    """No package's code comes with another's by accident. (An import that crosses sides would show here.)"""
    by_name = {package.name: package for package in read_table().packages}
    device, _ = imports.needed(REPOSITORY, by_name["iot-safe-sim"].modules)
    registry, _ = imports.needed(REPOSITORY, by_name["iot-registry"].modules)
    assert device == {"iot_safe_sim"}
    assert not registry & {"dane_radius", "trust_sync", "iot_safe_sim", "policy"}


def _distribution(folder: Path, name: str, metadata: str = "", files: tuple[str, ...] = ()) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{metadata}")
    own = (f"{name}/__init__.py", f"{name}-1.dist-info/METADATA", f"{name}-1.dist-info/RECORD", *files)
    (info / "RECORD").write_text("".join(f"{path},sha256=x,1\n" for path in own))


def test_a_library_brings_what_it_requires_for_this_python(tmp_path: Path) -> None:
    _distribution(tmp_path, "one", "Requires-Dist: two\nRequires-Dist: three; python_version < '3.5'\n"
                                   "Requires-Dist: four; extra == 'fast'\n")  # fmt: skip
    for name in ("two", "three", "four"):
        _distribution(tmp_path, name)
    names = [found.metadata["Name"] for found in libraries.closure(tmp_path, BOOKWORM, [], ["one"])]
    assert names == ["one", "two"]
    names = [found.metadata["Name"] for found in libraries.closure(tmp_path, BOOKWORM, ["one[fast]"], [])]
    assert names == ["four", "one", "two"]


def test_a_library_that_is_not_locked_is_refused(tmp_path: Path) -> None:
    _distribution(tmp_path, "one", "Requires-Dist: two\n")
    with pytest.raises(BuildError, match="no library with the module yaml"):
        libraries.closure(tmp_path, BOOKWORM, [], ["yaml"])
    with pytest.raises(BuildError, match="has no two"):
        libraries.closure(tmp_path, BOOKWORM, [], ["one"])


def test_files_outside_of_a_librarys_packages_are_left_out(tmp_path: Path) -> None:
    _distribution(tmp_path, "one", files=("../../bin/one", "bin/one", "docs/conf.py", "/etc/passwd", "one/docs/a.py"))
    (found,) = libraries.closure(tmp_path, BOOKWORM, ["one"], [])
    assert files_of(found) == ["one/__init__.py", "one-1.dist-info/METADATA", "one/docs/a.py"]


def test_wheels_for_older_systems_fit_and_for_newer_ones_do_not() -> None:
    platforms = libraries.target("bookworm").platforms
    assert any(name.startswith("manylinux_2_36_") for name in platforms)
    assert any(name.startswith("manylinux2014_") for name in platforms)
    assert not any(name.startswith("manylinux_2_37_") for name in platforms)


def test_the_lock_has_each_library_of_setup_cfg_with_hashes() -> None:
    """A library that was added to setup.cfg must be locked: `script/deb lock`."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    locked = {}
    for block in libraries.LOCK.read_text().replace("\\\n", "").splitlines():
        name, _, rest = block.partition("==")
        locked[canonicalize_name(name)] = rest.split()[0]
        assert "--hash=sha256:" in rest, name
    for line in read_project(REPOSITORY).requirements:
        requirement = Requirement(line)
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked"
        assert version in requirement.specifier, f"{requirement.name} {version} is locked, {line} is required"


def test_control_binds_a_package_to_one_python() -> None:
    table = Table("A <a@b.invalid>", "https://b.invalid/", (PACKAGE,))
    text = control(table, read_project(REPOSITORY), BOOKWORM)
    assert "python3 (>= 3.11), python3 (<< 3.12)" in text
    assert "Description: a thing\n First.\n .\n Second.\n" in text
    assert "Recommends" not in text


def test_no_unit_is_enabled_or_started() -> None:
    packages = read_table().packages
    lines = unit_rules(packages).strip().splitlines()
    assert len(lines) == 1 + sum(len(package.units) for package in packages)
    assert all("--no-enable" in line for line in lines[1:])


def test_a_unit_runs_the_packaged_command() -> None:
    for package in read_table().packages:
        for name in package.units:
            original = (REPOSITORY / "containers" / "systemd" / name).read_text()
            text = package_tree.unit_text(original, package)
            assert "/opt/" in original
            assert "/opt/" not in text
            assert f"ExecStart=/usr/bin/{package.commands[-1]} " in text
            assert "#   cp" not in text
            settings = [line for line in original.splitlines() if not line.startswith("#")]
            changed = [line for line in text.splitlines() if not line.startswith("#")]
            assert [a for a, b in zip(settings, changed, strict=True) if a != b and not a.startswith(
                ("ExecStart=", "Documentation="))] == []  # fmt: skip


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.p[or]*[tm]")), ids=lambda path: path.name)
def test_maintainer_scripts_are_shell_and_stop_at_errors(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#!/bin/sh\nset -e\n")
    assert text.count("#DEBHELPER#") == 1
    subprocess.run(["sh", "-n", path], check=True)
    assert not any(word in text for word in ("curl", "wget", "pip ")), "no network in a maintainer script"


def test_a_command_ignores_the_environment_and_the_systems_libraries(tmp_path: Path) -> None:
    library = tmp_path / "lib"
    _code(library, {"thing/__init__.py": "import sys\ndef main():\n    print(sys.argv[1], sys.path)\n"})
    command = tmp_path / "thing"
    package_tree._write_command(command, PACKAGE, "thing:main")
    command.write_text(command.read_text().replace(PACKAGE.folder, str(library)))
    hostile = _code(tmp_path / "hostile", {"thing/__init__.py": "raise SystemExit('hostile')\n"})
    done = subprocess.run(
        [command, "word"], env={"PYTHONPATH": str(hostile)}, cwd=hostile, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("word ")
    assert "packages" not in done.stdout


def test_a_wheel_gives_a_package_its_modules_only(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("thing/a.py", "other/b.py", "x-1.dist-info/METADATA", "x-1.dist-info/RECORD"):
            archive.writestr(name, "")
    package_tree._unpack(wheel, frozenset({"thing"}), tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"thing/a.py", "x-1.dist-info/METADATA"}
