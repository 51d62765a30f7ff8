"""The worker as its systemd unit runs it: its own user, no capabilities, and a read-only system."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY
from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.process import run, start, wait_for
from tests.harness.trust_sync import TrustSync
from tests.harness.unbound import Unbound
from tests.integration.trust_sync.standing_site import POLICY as STANDING_POLICY
from tests.integration.trust_sync.standing_site import Operations

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
POLICY = f"version: 1\nrules:\n  - {{name: all, identity: ['**.{ZONE}'], grant: {{vlan: 1}}}}\n"
UNIT = REPOSITORY / "containers" / "systemd" / "trust-sync.service"
# An unrelated user, in the group that the unit gives the worker.
USER, GROUP = "nobody", "freerad"

# ProtectSystem=strict with the unit's writable folders. Then the user is changed irrevocably.
_ENTER = """
set -e
mount --make-rprivate /
for folder in {writable}; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
umask {umask}
exec setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
    /usr/bin/python3 -c '{deny_write_execute}' {command}
"""
# MemoryDenyWriteExecute=yes: prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN), of Linux 6.3; older kernels refuse it.
_DENY_WRITE_EXECUTE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def unit_setting(key: str) -> str:
    """The last value of a key in the unit."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)[-1]


@dataclass
class Unprivileged(TrustSync):
    """Started as the unit says, as far as possible without systemd. python_path: readable copies of the packages."""

    python_path: str = ""
    anchors: Path = Path()

    @property
    def folders(self) -> dict[str, Path]:
        """The unit's folders, and their replacements in the test."""
        return {
            "StateDirectory dane-radius/anchors": self.anchors,
            "StateDirectory dane-radius/standing": self.folder / "standing",
            "StateDirectory dane-radius/trust-sync": self.state_file.parent,
            "RuntimeDirectory trust-sync": self.socket.parent,
        }

    def prepare_folders(self) -> None:
        named = {
            f"{key} {name}" for key in ("StateDirectory", "RuntimeDirectory") for name in unit_setting(key).split()
        }
        assert named == set(self.folders)
        uid, gid = pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid
        for key, path in self.folders.items():
            path.mkdir(parents=True, exist_ok=True)
            for each in (path, *path.rglob("*")):
                os.chown(each, uid, gid, follow_symlinks=False)
            path.chmod(int(unit_setting(f"{key.split()[0]}Mode"), 8))

    def start(self) -> TrustSync:
        self.write_config()
        self.prepare_folders()
        script = _ENTER.format(
            writable=" ".join(str(path) for path in self.folders.values()),
            umask=unit_setting("UMask"),
            user=USER,
            group=GROUP,
            deny_write_execute=_DENY_WRITE_EXECUTE,
            command=f"/usr/bin/python3 -m trust_sync.cli run --config {self.config}",
        )
        self.daemon = start(
            "trust-sync",
            ["unshare", "--mount", "sh", "-c", script],
            log=self.log,
            ready=self.answers,
            timeout=30,
            env={"PYTHONPATH": self.python_path.split(":")[0]},
            cwd=Path("/"),
        )
        return self


@dataclass
class Place:
    """A site with accounting, and its worker."""

    folder: Path
    knot: Knot
    unbound: Unbound
    radius: FreeRadius

    def sync(self, name: str = "sync", settings: str = "") -> Unprivileged:
        return Unprivileged(
            self.folder / name,
            self.radius.config_file,
            f"[sessions]\ndatabase = 'sqlite:///{self.radius.accounting_db}'\npoll = 0.2\nrecheck_min = 0.5\n"
            f"[disconnect]\ntimeout = 0.2\ntries = 1\n{settings}",
            python_path=self.radius.python_path or "",
            anchors=self.radius.anchor_dir,
        )


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="user-test-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        knot = stack.enter_context(Knot(folder / "knot", [Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\n")]))
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)))
        socket = folder / "sync" / "run" / "trust-sync.sock"
        radius = FreeRadius(folder / "radius", unbound.port, POLICY, hint_socket=socket, accounting="sqlite")
        radius.prepare()
        radius.config_file.write_text(radius.config_file.read_text().replace("# wait = 0.3", "wait = 1.0"))
        stack.enter_context(radius)
        yield Place(folder, knot, unbound, radius)


def mode(path: Path) -> tuple[int, str, str]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name


