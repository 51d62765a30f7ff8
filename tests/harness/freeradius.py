"""FreeRADIUS: Debian's stock configuration with the module installed, on loopback and high ports.

`eap_tls_server.EapTlsServer` is the same daemon without the module.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dane_radius.install.installer import Installer, Layout
from tests.harness.deploy import deploy
from tests.harness.pki import Identity, authority
from tests.harness.process import Daemon, free_port, start, wait_for

STOCK_RADDB = Path("/etc/freeradius/3.0")
SECRET = "testing123"
SERVER_NAME = "radius.example.net"


def start_freeradius(raddb: Path, log: Path, *, debug: bool = False) -> Daemon:
    """Start a server with this configuration; returns when it answers requests.

    debug: it logs each packet. Raises DaemonError, with the log's end, when it does not start.
    """
    ready = "Ready to process requests"

    def count() -> int:
        return log.read_text(errors="replace").count(ready) if log.exists() else 0

    before = count()
    return start(
        "freeradius",
        ["freeradius", *(["-xx"] if debug else []), "-f", "-l", "stdout", "-d", raddb],
        log=log,
        ready=lambda: count() > before,
        timeout=30,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )


@dataclass
class FreeRadius:
    """A running server in `folder` that decides by `policy` over `resolver_port`.

    anchors: CAs that OpenSSL knows from the start. threads: None: what the installer sets.
    """

    folder: Path
    resolver_port: int
    policy: str
    anchors: list[Identity] = field(default_factory=list)
    dns_timeout: float = 1.5
    config: str = ""
    auth_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    python_path: str | None = None
    debug: bool = False
    threads: int | None = None
    daemon: Daemon | None = None
    tls_max_version: str = "1.3"
    accounting: str = "none"
    hint_socket: Path | None = None
    resumption: bool = False
    log_interval: float = 0.05
    log_every_login: bool = True
    server_key: Any = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.acct_port = free_port()
        # TLS sessions belong on a tmpfs, as /run is on a real host.
        self._memory = Path(tempfile.mkdtemp(prefix="dane-radius-", dir="/dev/shm"))
        self._memory.chmod(0o755)
        self.server_ca = authority("RADIUS server CA")
        self.server = self.server_ca.issue(SERVER_NAME, common_name=SERVER_NAME, eku=None, key=self.server_key)

    @property
    def raddb(self) -> Path:
        return self.folder / "raddb"

    @property
    def policy_file(self) -> Path:
        return self.folder / "etc" / "policy.yaml"

    @property
    def config_file(self) -> Path:
        return self.folder / "etc" / "dane-radius.toml"

    @property
    def decision_log(self) -> Path:
        return self.folder / "log" / "decisions.log"

    @property
    def session_dir(self) -> Path:
        return self._memory / "sessions"

    @property
    def anchor_dir(self) -> Path:
        return self.folder / "anchors"

    @property
    def control_socket(self) -> Path:
        return self.folder / "run" / "dane.sock"

    @property
    def accounting_db(self) -> Path:
        return self.folder / "accounting" / "radacct.db"

    @property
    def server_ca_file(self) -> Path:
        return self.folder / "pki" / "server-ca.pem"

    @property
    def log(self) -> Path:
        return self.folder / "radiusd.log"

    def layout(self) -> Layout:
        return Layout(
            raddb=self.raddb,
            config_dir=self.folder / "etc",
            anchors=self.anchor_dir,
            session_dir=self.session_dir,
            log=str(self.decision_log),
            control_socket=self.control_socket,
            server_key=self.folder / "pki" / "server.key",
            server_certificate=self.folder / "pki" / "server.pem",
            resolver_port=self.resolver_port,
            metrics_port=self.metrics_port,
            auth_port=self.auth_port,
            acct_port=self.acct_port,
            python_path=self.python_path or "",
            hint_socket=self.hint_socket,
            accounting=self.accounting,
            accounting_db=self.accounting_db,
            resumption=self.resumption,
            threads=0 if self.threads else Layout.threads,
        )

    def prepare(self) -> None:
        """Make raddb from Debian's stock one and install the module, as an operator would."""
        user = pwd.getpwnam("freerad")
        if self.python_path is None:
            self.python_path = deploy(self.folder / "python")
        for name in ("run", "log"):
            (self.folder / name).mkdir(exist_ok=True)
            os.chown(self.folder / name, user.pw_uid, user.pw_gid)
        self.server.save(self.folder / "pki", "server")
        self.server_ca_file.write_bytes(self.server_ca.pem)
        shutil.copytree(STOCK_RADDB, self.raddb, symlinks=True)
        for path in [self.raddb, *self.raddb.rglob("*")]:
            os.chown(path, 0, user.pw_gid, follow_symlinks=False)
        os.chown(self.folder / "pki" / "server.key", user.pw_uid, user.pw_gid)
        (self.folder / "pki" / "server.key").chmod(0o400)
        self._adapt_radiusd_conf()
        Installer(self.layout()).install()
        if self.tls_max_version != "1.3":
            path = self.raddb / "mods-available" / "dane_eap"
            path.write_text(
                path.read_text().replace('tls_max_version = "1.3"', f'tls_max_version = "{self.tls_max_version}"')
            )
        self.write_policy(self.policy)
        settings = self.config_file.read_text().replace("# timeout = 1.5", f"timeout = {self.dns_timeout}")
        settings = settings.replace("# interval = 0.5", f"interval = {self.log_interval}")
        self.config_file.write_text(settings + self.config)
        for anchor in self.anchors:
            self.add_anchor(anchor)

    def _adapt_radiusd_conf(self) -> None:
        """Set folders, ports and clients; everything else stays as Debian ships it."""
        path = self.raddb / "radiusd.conf"
        text = path.read_text()
        for key, value in {
            "confdir": str(self.raddb),
            "raddbdir": str(self.raddb),
            "run_dir": str(self.folder / "run"),
            "logdir": str(self.folder / "log"),
            "db_dir": str(self.folder / "run"),
            "radacctdir": str(self.folder / "log"),
            "cleanup_delay": "1",
            "max_requests": "65536",
            "reject_delay": "0",
            "auth": "yes" if self.log_every_login else "no",
        }.items():
            text, count = re.subn(rf"^(\s*){key} = .*$", rf"\g<1>{key} = {value}", text, flags=re.MULTILINE)
            if count == 0:
                raise RuntimeError(f"radiusd.conf has no {key}")
        if self.threads:
            for key in ("start_servers", "max_servers", "max_spare_servers"):
                text = re.sub(rf"^(\s*){key} = .*$", rf"\g<1>{key} = {self.threads}", text, flags=re.MULTILINE)
        path.write_text(text)
        (self.raddb / "clients.conf").write_text(
            "client loopback {\n\tipaddr = 127.0.0.0/8\n"
            f"\tsecret = {SECRET}\n\trequire_message_authenticator = yes\n}}\n"
        )

    def add_client(self, name: str, address: str, secret: str = SECRET) -> None:
        """Add a NAS, before the server starts."""
        clients = self.raddb / "clients.conf"
        clients.write_text(
            clients.read_text()
            + f"client {name} {{\n\tipaddr = {address}\n\tsecret = {secret}\n"
            + "\trequire_message_authenticator = yes\n}\n"
        )

    def write_policy(self, text: str) -> None:
        """Replace the policy file atomically, as an editor that renames does."""
        fresh = self.policy_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(self.policy_file)

    def add_anchor(self, anchor: Identity) -> None:
        """Let OpenSSL know a CA, under its hashed name."""
        folder = self.anchor_dir / "ca"
        path = folder / f"{anchor.fingerprint}.pem"
        path.write_bytes(anchor.pem)
        path.chmod(0o644)
        os.system(f"openssl rehash {folder}")  # noqa: S605  # a folder of our own making

    def start(self) -> FreeRadius:
        if not self.raddb.exists():
            self.prepare()
        self.daemon = start_freeradius(self.raddb, self.log, debug=self.debug)
        return self

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
        shutil.rmtree(self._memory, ignore_errors=True)

    def __enter__(self) -> FreeRadius:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def decisions(self) -> list[dict[str, Any]]:
        """The decision log so far."""
        if not self.decision_log.exists():
            return []
        lines = [json.loads(line) for line in self.decision_log.read_text().splitlines()]
        return [line for line in lines if line["event"] == "decision"]

    def decisions_about(self, station: str) -> list[dict[str, Any]]:
        """The decisions about a station (its Calling-Station-Id) so far, the oldest first."""
        wanted = station.lower().replace(":", "-")
        return [line for line in self.decisions() if line.get("station", "").lower() == wanted]

    def decision_for(self, station: str, timeout: float = 5.0) -> dict[str, Any]:
        """The newest decision about a station. Raises AssertionError when the log does not get one in time."""
        wait_for(lambda: self.decisions_about(station), f"a decision about station {station}", timeout)
        return self.decisions_about(station)[-1]

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        with socket.create_connection(("127.0.0.1", self.metrics_port), timeout=5) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode().split("\r\n\r\n", 1)[1]

    def metric(self, sample: str) -> float:
        """The value of one sample, for example `dane_radius_decisions_total{...}`; 0 when it is not there."""
        for line in self.metrics().splitlines():
            if line.startswith(sample + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def cpu_seconds(self) -> float:
        """User and system time of the server process."""
        assert self.daemon is not None
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_policy(self, timeout: float = 5.0) -> None:
        """Until the server has looked at the policy file again."""
        before = self.policy_log_lines()
        wait_for(lambda: self.policy_log_lines() > before, "the server to look at the policy file", timeout)

    def policy_log_lines(self) -> int:
        text = self.decision_log.read_text() if self.decision_log.exists() else ""
        return text.count('"event":"policy ')
