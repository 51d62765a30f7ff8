"""Each step of an installation, judged by the server's own check; and runs that fail, are refused, or are killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dane_radius.install import Installer, InstallError, Layout
from dane_radius.install.radiusd import check_configuration
from tests.fault.trust_sync.trace import run_and_kill
from tests.harness.process import run
from tests.integration.dane_radius.test_install import Machine

pytestmark = pytest.mark.daemons

# Kills for each action; each takes several seconds. CONTRIBUTING.md says how to have more.
ROUNDS = int(os.environ.get("INSTALL_KILL_ROUNDS", "4"))


def listing(folder: Path) -> dict[str, tuple[str, str, int, int]]:
    """Content (SHA-256) or target, mode, owner and group of everything in a folder."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        content = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = (content, stat.filemode(status.st_mode), status.st_uid, status.st_gid)
    return found


def what_the_server_reads(folder: Path) -> frozenset[tuple[str, tuple[str, str, int, int]]]:
    """Files and links, without those whose name starts with a dot."""
    return frozenset(
        (name, entry)
        for name, entry in listing(folder).items()
        if not entry[1].startswith("d") and not Path(name).name.startswith(".")
    )


def sites(raddb: Path) -> list[str]:
    """Which of the two sites that listen on port 1812 are enabled. Two, or none, would not start."""
    links = [path for path in (raddb / "sites-enabled").iterdir() if path.is_symlink() and path.name[0] != "."]
    return sorted({"default", "dane"} & {os.path.basename(os.readlink(path)) for path in links})


