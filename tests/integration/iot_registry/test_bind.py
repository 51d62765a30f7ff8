"""A registry with BIND, as `iot-registry dns-config --server bind` configures it."""

from __future__ import annotations

from pathlib import Path

from tests.harness.process import start
from tests.integration.iot_registry.parts import KnotServer, Registry, csr_text


def test_bind_takes_signs_and_drops_records_as_well(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", options={"signer": {"kind": "none"}})
    registry.run("init")
    registry.run("dns-config", "--server", "bind", "--output", str(registry.folder / "bind"))
    server = KnotServer(registry.folder / "bind", registry.dns_port)
    named = start(
        "named",
        ["named", "-c", registry.folder / "bind" / "named.conf", "-g", "-4", "-n", "1"],
        log=registry.folder / "named.log",
        ready=lambda: server.answers("home.example"),
    )
    with named:
        registry.start()
        try:
            name, bundle = registry.add("bind")
            assert registry.enroll(bundle, csr_text(name).encode()).status == 200
            assert len(server.tlsa(name)) == 1
            assert server.ask(name, "TLSA").answer
            assert server.ask("home.example", "NSEC3PARAM").answer
            registry.revoke(name)
            assert server.tlsa(name) == set()
            # A domain is added, and the remaining tasks are listed.
            created = registry.json("domain", "add", "smith.homes.example")
            assert created["ds"] == []
            assert any("make the signed zone smith.homes.example" in task for task in created["todo"])
        finally:
            registry.stop()
