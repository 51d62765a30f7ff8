"""FreeRADIUS without the module: EAP-TLS as a device meets it at any network that knows its CA."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.freeradius import SECRET, start_freeradius
from tests.harness.pki import Identity
from tests.harness.process import Daemon, free_port

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
client switches {{
  ipaddr = 10.0.0.0/8
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
    ipaddr = *
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


@dataclass
class EapTlsServer:
    """A RADIUS server that accepts any device certificate of `clients_ca`, from `eapol_test` or a `Switch`.

    It presents `server`, and sends `server_chain` behind it.
    """

    folder: Path
    clients_ca: Identity
    server: Identity
    server_chain: Identity
    port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    @property
    def log(self) -> Path:
        return self.folder / "radiusd.log"

    def __enter__(self) -> EapTlsServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server.save(self.folder, "server")
        (self.folder / "server.pem").write_bytes(self.server.pem + self.server_chain.pem)
        (self.folder / "clients.pem").write_bytes(self.clients_ca.pem)
        (self.folder / "radiusd.conf").write_text(_RADIUSD.format(folder=self.folder, port=self.port, secret=SECRET))
        self.daemon = start_freeradius(self.folder, self.log, debug=True)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.daemon:
            self.daemon.stop()