@pytest.fixture
def machine(folder: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    place = folder / f"steps-{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"
    place.mkdir()
    place.chmod(0o755)
    machine = Machine(place)
    # The owners of Debian's package.
    for path in [machine.raddb, *machine.raddb.rglob("*")]:
        os.chown(path, (place / "run").stat().st_uid, -1, follow_symlinks=False)
    yield machine
    shutil.rmtree(place)


def layout(machine: Machine, **options: object) -> Layout:
    values = {
        "config_dir": machine.folder / "etc",
        "anchors": machine.folder / "var" / "anchors",
        "session_dir": machine.folder / "run" / "sessions",
        "control_socket": machine.folder / "run" / "control",
        "accounting_db": machine.folder / "var" / "accounting" / "radacct.db",
        "log": str(machine.folder / "decisions.log"),
        "python_path": machine.libraries,
        **options,
    }
    return Layout(raddb=machine.raddb, **values)  # type: ignore[arg-type]


def checked(machine: Machine, states: list[int]) -> Callable[[int], None]:
    """A hook that lets the server check each state."""

    def check(number: int) -> None:
        passed, said = check_configuration(machine.raddb)
        assert passed, f"before step {number}: {said}"
        assert len(sites(machine.raddb)) == 1, f"before step {number}: {sites(machine.raddb)}"
        states.append(number)

    return check


@pytest.mark.parametrize("accounting", ["none", "sqlite"])
def test_the_server_starts_in_every_state_between_two_steps(machine: Machine, accounting: str) -> None:
    before = listing(machine.raddb)
    states: list[int] = []
    wanted = layout(machine, accounting=accounting)
    report = Installer(wanted, hook=checked(machine, states)).install(check=True)
    assert report.passed
    assert states == list(range(len(report.actions) + 1))
    assert len(states) > 20
    assert sites(machine.raddb) == ["dane"]
    installed = listing(machine.folder)
    again = Installer(wanted).install(check=True)
    assert (again.actions, again.passed) == ([], True)
    assert listing(machine.folder) == installed
    states.clear()
    removed = Installer(wanted, hook=checked(machine, states)).uninstall(check=True)
    assert states == list(range(len(removed.actions) + 1))
    assert removed.notes == []
    assert listing(machine.raddb) == before
    assert not (machine.folder / "etc").exists()
    # The server has made its database.
    assert (machine.folder / "var").exists() == (accounting == "sqlite")


def test_what_is_installed_has_the_owners_of_debians_files(machine: Machine) -> None:
    user = (machine.folder / "run").stat()
    Installer(layout(machine)).install()
    root_only = {"-rw-r-----"}
    for path, (_, mode, uid, gid) in listing(machine.raddb).items():
        if "dane" in Path(path).name and mode.startswith("-"):
            assert mode in root_only, path
            assert (uid, gid) == (0, user.st_gid), path
    for name in ("policy.yaml", "dane-radius.toml"):
        status = (machine.folder / "etc" / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, user.st_gid)
    ours, stock = ((machine.raddb / name).stat() for name in ("mods-config/dane", "mods-config/perl"))
    assert (ours.st_mode, ours.st_uid, ours.st_gid) == (stock.st_mode, stock.st_uid, stock.st_gid)


def test_the_services_runtime_folder_is_not_made_in_its_place(machine: Machine) -> None:
    """systemd makes /run/freeradius when the service starts, and the module makes its folder in it."""
    absent = machine.folder / "run" / "freeradius"
    report = Installer(layout(machine, session_dir=absent / "sessions")).install(check=True)
    assert report.passed, report.check
    assert not absent.exists()


@pytest.mark.parametrize("action", ["install", "upgrade", "uninstall"])
def test_a_refused_result_is_rolled_back_to_the_octet(machine: Machine, action: str) -> None:
    if action != "install":
        Installer(layout(machine, threads=100)).install()
    else:
        (machine.raddb / "policy.d/dane_own").write_text("dane_own {\n\tok\n}\n")
    inodes = {path: path.lstat().st_ino for path in machine.raddb.rglob("*") if not path.is_dir()}
    before = listing(machine.folder)

    def break_it(number: int) -> None:
        # A file of the operator's that the server reads, broken while the installer works.
        if number == 3:
            (machine.raddb / "mods-enabled/own").write_text("own { broken\n")

    installer = Installer(layout(machine, resumption=True), hook=break_it)
    report = installer.uninstall(check=True) if action == "uninstall" else installer.install(check=True)
    assert (report.passed, report.rolled_back, report.changed) == (False, True, False)
    assert "EOF reached without closing brace" in str(report.check)
    assert any("everything is as it was before" in note for note in report.notes)
    assert any("from before, too" in note for note in report.notes)
    (machine.raddb / "mods-enabled/own").unlink()
    assert listing(machine.folder) == before
    assert {path: path.lstat().st_ino for path in machine.raddb.rglob("*") if not path.is_dir()} == inodes
    assert check_configuration(machine.raddb)[0]


@pytest.mark.parametrize("action", ["install", "upgrade", "uninstall"])
def test_an_error_at_any_step_changes_nothing(machine: Machine, action: str) -> None:
    if action != "install":
        Installer(layout(machine, threads=100)).install()
    before = listing(machine.folder)

    def run_with(hook: Callable[[int], None], *, dry_run: bool = False) -> int:
        installer = Installer(layout(machine, resumption=True), hook=hook, dry_run=dry_run)
        return len((installer.uninstall() if action == "uninstall" else installer.install()).actions)

    steps = run_with(lambda _: None, dry_run=True)
    assert steps > 3

    def fail_at(failing: int) -> Callable[[int], None]:
        def hook(number: int) -> None:
            if number == failing:
                raise OSError(5, "Input/output error", "/the/file")

        return hook

    for failing in range(steps + 1):
        with pytest.raises(OSError, match="Input/output error"):
            run_with(fail_at(failing))
        assert listing(machine.folder) == before, f"step {failing}"
    assert run_with(lambda _: None) == steps


def test_an_operator_who_edits_meanwhile_loses_nothing(machine: Machine) -> None:
    conf = machine.raddb / "radiusd.conf"

    def edit(number: int) -> None:
        if number == 2:
            conf.write_text(conf.read_text() + "# our own\n")

    with pytest.raises(InstallError, match="was changed by another program"):
        Installer(layout(machine), hook=edit).install()
    assert conf.read_text().endswith("# our own\n")
    assert "max_servers = 32\n" in conf.read_text()
    assert sites(machine.raddb) == ["default"]
    assert not list(machine.raddb.rglob(".*dane*"))


def test_a_full_disk_changes_nothing(machine: Machine, tmp_path: Path) -> None:
    """At every size of the disk: too small for the journal, for the first file, for all but the last one."""
    outcomes = set()
    disk = machine.folder / "disk"
    disk.mkdir()
    for spare in range(0, 200, 8):
        run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", disk])
        try:
            shutil.copytree(machine.raddb, disk / "raddb", symlinks=True)
            free = os.statvfs(disk)
            (disk / "filler").write_bytes(b"x" * (free.f_bavail * free.f_bsize - spare * 1024))
            before = listing(disk)
            wanted = layout(machine, config_dir=disk / "etc", anchors=disk / "anchors")
            wanted = Layout(**{**wanted.__dict__, "raddb": disk / "raddb"})
            try:
                Installer(wanted).install()
                outcomes.add("installed")
            except OSError as error:
                outcomes.add(str(error.strerror))
                assert listing(disk) == before, f"{spare} KiB"
        finally:
            run(["umount", disk])
    assert outcomes == {"installed", "No space left on device"}


def test_a_read_only_raddb_is_a_clear_error(machine: Machine) -> None:
    before = listing(machine.raddb)
    run(["mount", "--bind", machine.raddb, machine.raddb])
    try:
        run(["mount", "-o", "remount,ro,bind", machine.raddb])
        code, _ = machine.install()
        assert code == 1
        assert "Read-only file system" in machine.said
        assert str(machine.raddb) in machine.said
    finally:
        run(["umount", machine.raddb])
    assert listing(machine.raddb) == before
    assert not (machine.folder / "etc").exists()


def test_another_user_is_refused(machine: Machine) -> None:
    code = "import sys; from dane_radius.cli import main; sys.argv[0] = 'dane-radius'; main()"
    options = ["install", "--raddb", str(machine.raddb)]
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-P", "-c", code, *options],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": machine.libraries.split(":")[0]},
        cwd="/",
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("dane-radius: run this as root"), done.stderr


