"""NOTIFY after each change (RFC 1996): a resolver with a copy of the zone updates it without polling."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.rdatatype

from iot_registry.local.config import Endpoint
from iot_registry.publication.dns_client import NOTIFY_TRIES, send_notify
from tests.harness.process import free_port, wait_for
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import Registry, csr_text


def test_unbound_with_a_copy_of_the_zone_follows_without_polling(tmp_path: Path) -> None:
    port = free_port()
    registry = Registry(tmp_path / "registry", options={"publication": {"notify": [f"127.0.0.1:{port}"]}})
    registry.prepare()
    # Unbound transfers without TSIG: the server allows the transfer by address.
    by_address = "acl:\n  - id: site\n    address: 127.0.0.1\n    action: transfer\n"
    registry.knot.config.write_text(registry.knot.config.read_text().replace("acl:\n", by_address, 1))
    zone = registry.folder / "dns" / "zones" / "home.example.conf"
    zone.write_text(zone.read_text().replace("acl: [", "acl: [site, "))
    with registry.running() as running:
        anchors = "".join(f"{line}\n" for line in _ds(running))
        copy = f"""
auth-zone:
    name: "home.example."
    primary: 127.0.0.1@{registry.dns_port}
    allow-notify: 127.0.0.1
    fallback-enabled: no
    for-downstream: no
    for-upstream: yes
"""
        extra = '    local-zone: "home.example." transparent\n' + copy
        with Unbound(tmp_path / "unbound", {}, anchors, port=port, extra=extra) as resolver:
            name, bundle = running.add("followed")
            assert running.enroll(bundle, csr_text(name).encode()).status == 200

            def validated() -> bool:
                answer = resolver.query(name)
                return bool(answer.answer) and bool(answer.flags & dns.flags.AD)

            wait_for(validated, "the new device, by the copy of the zone")
            running.revoke(name)
            # The zone's refresh interval is an hour: only the NOTIFY can have caused the transfer.
            wait_for(lambda: not resolver.query(name).answer, "the revocation, by the copy of the zone")


def _ds(registry: Registry) -> list[str]:
    command = ["keymgr", "-c", str(registry.knot.config), "home.example.", "ds"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.replace(" DS ", " IN DS ") for line in done.stdout.splitlines()]


def test_a_notify_is_repeated_until_it_is_answered() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert not send_notify(Endpoint("127.0.0.1", silent.getsockname()[1]), "home.example")
        silent.settimeout(1)
        messages = [dns.message.from_wire(silent.recv(512)) for _ in range(NOTIFY_TRIES)]
    for message in messages:
        assert message.opcode() == dns.opcode.NOTIFY
        assert message.flags & dns.flags.AA
        assert (str(message.question[0].name), message.question[0].rdtype) == ("home.example.", dns.rdatatype.SOA)
    assert len({message.id for message in messages}) == 1
