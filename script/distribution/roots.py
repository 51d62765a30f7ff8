"""Debian roots: small systems in folders, made from the package archive of this machine and kept between runs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from script.distribution.libraries import CACHE, this_release
from script.distribution.project import BuildError

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Run a command in a root, with its own mounts and processes, which end with it. The arguments before the command are
# the root, and a folder that appears in it as /mnt.
_INSIDE = """
set -e
root=$1 shared=$2
shift 2
mount --make-rprivate /
mount --bind "$shared" "$root/mnt"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec chroot "$root" "$@"
"""


def root(release: str, packages: tuple[str, ...], name: str) -> Path:
    """The folder of a root with these packages, made if it is not there. Nobody may change it: copy it. BuildError."""
    sources = _sources(release)
    digest = hashlib.sha256(repr((packages, sources)).encode()).hexdigest()[:12]
    folder = CACHE / "packages" / f"{release}-{name}-{digest}"
    with _locked(CACHE / "packages" / f"{release}-{name}.lock"):
        if not folder.exists():
            for old in folder.parent.glob(f"{release}-{name}-*"):
                shutil.rmtree(old)
            _make(release, packages, sources, folder)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(release: str, packages: tuple[str, ...], sources: str, folder: Path) -> None:
    new = folder.with_name("new-" + folder.name)
    shutil.rmtree(new, ignore_errors=True)
    settings = folder.with_name(folder.name + ".apt.conf")
    settings.write_text(_apt_settings())
    done = subprocess.run(
        ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}", f"--aptopt={settings}",
         f"--keyring={_KEYRING}", release, new, "-"],
        input=sources, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"mmdebstrap failed:\n{done.stderr.strip()[-2000:]}")
    # The package mirror may have a certificate of a local CA.
    shutil.copytree("/usr/local/share/ca-certificates", new / "usr/local/share/ca-certificates", dirs_exist_ok=True)
    subprocess.run(["chroot", new, "update-ca-certificates"], capture_output=True, check=False)
    settings.unlink()
    new.rename(folder)


def _sources(release: str) -> str:
    """This machine's Debian archives, with the other release's name in place of its own."""
    form = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = set()
    for line in listed.splitlines():
        origin, _, rest = line.partition(" ")
        parts = rest.split()
        if origin == "Debian" and len(parts) == 3:
            suite = parts[1].replace(this_release(), release, 1)
            lines.add(f"deb {parts[0]} {suite} {parts[2]}")
    if not lines:
        raise BuildError("apt on this machine names no Debian archive: run apt-get update")
    return "".join(f"{line}\n" for line in sorted(lines))


def _apt_settings() -> str:
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return "".join(f"{line}\n" for line in dumped.splitlines() if line.lower().startswith("acquire::http"))


def run_in(
    place: Path, shared: Path, command: list[str], environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run a command in a root, where `shared` is /mnt. Network and user are those of this machine."""
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    resolver = place / "etc/resolv.conf"
    if not resolver.exists() and os.path.exists("/etc/resolv.conf"):
        shutil.copy("/etc/resolv.conf", resolver)
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", _INSIDE, "bash", place, shared,
         *command],
        env={**settings, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        umask=0o022, check=False,
    )  # fmt: skip
