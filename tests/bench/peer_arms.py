"""Other ways to ask somebody about a certificate, on Debian's own site: OCSP, and an HTTP policy server."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.bench.arms import Arm, edit, plain
from tests.harness.freeradius import FreeRadius
from tests.harness.pki import Authority
from tests.harness.process import Daemon, start

_CHECK_SERVER = """\
server bench-check {
	authorize {
		rest
		if (ok || updated || noop) {
			update control {
				&Auth-Type := Accept
			}
		}
		else {
			reject
		}
	}
}
"""


def start_ocsp(folder: Path, ca: Authority, serials: Iterable[int], port: int) -> Daemon:
    """OpenSSL's own responder, which knows these certificates as good."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = ca.save(folder, "ca")
    index = folder / "index.txt"
    numbers = (f"{serial:x}".upper() for serial in serials)
    index.write_text(
        "".join(
            f"V\t491231235959Z\t\t{number.zfill(len(number) + len(number) % 2)}\tunknown\t/CN={number}\n"
            for number in numbers
        )
    )
    log = folder / "ocsp.log"
    arguments = ["openssl", "ocsp", "-index", str(index), "-port", str(port), "-CA", str(certificate)]
    arguments += ["-rsigner", str(certificate), "-rkey", str(key)]
    return start("openssl ocsp", arguments, log=log, ready=lambda: "ACCEPT" in log.read_text(errors="replace"))


def start_policy_server(folder: Path, port: int) -> Daemon:
    folder.mkdir(parents=True, exist_ok=True)

    def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    script = Path(__file__).with_name("policy_server.py")
    return start("policy server", [sys.executable, script, str(port)], log=folder / "http.log", ready=ready)


def ocsp_arm(authentications: int, port: int) -> Arm:
    """EAP-TLS that asks an OCSP responder about every certificate."""

    def set_up(server: FreeRadius) -> None:
        plain(server)
        eap = server.raddb / "mods-enabled/eap"
        before, ocsp = eap.read_text().split("\t\tocsp {", 1)
        ocsp = ocsp.replace("enable = no", "enable = yes", 1)
        ocsp = ocsp.replace('url = "http://127.0.0.1/ocsp/"', f'url = "http://127.0.0.1:{port}/"', 1)
        eap.write_text(f"{before}\t\tocsp {{{ocsp}")

    return Arm("ocsp", "EAP-TLS with OCSP (openssl ocsp)", authentications, set_up)


def rest_arm(authentications: int, port: int) -> Arm:
    """EAP-TLS that asks a policy server over HTTP, with rlm_rest, after every handshake."""

    def set_up(server: FreeRadius) -> None:
        plain(server)
        module = server.raddb / "mods-available/rest"
        (server.raddb / "mods-enabled/rest").symlink_to("../mods-available/rest")
        uri = "/user/%{User-Name}/mac/%{Called-Station-ID}?action=authorize"
        edit(
            module,
            ('connect_uri = "http://127.0.0.1/"', f'connect_uri = "http://127.0.0.1:{port}"'),
            (
                f'uri = "${{..connect_uri}}{uri}"',
                'uri = "${..connect_uri}/check/%{TLS-Client-Cert-Subject-Alt-Name-Dns}"',
            ),
        )
        (server.raddb / "sites-enabled/bench-check").write_text(_CHECK_SERVER)
        eap = server.raddb / "mods-enabled/eap"
        edit(eap, ("#\tvirtual_server = check-eap-tls", "virtual_server = bench-check"))

    return Arm("rest", "EAP-TLS with rlm_rest and an HTTP policy server", authentications, set_up)
