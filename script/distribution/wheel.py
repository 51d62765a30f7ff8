"""The wheel and the sdist: the same octets from the same sources, whenever and wherever they are built."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from script.distribution.libraries import BUILD_LOCK, fetch, target, this_release
from script.distribution.project import BuildError


def build(source: Path, folder: Path, kind: str, epoch: int) -> Path:
    """Build the `wheel` or the `sdist` of a source tree; returns its path in `folder`. Raises BuildError.

    The tools have the versions of containers/debian/build-requirements.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels = fetch(target(this_release()), BUILD_LOCK)
    before = set(folder.iterdir())
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    settings |= {
        "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "LC_ALL": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels),
        "PIP_CONSTRAINT": str(_versions(folder.parent)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--outdir", folder, source],
        env=settings, capture_output=True, text=True, umask=0o022, check=False,
    )  # fmt: skip
    made = set(folder.iterdir()) - before
    if done.returncode or len(made) != 1:
        raise BuildError(f"building the {kind} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    path = made.pop()
    if kind == "sdist":
        normalize(path, epoch)
    return path


def _versions(folder: Path) -> Path:
    """The lock without hashes: pip takes no hashes for what a build needs."""
    path = folder / "build-constraints.txt"
    lines = BUILD_LOCK.read_text().splitlines()
    path.write_text("".join(f"{line.split()[0]}\n" for line in lines if "==" in line))
    return path


def normalize(path: Path, epoch: int) -> None:
    """Rewrite a .tar.gz: sorted, one date, no owners, plain modes. setuptools records those of the machine."""
    with tarfile.open(path, "r:gz") as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        files = {member.name: stream.read() for member, stream in members if stream is not None}
    path.write_bytes(tar_gz(files, epoch, {member.name for member, _ in members if member.mode & 0o100}))


def tar_gz(files: dict[str, bytes], epoch: int, executable: set[str] | frozenset[str] = frozenset()) -> bytes:
    """A .tar.gz whose octets depend on its arguments only."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(files[name]), epoch
            member.mode = 0o755 if name in executable else 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(plain.getvalue(), mtime=epoch)
