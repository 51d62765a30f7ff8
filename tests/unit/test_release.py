"""What a release hands out: manual pages, completion, the sdist's octets, the changes."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import click
import pytest

from script.distribution import completion, man
from script.distribution.commands import load
from script.distribution.project import REPOSITORY, BuildError, read_project
from script.distribution.release import changes, compare
from script.distribution.wheel import normalize, tar_gz

EPOCH = 1_700_000_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def thing() -> None:
    """Do a thing.

    \b
    Example:
      thing do --now
      .dot 'quoted' back\\slash
    """


@thing.command()
@click.option("--now", is_flag=True, help="Do it at once, with -x or --yes.")
def do(now: bool) -> None:
    """Do it.

    .This begins with a dot.
    """


@thing.command(hidden=True)
def secret() -> None:
    """Not for people."""


def test_each_command_has_a_page_and_hidden_ones_do_not() -> None:
    pages = man.pages("thing", thing, "1.0", EPOCH)
    assert set(pages) == {"thing.1", "thing-do.1"}
    assert '"2023-11-14" "thing 1.0"' in pages["thing.1"]
    assert ".BR thing (1)" in pages["thing-do.1"]
    assert ".BR thing-do (1)" in pages["thing.1"]


def test_a_page_shows_options_and_examples_as_they_are_typed() -> None:
    pages = man.pages("thing", thing, "1.0", EPOCH)
    assert ".B \\-\\-now" in pages["thing-do.1"]
    assert ".B \\-h, \\-\\-help" in pages["thing-do.1"]
    assert ".nf\nExample:\n  thing do \\-\\-now\n  .dot \\(aqquoted\\(aq back\\eslash\n.fi" in pages["thing.1"]


def test_no_text_is_read_as_a_request_of_roff() -> None:
    requests = {"TH", "SH", "B", "BR", "TP", "PP", "nf", "fi", "nh", "ad"}
    for page in man.pages("thing", thing, "1.0", EPOCH).values():
        for line in page.splitlines():
            if line.startswith((".", "'")):
                assert line[1:].split()[0] in requests, line


def _programs() -> dict[str, click.Command]:
    return {name: load(place) for name, place in read_project(REPOSITORY).commands.items()}


@pytest.mark.skipif(shutil.which("man") is None, reason="man-db is not installed")
def test_man_reads_every_page_without_a_warning(tmp_path: Path) -> None:
    for program, command in _programs().items():
        for name, page in man.pages(program, command, "1.0", EPOCH).items():
            (tmp_path / name).write_text(page)
    pages = sorted(tmp_path.iterdir())
    assert len(pages) > 40
    done = subprocess.run(
        ["man", "--warnings=w", "--local-file", "--troff-device=utf8", "--ditroff", *pages],
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANROFFSEQ": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """A real bash, and the real command, from the script that is handed out."""
    program = "dane-radius"
    text = completion.scripts(program, _programs()[program], debian=True)[completion.BASH.format(program)]
    script = tmp_path / "completion"
    script.write_text(text)
    ask = (
        f"source {script}; COMP_WORDS=({program} inst); COMP_CWORD=1; _dane_radius_completion {program} inst; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{REPOSITORY}/.venv/bin:/usr/bin:/bin"
    done = subprocess.run(["bash", "-c", ask], env={"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["install"]


def test_each_shell_has_a_script_where_it_looks() -> None:
    for debian in (True, False):
        paths = completion.scripts("thing", thing, debian=debian)
        assert len(paths) == 3
        assert all("_THING_COMPLETE" in text for text in paths.values())
    assert "share/zsh/vendor-completions/_thing" in completion.scripts("thing", thing, debian=True)


def test_an_archive_has_no_trace_of_when_and_by_whom_it_was_made(tmp_path: Path) -> None:
    """Two sdists of the same files, made on different machines, become the same octets."""
    made = []
    for number, (uid, mode, mtime) in enumerate(((0, 0o600, 1), (1000, 0o664, 99))):
        path = tmp_path / f"{number}.tar.gz"
        with gzip.GzipFile(path, "wb", mtime=mtime) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
            for name in ("a", "b") if number else ("b", "a"):
                member = tarfile.TarInfo(name)
                member.uid, member.mode, member.mtime, member.size = uid, mode, mtime, 1
                archive.addfile(member, io.BytesIO(name.encode()))
        normalize(path, EPOCH)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(tmp_path / "0.tar.gz") as archive:
        assert [(m.name, m.uid, m.mode, m.mtime) for m in archive] == [("a", 0, 0o644, EPOCH), ("b", 0, 0o644, EPOCH)]


def test_another_octet_makes_another_archive() -> None:
    assert tar_gz({"a": b"1"}, EPOCH) != tar_gz({"a": b"2"}, EPOCH)
    assert tar_gz({"a": b"1"}, EPOCH) != tar_gz({"a": b"1"}, EPOCH + 1)


def test_a_second_build_that_differs_is_refused(tmp_path: Path) -> None:
    for name, text in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    with pytest.raises(BuildError, match="file: a second build differs"):
        compare([tmp_path / "one" / "file"], [tmp_path / "two" / "file"])
    with pytest.raises(BuildError, match="other files"):
        compare([tmp_path / "one" / "file"], [])


def test_the_changes_are_those_of_the_version() -> None:
    log = "# Changelog\n\n## [Unreleased]\n\nNew.\n\n## [0.2.0] - 2026-01-01\n\nOld.\n"
    assert changes(log, "0.2.0") == "## [0.2.0] - 2026-01-01\n\nOld.\n"
    assert changes(log, "0.3.0") == "## [Unreleased]\n\nNew.\n"
    with pytest.raises(BuildError, match=r"0\.3\.0"):
        changes("# Changelog\n", "0.3.0")