def _prepared(machine: Machine, action: str) -> Callable[[], object]:
    """What is to be killed, after what precedes it."""
    wanted = layout(machine, resumption=True)
    if action != "install":
        Installer(layout(machine, threads=100)).install()
    if action == "uninstall":
        return lambda: Installer(wanted).uninstall()
    return lambda: Installer(wanted).install()


@pytest.mark.timeout(540)
@pytest.mark.parametrize("action", ["install", "upgrade", "uninstall"])
def test_killed_at_any_system_call_the_server_starts_and_the_next_run_repairs(machine: Machine, action: str) -> None:
    """The states between two steps are those that the tests above let the server check."""
    act = _prepared(machine, action)
    origin = machine.folder.with_name(machine.folder.name + "-origin")
    shutil.copytree(machine.raddb, origin / "raddb", symlinks=True)
    _copy_owners(machine.raddb, origin / "raddb")
    others = ("etc", "var", "run")
    for name in others:
        if (machine.folder / name).exists():
            shutil.copytree(machine.folder / name, origin / name, symlinks=True)
            _copy_owners(machine.folder / name, origin / name)
    before = listing(machine.folder)

    def reset() -> None:
        for name in ("raddb", *others):
            shutil.rmtree(machine.folder / name, ignore_errors=True)
            if (origin / name).exists():
                shutil.copytree(origin / name, machine.folder / name, symlinks=True)
                _copy_owners(origin / name, machine.folder / name)

    states = set()
    installer = Installer(
        layout(machine, resumption=True), hook=lambda _: states.add(what_the_server_reads(machine.folder))
    )
    _ = installer.uninstall() if action == "uninstall" else installer.install()
    after = listing(machine.folder)
    reset()
    assert listing(machine.folder) == before
    stops = run_and_kill(act, None)
    assert listing(machine.folder) == after
    rounds = undone = 0
    # A round takes about a second: a sample over the whole run.
    for stop in range(stops % 7, stops + 1, max(1, stops // ROUNDS)):
        reset()
        run_and_kill(act, stop)
        rounds += 1
        assert what_the_server_reads(machine.folder) in states, f"stop {stop} of {stops}"
        if listing(machine.folder) != after:
            _recover_only(machine)
            undone += listing(machine.folder) == before
            assert listing(machine.folder) in (before, after), f"stop {stop} of {stops}"
        act()
        assert listing(machine.folder) == after, f"stop {stop} of {stops}"
    shutil.rmtree(origin)
    print(f"{action}: {rounds} of {stops} stops, {undone} undone")
    assert rounds >= ROUNDS
    assert undone > ROUNDS // 4


def _recover_only(machine: Machine) -> None:
    """A run that undoes the interrupted one, and then fails at its first step, or has none."""

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error", "/the/file")

    with contextlib.suppress(OSError):
        Installer(layout(machine, threads=99), hook=refuse).install()


def _copy_owners(source: Path, target: Path) -> None:
    for path in [source, *source.rglob("*")]:
        status = path.lstat()
        os.chown(target / path.relative_to(source), status.st_uid, status.st_gid, follow_symlinks=False)
        if not path.is_symlink():
            (target / path.relative_to(source)).chmod(stat.S_IMODE(status.st_mode))
