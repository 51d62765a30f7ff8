"""The servers that are measured side by side, and what they cost.

Plain EAP-TLS as Debian ships it, which an operator had before; the same with the limits that this package sets; this
package's sites without the module, which is less than plain; EAP-TLS with the module; and EAP-TLS with a program that
is started for every certificate and does the same check.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.freeradius import STOCK_RADDB, FreeRadius

_TICKS = os.sysconf("SC_CLK_TCK")


def process_cpu(pid: int) -> float:
    """CPU seconds of a process, including its ended threads, and of all its ended children."""
    # The kernel's clock of another process is in nanoseconds: clock_getcpuclockid(3). Its figures for ended children
    # are in ticks of 10 ms.
    own = time.clock_gettime(~pid << 3 | 2)
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return own + sum(int(value) for value in fields[13:15]) / _TICKS


def machine_cpu() -> float:
    """CPU seconds of everything on this machine, idling and waiting for disks left out."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / _TICKS


@dataclass
class Arm:
    """One kind of server, and what its rounds cost. `milliseconds`: CPU per authentication, one figure a round."""

    name: str
    title: str
    authentications: int
    set_up: Callable[[FreeRadius], None]
    server: FreeRadius = field(init=False)
    milliseconds: list[float] = field(default_factory=list)
    done: int = 0
    megabytes: float = 0.0

    def tree_cpu(self) -> float:
        """CPU seconds of the server and of all its ended children."""
        assert self.server.daemon is not None
        return process_cpu(self.server.daemon.pid)


def plain(server: FreeRadius) -> None:
    """EAP-TLS as Debian ships it: its "default" site and its "eap" module, given certificates, CA and TLS 1.3."""
    _debian_site(server)
    # The limits, too, of which this package's installer raises some.
    (server.raddb / "radiusd.conf").write_text((STOCK_RADDB / "radiusd.conf").read_text())
    server._adapt_radiusd_conf()


def tuned(server: FreeRadius) -> None:
    """Debian's EAP-TLS with the limits and the receive buffer which this package sets for itself."""
    _debian_site(server)
    ours = (server.raddb / "sites-available/dane").read_text()
    buffer = re.search(r"^\s*recv_buff = \d+$", ours, re.MULTILINE)
    if buffer:
        site = server.raddb / "sites-enabled/default"
        ports = rf"^\s*port = {server.auth_port}$"
        site.write_text(re.sub(ports, rf"\g<0>\n{buffer[0]}", site.read_text(), flags=re.MULTILINE))


def _debian_site(server: FreeRadius) -> None:
    server.prepare()
    for folder in ("mods-enabled", "sites-enabled"):
        for link in (server.raddb / folder).glob("dane*"):
            link.unlink()
    site = server.raddb / "sites-enabled/default"
    if not site.exists():
        site.symlink_to("../sites-available/default")
    ports = iter([server.auth_port, server.acct_port] * 2)
    site.write_text(re.sub(r"\bport = 0$", lambda _: f"port = {next(ports)}", site.read_text(), flags=re.MULTILINE))
    eap = server.raddb / "mods-enabled/eap"
    if not eap.exists():
        eap.symlink_to("../mods-available/eap")
    text = eap.read_text()
    for key, value in (
        ("default_eap_type", "tls"),
        ("private_key_file", str(server.folder / "pki/server.key")),
        ("certificate_file", str(server.folder / "pki/server.pem")),
        ("ca_path", str(server.anchor_dir / "ca")),
        ("tls_max_version", '"1.3"'),
    ):
        text, count = re.subn(rf"^(\s*){key} = .*$", rf"\g<1>{key} = {value}", text, count=1, flags=re.MULTILINE)
        if not count:
            raise RuntimeError(f"{eap} has no {key}")
    # The bundle of every CA on the Web, whose names it would send to each device.
    eap.write_text(re.sub(r"^\s*(ca_file|private_key_password) = .*$", "", text, flags=re.MULTILINE))


def bare(server: FreeRadius) -> None:
    """This package's sites with nothing but EAP-TLS left in them: any certificate of a known CA."""
    server.prepare()
    for name in ("mods-enabled/dane", "mods-enabled/dane_wait", "sites-enabled/dane-check"):
        (server.raddb / name).unlink()
    edit(
        server.raddb / "mods-available/dane_eap",
        ("virtual_server = dane-check", ""),
        ("enable = yes", "enable = no"),
        ('persist_dir = "', '#persist_dir = "'),
    )
    site = server.raddb / "sites-available/dane"
    text = re.sub(r"^(\s*)dane(_seen)?( \{)?$", r"\1ok\3", site.read_text(), flags=re.MULTILINE)
    text = re.sub(r'"%\{dane_wait:.*\}"', '""', text)
    if re.search(r"^\s*[^#\s].*\bdane_(wait|seen)\b", text, re.MULTILINE):
        raise RuntimeError(f"{site} uses modules of this package in ways that this does not know")
    site.write_text(text)


def forking(server: FreeRadius) -> None:
    """EAP-TLS with a program for every certificate."""
    bare(server)
    folder = server.folder / "tmp"
    folder.mkdir()
    shutil.chown(folder, "freerad", "freerad")
    folder.chmod(0o700)
    script = server.folder / "check.py"
    shutil.copy(Path(__file__).with_name("forking_check.py"), script)
    libraries = (server.python_path or "").split(":")[0]
    wrapper = server.folder / "check"
    wrapper.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={libraries} PYTHONDONTWRITEBYTECODE=1\n"
        f'exec /usr/bin/python3 {script} "$1" {server.resolver_port}\n'
    )
    wrapper.chmod(0o755)
    edit(
        server.raddb / "mods-available/dane_eap",
        (
            "check_crl = no",
            f"check_crl = no\n\t\tverify {{\n\t\t\ttmpdir = {folder}\n"
            f'\t\t\tclient = "{wrapper} %{{TLS-Client-Cert-Filename}}"\n\t\t}}\n',
        ),
    )


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace text in a configuration file. Raises RuntimeError when it does not hold what is to be replaced."""
    text = path.read_text()
    for old, new in changes:
        if old not in text:
            raise RuntimeError(f"{path} does not hold {old!r}")
        text = text.replace(old, new)
    path.write_text(text)


def resident_megabytes(server: FreeRadius) -> float:
    assert server.daemon is not None
    status = Path(f"/proc/{server.daemon.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def plain_arm(authentications: int = 240) -> Arm:
    return Arm("plain", "plain EAP-TLS, Debian's own site", authentications, plain)


def tuned_arm(authentications: int = 240) -> Arm:
    return Arm("tuned", "plain EAP-TLS with this package's limits and buffers", authentications, tuned)


def bare_arm(authentications: int = 240) -> Arm:
    return Arm("bare", "this package's sites without the module", authentications, bare)


def module_arm(authentications: int = 240) -> Arm:
    return Arm("module", "EAP-TLS with the module", authentications, FreeRadius.prepare)


def forking_arm(authentications: int = 60) -> Arm:
    return Arm("forking", "EAP-TLS with a program per certificate", authentications, forking)
