"""The installer on a minimal raddb, without FreeRADIUS. tests/integration installs into Debian's configuration."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

import dane_radius
from dane_radius.install import Installer, InstallError, Layout, radiusd
from dane_radius.install.layout import default_python_path
from dane_radius.install.radiusd import check_configuration, inaccessible_folder

# The installer refuses every other user.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the installer runs as root only")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    raddb = tmp_path / "raddb"
    for name in ("mods-available", "mods-enabled", "sites-available", "sites-enabled", "policy.d", "mods-config"):
        (raddb / name).mkdir(parents=True)
    (raddb / "radiusd.conf").write_text("max_requests = 16384\nthread pool {\n\tmax_servers = 32\n}\n")
    return Layout(
        raddb=raddb,
        config_dir=tmp_path / "etc",
        anchors=tmp_path / "anchors",
        session_dir=tmp_path / "sessions",
        user=pwd.getpwuid(os.geteuid()).pw_name,
        python_path=str(tmp_path),
    )


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@needs_root
def test_uninstall_restores_what_was_there(layout: Layout) -> None:
    before = tree(layout.raddb)
    assert Installer(layout).install().changed
    assert not Installer(layout).install().changed
    assert Installer(layout).uninstall().notes == []
    assert tree(layout.raddb) == before


@needs_root
@pytest.mark.parametrize("dry_run", [True, False])
def test_uninstall_keeps_an_edited_file_and_its_folder(layout: Layout, dry_run: bool) -> None:
    Installer(layout).install()
    edited = layout.raddb / "mods-config/dane/wait.pl"
    edited.write_text("# our own\n")
    report = Installer(layout, dry_run=dry_run).uninstall()
    assert [note for note in report.notes if str(edited) in note]
    assert edited.read_text() == "# our own\n"
    assert f"remove folder {edited.parent}" not in report.actions
    assert (layout.raddb / ".dane-radius.json").exists() is dry_run


def test_the_python_path_starts_with_the_folder_of_this_package() -> None:
    """An editable installation has no copy of the package in site-packages."""
    first = Path(default_python_path().split(":")[0])
    assert (first / "dane_radius" / "__init__.py").samefile(dane_radius.__file__)


def test_a_folder_that_the_servers_user_may_not_enter_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    for folder in (*reversed(inner.parents), inner):
        if folder.is_relative_to(tmp_path):
            folder.chmod(0o755)
    stranger = pwd.struct_passwd(("nobody-else", "x", 54321, 54321, "", "/", "/bin/false"))
    # Folders above tmp_path belong to the test environment, and may be closed or open.
    outside = inaccessible_folder(tmp_path.parent, stranger)
    assert inaccessible_folder(inner, stranger) == outside
    inner.parent.chmod(0o700)
    assert inaccessible_folder(inner, stranger) == inner.parent
    owner = pwd.getpwuid(os.geteuid())
    inner.parent.chmod(0o600)
    assert inaccessible_folder(inner, owner) == inner.parent


def program(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `freeradius` that comes first on PATH."""
    path = folder / "bin" / "freeradius"
    path.parent.mkdir()
    path.write_text(script)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_a_check_that_does_not_end_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "#!/bin/sh\nexec sleep 60\n", monkeypatch)
    monkeypatch.setattr(radiusd, "_CHECK_SECONDS", 0.2)
    passed, message = check_configuration(tmp_path)
    assert not passed
    assert "did not finish within 0.2 s" in message


@pytest.mark.parametrize("script", ["#!/nowhere/interpreter\n", ""])
def test_a_program_that_cannot_be_run_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program(tmp_path, script, monkeypatch)
    passed, message = check_configuration(tmp_path)
    assert not passed
    assert "freeradius -C cannot be run" in message


def test_a_refused_configuration_shows_the_end_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "#!/bin/sh\nseq 1 50\nprintf 'bad \\377 octet\\n'\nexit 1\n", monkeypatch)
    passed, message = check_configuration(tmp_path)
    assert not passed
    assert "refuses the configuration:\n40\n" in message
    assert message.endswith("octet")


@needs_root
def test_a_folder_without_radiusd_conf_is_refused(layout: Layout) -> None:
    (layout.raddb / "radiusd.conf").unlink()
    with pytest.raises(InstallError, match="is this FreeRADIUS's raddb"):
        Installer(layout)
