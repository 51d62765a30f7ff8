"""The HTTPS server's TLS context: a change never disturbs a handshake."""

from __future__ import annotations

import datetime as dt
import ssl
import threading

import pytest

from iot_registry.https.server_tls import LIFETIME_DAYS, RENEWAL_DAYS, ServerTls
from iot_registry.local.config import TlsSection
from iot_registry.service import domains
from iot_registry.service.authorities import server_anchor
from iot_registry.service.schemas import DomainCreate
from tests.unit.iot_registry.conftest import NOW, WHO, Bench
from web_service.core import ConfigurationError


def refresh(bench: Bench, tls: ServerTls, at: dt.datetime = NOW) -> ssl.SSLContext:
    with bench.database.read() as session:
        tls.refresh(session, at)
    return tls.context


def add_domain(bench: Bench, name: str) -> None:
    with bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name=name), NOW)


def handshake(bench: Bench, server: ssl.SSLContext, host: str) -> None:
    """A TLS handshake in memory, of a client that trusts the registry's CA. Raises SSLError."""
    with bench.database.read() as session:
        client = ssl.create_default_context(cadata=server_anchor(session, bench.settings))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


def test_a_new_domain_gets_a_new_context_and_the_old_one_stays_as_it_is(bench: Bench) -> None:
    tls = ServerTls(bench.settings, bench.store)
    first = refresh(bench, tls)
    assert refresh(bench, tls) is first
    add_domain(bench, "b.example")
    second = refresh(bench, tls)
    assert second is not first
    assert len(second.get_ca_certs()) == len(first.get_ca_certs()) + 1
    assert list((bench.settings.state_dir / "tls").iterdir()) == []


def test_a_certificate_that_is_about_to_expire_is_replaced(bench: Bench) -> None:
    tls = ServerTls(bench.settings, bench.store)
    first = refresh(bench, tls)
    due = NOW + dt.timedelta(days=LIFETIME_DAYS - RENEWAL_DAYS)
    assert refresh(bench, tls, due - dt.timedelta(seconds=1)) is first
    assert refresh(bench, tls, due) is not first


def test_no_handshake_fails_while_the_context_is_replaced(bench: Bench) -> None:
    """With one context for all, a handshake could meet a certificate without its key."""
    now = dt.datetime.now(dt.UTC)
    tls = ServerTls(bench.settings, bench.store)
    refresh(bench, tls, now)
    done = threading.Event()
    failures: list[Exception] = []
    handshakes = 0

    def connect() -> None:
        nonlocal handshakes
        while not done.is_set():
            try:
                handshake(bench, tls.context, "localhost")
                handshakes += 1
            except ssl.SSLError as error:
                failures.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        # The time for the next certificate comes with each refresh.
        for _ in range(40):
            tls._renew_at = None
            refresh(bench, tls, now)
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert handshakes > 0


def test_files_that_are_no_certificate_are_named(bench: Bench) -> None:
    path = bench.settings.state_dir / "no.pem"
    path.write_text("nothing")
    settings = bench.settings.model_copy(update={"tls": TlsSection(certificate=path, key=path, anchor=path)})
    with pytest.raises(ConfigurationError, match="not usable for TLS"):
        refresh(bench, ServerTls(settings, bench.store))
