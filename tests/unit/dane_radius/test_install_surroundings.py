"""The installer in a raddb that someone has prepared against it, or that is odd. Each refusal changes nothing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dane_radius.cli.install import install
from dane_radius.install import Installer, InstallError, Layout, remembered_options
from dane_radius.install.journal import JOURNAL

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the installer runs as root only")

MANIFEST = ".dane-radius.json"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    raddb = tmp_path / "raddb"
    for name in ("mods-available", "mods-enabled", "sites-available", "sites-enabled", "policy.d", "mods-config"):
        (raddb / name).mkdir(parents=True)
    (raddb / "radiusd.conf").write_text("max_requests = 16384\nthread pool {\n\tmax_servers = 32\n}\n")
    for name in ("sites-enabled/default", "sites-enabled/inner-tunnel", "mods-enabled/eap"):
        (raddb / name).symlink_to(f"../{name.replace('enabled', 'available')}")
    return Layout(
        raddb=raddb,
        config_dir=tmp_path / "etc",
        anchors=tmp_path / "anchors",
        session_dir=tmp_path / "absent" / "sessions",
        user=pwd.getpwuid(0).pw_name,
        python_path=str(tmp_path),
    )


def tree(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Mode, owner, group and content of everything in a folder."""

    def content(path: Path) -> str:
        if path.is_symlink():
            return os.readlink(path)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_gid, content(path))
    return found


def refused(layout: Layout, *, uninstall: bool = False) -> str:
    """The refusal of an installation, which has changed nothing in the folder of the test."""
    before = tree(layout.raddb.parent)
    with pytest.raises(InstallError) as refusal:
        _ = Installer(layout).uninstall() if uninstall else Installer(layout).install()
    assert tree(layout.raddb.parent) == before
    return str(refusal.value)


@pytest.mark.parametrize("kind", ["file", "absent", "link to a link"])
def test_a_raddb_that_is_no_folder(tmp_path: Path, layout: Layout, kind: str) -> None:
    odd = tmp_path / "odd"
    if kind == "file":
        odd.write_text("")
    elif kind == "link to a link":
        (tmp_path / "inner").symlink_to(layout.raddb)
        odd.symlink_to(tmp_path / "inner")
    with pytest.raises(InstallError, match="configuration folder is expected"):
        Installer(Layout(raddb=odd))


def test_a_link_to_raddb_is_followed_and_named(tmp_path: Path, layout: Layout) -> None:
    (tmp_path / "link").symlink_to(layout.raddb)
    before = tree(layout.raddb)
    linked = Layout(**{**layout.__dict__, "raddb": tmp_path / "link"})
    report = Installer(linked).install()
    assert f"{tmp_path / 'link'} is a symbolic link to {layout.raddb}" in report.notes
    assert (layout.raddb / "sites-enabled/dane").is_symlink()
    Installer(linked).uninstall()
    assert tree(layout.raddb) == before


@pytest.mark.parametrize("name", ["mods-available", "mods-config", "policy.d", "sites-enabled"])
def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path, layout: Layout, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (layout.raddb / name).rename(elsewhere)
    (layout.raddb / name).symlink_to(elsewhere)
    assert name in refused(layout)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe", "device"])
@pytest.mark.parametrize("name", ["mods-available/dane", "policy.d/dane", "sites-available/dane-check", MANIFEST])
def test_what_is_no_file_is_named_and_stays(tmp_path: Path, layout: Layout, name: str, kind: str) -> None:
    path, victim = layout.raddb / name, tmp_path / "victim"
    victim.write_text("keep me")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "new-file-of-root")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    assert str(path) in refused(layout)
    assert not (tmp_path / "new-file-of-root").exists()


def test_radiusd_conf_that_is_a_link_is_not_written(tmp_path: Path, layout: Layout) -> None:
    conf = layout.raddb / "radiusd.conf"
    conf.rename(tmp_path / "elsewhere.conf")
    conf.symlink_to(tmp_path / "elsewhere.conf")
    before = (tmp_path / "elsewhere.conf").read_text()
    report = Installer(layout).install()
    assert conf.is_symlink()
    assert (tmp_path / "elsewhere.conf").read_text() == before
    assert any("which is not followed" in note for note in report.notes)