def test_everything_works_without_privileges(place: Place) -> None:
    ca = authority("Unprivileged CA")
    name = f"u1._device.{ZONE}"
    device = ca.issue(name)
    place.knot.add_tlsa(ZONE, name, str(ca.tlsa(2, 0, 0)), 1)
    peer = write_peer_config(
        place.folder / "peers", device, identity=name, server_ca=place.radius.server_ca_file, name="u1"
    )
    with place.sync() as sync:
        assert sync.daemon is not None
        status = Path(f"/proc/{sync.daemon.pid}/status").read_text()
        assert re.search(rf"^Uid:(\s+{pwd.getpwnam(USER).pw_uid}){{4}}$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
        # The server's user can use the worker's socket and read its anchors: the first connection succeeds.
        result = authenticate(place.radius, peer)
        assert result.accepted, place.radius.decision_for(result.station)
        assert mode(sync.socket) == (0o660, USER, GROUP)
        assert mode(sync.socket.parent) == (0o750, USER, GROUP)
        wait_for(sync.state_file.exists, "the state file")
        assert mode(sync.state_file) == (0o600, USER, GROUP)
        assert mode(place.radius.anchor_dir / "index.jsonl")[0] == 0o644
        pem = place.radius.anchor_dir / "ca" / f"anchor-{ca.fingerprint}.pem"
        assert mode(pem) == (0o644, USER, GROUP)
        # The worker can read the server's accounting, and use the module's control socket.
        attributes = (
            f'Acct-Status-Type = Start, User-Name = "{name}", Acct-Session-Id = "U-1", NAS-IP-Address = 10.9.9.9'
        )
        run(["radclient", f"127.0.0.1:{place.radius.acct_port}", "acct", SECRET], stdin=attributes + "\n")
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
        place.knot.delete_tlsa(ZONE, name)
        wait_for(lambda: sync.status()["sessions"]["pending"], "the session to be pending", timeout=15)
        metrics = run(["curl", "-sS", f"http://127.0.0.1:{sync.metrics_port}/metrics"])
        assert 'trust_sync_flush_failures_total{cache="module"} 0.0' in metrics
        assert 'trust_sync_revocations_total{cause="absent"} 1.0' in metrics


def test_it_writes_the_journal_for_the_servers_user_and_reads_the_servers_log(place: Place) -> None:
    policy = place.folder / "zones.yaml"
    policy.write_text(STANDING_POLICY)
    with Operations(place.folder / "operations", policy) as operations:
        key, ca_file = place.folder / "node.key", place.folder / "operations-ca.pem"
        shutil.copy(operations.key_for("node"), key)
        shutil.copy(operations.ca_file, ca_file)
        os.chown(key, 0, grp.getgrnam(GROUP).gr_gid)
        key.chmod(0o640)
        sync = place.sync(
            "sync-standing",
            f"[operations]\nurl = 'https://127.0.0.1:{operations.port}'\nnode = 'node'\nwait = 2\n"
            f"api_key_file = '{key}'\nca_file = '{ca_file}'\n",
        )
        config = place.folder / "with-standing.toml"
        config.write_text(f'standing = "{sync.folder}/standing"\n' + place.radius.config_file.read_text())
        config.chmod(0o644)
        sync.dane_radius = config
        name = f"u2._device.{ZONE}"
        operations("quarantine", name, "--reason", "test")
        with sync:
            wait_for(lambda: (sync.status()["operations"] or {}).get("usable"), "the journal", timeout=20)
            journal = sync.folder / "standing" / "journal"
            assert mode(journal) == (0o644, USER, GROUP)
            script = (
                "import sys; from dane_radius.local import StandingTable; t = StandingTable(sys.argv[1]);"
                "t.refresh(); print(t.of(sys.argv[2], 0.0).standing)"
            )
            done = subprocess.run(
                ["setpriv", "--reuid=freerad", "--regid=freerad", "--clear-groups", "/usr/bin/python3", "-c", script,
                 str(journal.parent), name],
                capture_output=True, text=True, timeout=60, cwd="/", check=False,
                env={"PYTHONPATH": sync.python_path.split(":")[0]},
            )  # fmt: skip
            assert done.stdout.strip() == "quarantined", done.stderr
            # The decision log has mode 0640, and the group of the server.
            wait_for(lambda: sync.status()["operations"]["reports"] is not None, "the reports")
            assert sync.status()["operations"]["reports"] == {"decisions": None, "sessions": None}


@pytest.mark.parametrize(
    ("user", "group", "answered"),
    [("freerad", "freerad", True), ("daemon", "daemon", False), ("daemon", "freerad", False)],
)
def test_who_may_use_the_socket(place: Place, user: str, group: str, answered: bool) -> None:
    # The last user passes the file's mode. The check of the peer refuses it.
    question = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(10)\n"
        's.connect(sys.argv[1]); s.sendall(b\'{"v": 1, "op": "status"}\\n\'); print(len(s.recv(4096)))\n'
    )
    with place.sync() as sync:
        done = subprocess.run(
            ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
             "/usr/bin/python3", "-c", question, str(sync.socket)],
            capture_output=True, text=True, timeout=30, cwd="/",
        )  # fmt: skip
        reply = done.stdout.strip()
        assert (reply.isdigit() and int(reply) > 100) == answered, done.stderr
        assert group == "freerad" or "PermissionError" in done.stderr


def test_it_cannot_write_outside_of_its_folders(place: Place) -> None:
    outside = place.folder / "outside"
    outside.mkdir(exist_ok=True)
    outside.chmod(0o777)
    sync = place.sync("sync-outside", f"[log]\ndestination = '{outside}/sync.log'\n")
    with pytest.raises(Exception, match=r"log.destination: .*Read-only file system"):
        sync.start()
    assert list(outside.iterdir()) == []
