"""FreeRADIUS as a NAS that accepts Disconnect- and CoA-Requests (RFC 5176)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.harness.freeradius import start_freeradius
from tests.harness.process import Daemon

DAS_SECRET = "secret-of-the-nas"


@dataclass
class RadiusNas:
    """FreeRADIUS as a NAS. It accepts Disconnect- and CoA-Requests, but no CoA to VLAN 44 (Error-Cause 405).

    It verifies the Message-Authenticator, and drops invalid requests.
    """

    folder: Path
    address: str
    daemon: Daemon | None = None

    def __enter__(self) -> RadiusNas:
        self.folder.mkdir(parents=True)
        (self.folder / "radiusd.conf").write_text(
            f"""\
prefix = /usr
libdir = /usr/lib/freeradius
logdir = {self.folder}
run_dir = {self.folder}
name = nas
modules {{
    always ok {{ rcode = ok }}
    always reject {{ rcode = reject }}
}}
client worker {{
    ipaddr = 127.0.0.0/8
    secret = {DAS_SECRET}
    require_message_authenticator = yes
}}
server coa {{
    listen {{
        type = coa
        ipaddr = {self.address}
        port = 3799
    }}
    recv-coa {{
        if (!&Event-Timestamp || !&Message-Authenticator || !&Acct-Session-Id) {{
            update reply {{ &Error-Cause := Missing-Attribute }}
            reject
        }}
        elsif (&Tunnel-Private-Group-Id:0 == "44") {{
            update reply {{ &Error-Cause := Unsupported-Service }}
            reject
        }}
        else {{
            ok
        }}
    }}
}}
"""
        )
        self.daemon = start_freeradius(self.folder, self.folder / "nas.log", debug=True)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.daemon:
            self.daemon.stop()

    def text(self) -> str:
        path = self.folder / "nas.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def conversation(self, start_at: int = 0) -> list[str]:
        """The packets in their order, such as `Received CoA-Request` and `Sent CoA-ACK`."""
        kinds = ("CoA-Request", "CoA-ACK", "CoA-NAK", "Disconnect-Request", "Disconnect-ACK", "Disconnect-NAK")
        lines = self.text()[start_at:].splitlines()
        return [
            f"{verb} {kind}" for line in lines for verb in ("Received", "Sent") for kind in kinds
            if f"{verb} {kind} Id" in line
        ]  # fmt: skip