def test_a_foreign_file_is_refused_with_what_to_do(layout: Layout) -> None:
    names = ("mods-available/dane", "policy.d/dane")
    for name in names:
        (layout.raddb / name).write_text("# of someone else\n")
    said = refused(layout)
    for name in names:
        assert f"mv {layout.raddb / name} {layout.raddb / name}.mine" in said
    for name in names:
        (layout.raddb / name).rename(layout.raddb / f"{name}.mine")
    assert Installer(layout).install().changed


def test_a_policy_that_is_there_already_is_used(layout: Layout) -> None:
    layout.config_dir.mkdir()
    policy = layout.config_dir / "policy.yaml"
    policy.write_text("# from the configuration management\n")
    report = Installer(layout, force=True).install()
    assert policy.read_text() == "# from the configuration management\n"
    assert [edit.path for edit in report.edits] == [policy]


@pytest.mark.parametrize("name", ["", "mods-enabled", "policy.d"])
def test_a_folder_that_anyone_may_write_into_is_refused(layout: Layout, name: str) -> None:
    folder = layout.raddb / name
    folder.chmod(0o777)
    assert f"chmod o-w {folder}" in refused(layout)


def manifest(layout: Layout, **changes: Any) -> dict[str, Any]:
    """The manifest of an installation, changed."""
    Installer(layout).install()
    path = layout.raddb / MANIFEST
    data: dict[str, Any] = json.loads(path.read_text())
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(data))
    return data


@pytest.mark.parametrize("uninstall", [False, True])
@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("files", lambda path: {str(path): hashlib.sha256(b"keep me").hexdigest()}),
        ("files", lambda path: {f"{path.parent}/raddb/../victim": hashlib.sha256(b"keep me").hexdigest()}),
        ("files", lambda path: {f"{path.parent}/raddb/clients.conf": "0" * 64}),
        ("links", lambda path: {str(path): "../mods-available/dane"}),
        ("folders", lambda path: [str(path.parent / "empty")]),
        ("displaced", lambda path: {"../../victim": "x"}),
        ("limits", lambda path: {"user": {"old": 1, "new": 2}}),
        ("limits", lambda path: {"max_servers": {"old": "32\nuser = root", "new": 2}}),
        ("security", lambda path: ["allow_core_dumps"]),
        ("options", lambda path: {"server_key": 'x"\nprivate_key_file = "y'}),
        ("options", lambda path: {"threads": True}),
        ("version", lambda path: 2),
        ("files", lambda path: {str(path): "not a digest"}),
    ],
)
def test_a_forged_manifest_is_refused_and_nothing_elsewhere_is_removed(
    tmp_path: Path, layout: Layout, section: str, entry: Callable[[Path], Any], uninstall: bool
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    (tmp_path / "empty").mkdir()
    manifest(layout, **{section: entry(victim)})
    assert MANIFEST in refused(layout, uninstall=uninstall)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1, "files": []}', "[" * 100_000, '{"version": 9}'])
def test_a_damaged_manifest_is_refused(layout: Layout, text: str) -> None:
    Installer(layout).install()
    (layout.raddb / MANIFEST).write_text(text)
    assert MANIFEST in refused(layout)
    with pytest.raises(InstallError, match=r"dane-radius\.json"):
        remembered_options(layout.raddb)


def test_a_newer_manifest_says_what_to_use(layout: Layout) -> None:
    (layout.raddb / MANIFEST).write_text('{"version": 9}')
    (layout.raddb / MANIFEST).chmod(0o640)
    assert "use the version of dane-radius that installed it" in refused(layout)


@pytest.mark.parametrize("name", [MANIFEST, JOURNAL])
def test_what_the_servers_user_could_have_written_is_not_believed(layout: Layout, name: str) -> None:
    """On Debian, raddb belongs to the server's user, who can put any file there."""
    path = layout.raddb / name
    path.write_text('{"version": 1, "entries": []}')
    path.chmod(0o600)
    os.chown(path, 65534, 65534)
    assert name in refused(layout)
    os.chown(path, 0, 0)
    path.chmod(0o666)
    assert name in refused(layout)


