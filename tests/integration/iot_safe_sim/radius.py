"""A small FreeRADIUS that accepts any device certificate of one CA, and hostapd as a wired authenticator."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.harness.pki import Identity
from tests.harness.process import Daemon, start, wait_for

SECRET = "testing123"
SERVER_NAME = "radius.example.net"

_RADIUSD = """
prefix = /usr
exec_prefix = /usr
libdir = /usr/lib/freeradius
confdir = {folder}
logdir = {folder}
run_dir = {folder}
db_dir = {folder}
name = freeradius
pidfile = {folder}/radiusd.pid
security {{
  max_attributes = 200
  reject_delay = 0
  status_server = no
}}
proxy_requests = no
client loopback {{
  ipaddr = 127.0.0.0/8
  secret = {secret}
  require_message_authenticator = yes
}}
thread pool {{
  start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 2
}}
modules {{
  eap {{
    default_eap_type = tls
    tls-config common {{
      private_key_file = {folder}/server.key
      certificate_file = {folder}/server.pem
      ca_file = {folder}/clients.pem
      cipher_list = "DEFAULT"
      tls_min_version = "1.2"
      tls_max_version = "1.3"
      ecdh_curve = "prime256v1"
    }}
    tls {{
      tls = common
    }}
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    eap {{
      ok = return
    }}
  }}
  authenticate {{
    eap
  }}
  post-auth {{
    Post-Auth-Type REJECT {{
      eap
    }}
  }}
}}
"""

_HOSTAPD = """
interface={interface}
driver=wired
logger_stdout=-1
logger_stdout_level=1
ctrl_interface={folder}/hostapd
ieee8021x=1
eapol_version=2
use_pae_group_addr=1
eap_reauth_period=0
eap_server=0
own_ip_addr=127.0.0.1
nas_identifier=switch-1
auth_server_addr=127.0.0.1
auth_server_port={port}
auth_server_shared_secret={secret}
"""


@dataclass
class Radius:
    """A RADIUS server, in network namespace `namespace` if given."""

    folder: Path
    clients_ca: Identity
    server: Identity
    server_chain: Identity
    port: int
    namespace: str | None = None

    def __enter__(self) -> Daemon:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server.save(self.folder, "server")
        (self.folder / "server.pem").write_bytes(self.server.pem + self.server_chain.pem)
        (self.folder / "clients.pem").write_bytes(self.clients_ca.pem)
        (self.folder / "radiusd.conf").write_text(_RADIUSD.format(folder=self.folder, port=self.port, secret=SECRET))
        self.log = self.folder / "radiusd.log"
        self.daemon = start(
            "freeradius",
            [*inside(self.namespace), "freeradius", "-f", "-l", "stdout", "-xx", "-d", str(self.folder)],
            log=self.log,
            ready=lambda: "Ready to process requests" in self.log.read_text(errors="replace"),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        return self.daemon

    def __exit__(self, *exc: object) -> None:
        self.daemon.stop()


def inside(namespace: str | None) -> list[str]:
    """The words that run a command in a network namespace."""
    return ["ip", "netns", "exec", namespace] if namespace else []


class Wire:
    """Two network namespaces, a device's and a switch's, joined by a wire; hostapd guards the switch's end."""

    def __init__(self, folder: Path, radius_port: int) -> None:
        self.folder = folder
        tag = f"is{os.getpid() % 100000}"
        self.device, self.switch = f"{tag}-dev", f"{tag}-sw"
        self.device_interface, self._switch_interface = "eth0", "port1"
        self._radius_port = radius_port

    def __enter__(self) -> Wire:
        self.folder.mkdir(parents=True, exist_ok=True)
        for namespace in (self.device, self.switch):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip(
            "link", "add", "name", self._switch_interface, "netns", self.switch, "type", "veth",
            "peer", "name", self.device_interface, "netns", self.device,
        )  # fmt: skip
        _ip("-n", self.switch, "link", "set", self._switch_interface, "up")
        _ip("-n", self.device, "link", "set", self.device_interface, "up")
        return self

    def start_authenticator(self) -> None:
        """Start hostapd on the switch's end."""
        configuration = self.folder / "hostapd.conf"
        configuration.write_text(
            _HOSTAPD.format(interface=self._switch_interface, folder=self.folder, port=self._radius_port, secret=SECRET)
        )
        log = self.folder / "hostapd.log"
        self._hostapd = start(
            "hostapd",
            [*inside(self.switch), "hostapd", "-t", str(configuration)],
            log=log,
            ready=lambda: "AP-ENABLED" in log.read_text(),
        )

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "_hostapd"):
            self._hostapd.stop()
        for namespace in (self.device, self.switch):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)

    def authorized(self) -> bool:
        """Whether the switch has opened the port for a station."""
        command = ["hostapd_cli", "-p", str(self.folder / "hostapd"), "-i", self._switch_interface, "all_sta"]
        done = subprocess.run([*inside(self.switch), *command], capture_output=True, text=True, timeout=10, check=False)
        return "[AUTHORIZED]" in done.stdout

    def wait_authorized(self, expected: bool) -> None:
        """Wait until the port is open (or closed)."""
        wait_for(lambda: self.authorized() == expected, f"the port to be {'open' if expected else 'closed'}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
