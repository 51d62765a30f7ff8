"""Outages of the DNS, of the database and of another registry process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import PostgreSQL, Registry, csr_text

pytestmark = pytest.mark.daemons


def test_a_device_that_enrolls_while_the_dns_is_away_gets_its_certificate_after(tmp_path: Path) -> None:
    options = {"enrollment": {"publish_wait_seconds": 0.3}}
    with Registry(tmp_path / "registry", options=options).running() as registry:
        name, bundle = registry.add("patient")
        request = csr_text(name).encode()
        registry.knot.stop()
        put_off = registry.enroll(bundle, request)
        assert (put_off.status, int(put_off.headers["retry-after"]) > 0) == (202, True)
        # Until then, the token can be used with this key only.
        assert registry.enroll(bundle, csr_text(name).encode()).status == 401
        assert registry.enroll(bundle, request).status == 202
        assert registry.curl("/health").json["dns"] == "fail"
        registry.knot.start()
        wait_for(lambda: registry.knot.tlsa(name), "the record")
        wait_for(lambda: not registry.device(name)["pending"], "the registry to have seen it")
        answer = registry.enroll(bundle, request)
        assert answer.status == 200
        assert registry.enroll(bundle, csr_text(name).encode()).status == 401
        assert registry.curl("/health").json == {"status": "pass", "database": "pass", "dns": "pass"}


def test_the_registry_outlives_its_postgresql(tmp_path: Path) -> None:
    """PostgreSQL is killed and restarted: answers are 503 meanwhile, and nothing is lost."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(PostgreSQL())
        registry = stack.enter_context(Registry(tmp_path / "registry", database_url=database.url).running())
        name, bundle = registry.add("first")
        assert registry.enroll(bundle, csr_text(name).encode()).status == 200
        database.kill()
        refused = registry.api("GET", f"/v1/devices/{name}", registry.admin)
        assert (refused.status, refused.json["reason"]) == (503, "unavailable")
        assert registry.curl("/health").status == 503
        database.start()
        wait_for(lambda: registry.curl("/health").status == 200, "the registry to find its database again")
        assert registry.device(name)["status"] == "active"
        # The publisher's lock ended with its connection; the publisher takes it again.
        registry.revoke(name)
        assert registry.knot.tlsa(name) == set()


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_second_registry_takes_over_publication(tmp_path: Path, backend: str) -> None:
    with contextlib.ExitStack() as stack:
        url = None
        if backend == "postgresql":
            url = stack.enter_context(PostgreSQL()).url
        first = stack.enter_context(Registry(tmp_path / "registry", database_url=url).running())
        second = Registry(
            tmp_path / "second",
            database_url=url,
            options={"registry": {"state_dir": str(first.state)}},
            dns_port=first.dns_port,
        )
        second.start()
        stack.callback(second.stop)
        name, bundle = second.add("over")
        assert second.enroll(bundle, csr_text(name).encode()).status == 200
        assert first.daemon
        first.daemon.kill()
        second.revoke(name)
        assert first.knot.tlsa(name) == set()