def test_a_forged_journal_removes_nothing_elsewhere(tmp_path: Path, layout: Layout) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    status = victim.stat()
    detail = hashlib.sha256(b"keep me").hexdigest()
    after = {"kind": "file", "detail": detail, "mode": 0o644, "uid": status.st_uid, "gid": status.st_gid}
    absent = {"kind": "absent", "detail": "", "mode": 0, "uid": 0, "gid": 0}
    for named in (str(victim), f"{layout.raddb}/../victim", f"{layout.raddb}/clients.conf"):
        entry = {"step": "change", "path": named, "what": "x", "before": absent, "after": after}
        path = layout.raddb / JOURNAL
        path.write_text(json.dumps({"version": 1, "entries": [entry]}))
        path.chmod(0o600)
        assert "forged" in refused(layout)


def test_a_second_installer_is_refused(layout: Layout) -> None:
    fd = os.open(layout.raddb, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert "another dane-radius install is running" in refused(layout)
    os.close(fd)
    assert Installer(layout).install().changed


@pytest.mark.parametrize("value", ['/x"y', "/x\ny", "/x\\y"])
def test_an_option_that_would_end_a_quoted_value_is_refused(layout: Layout, value: str) -> None:
    with pytest.raises(InstallError, match="--server-key"):
        Layout.from_options(layout.raddb, {"server_key": value}, remembered_options(layout.raddb))


def test_force_replaces_what_was_edited_and_never_the_settings(layout: Layout) -> None:
    Installer(layout).install()
    site, policy = layout.raddb / "sites-available/dane", layout.config_dir / "policy.yaml"
    original = site.read_text()
    for path in (site, policy):
        path.write_text(path.read_text() + "# our own\n")
    report = Installer(layout).install()
    assert site.read_text().endswith("# our own\n")
    assert any(f"diff -u {site} {site}.dane-new" in note for note in report.notes)
    assert Path(f"{site}.dane-new").read_text() == original
    assert not Installer(layout).install().changed
    Installer(layout, force=True).install()
    assert site.read_text() == original
    assert not Path(f"{site}.dane-new").exists()
    assert policy.read_text().endswith("# our own\n")


def test_an_edited_policy_file_has_its_new_version_where_the_server_does_not_read_it(layout: Layout) -> None:
    """FreeRADIUS reads every file in policy.d, except those whose names start with a dot."""
    Installer(layout).install()
    path = layout.raddb / "policy.d/dane"
    path.write_text(path.read_text() + "# our own\n")
    Installer(layout).install()
    assert {entry.name for entry in path.parent.iterdir() if entry.name[0] != "."} == {"dane"}
    assert (path.parent / ".dane.dane-new").exists()


def test_the_command_shows_the_difference_and_changes_nothing(layout: Layout) -> None:
    options = ["--raddb", str(layout.raddb), "--config-dir", str(layout.config_dir), "--anchors", str(layout.anchors)]
    options += ["--user", layout.user]
    Installer(layout).install()
    site = layout.raddb / "sites-available/dane"
    site.write_text(site.read_text() + "# our own\n")
    before = tree(layout.raddb)
    shown = CliRunner().invoke(install, [*options, "--diff"])
    assert (shown.exit_code, tree(layout.raddb)) == (0, before)
    assert [line for line in shown.output.splitlines() if line[:1] in "+-"] == [
        f"--- {site}",
        f"+++ {site} (new version)",
        "-# our own",
    ]


def test_a_dry_run_shows_the_steps_that_are_done_then(layout: Layout) -> None:
    before = tree(layout.raddb.parent)
    planned = Installer(layout, dry_run=True).install()
    assert tree(layout.raddb.parent) == before
    assert Installer(layout).install().steps == planned.steps
    removal = Installer(layout, dry_run=True).uninstall()
    assert Installer(layout).uninstall().steps == removal.steps
    assert tree(layout.raddb.parent) == before
