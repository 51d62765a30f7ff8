"""How `dane-radius doctor` gathers facts, where no daemon is needed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest

from dane_radius.core.answers import Absence, Answer, SecureAbsent
from dane_radius.dns.resolver import Client
from dane_radius.doctor.facts import FileState
from dane_radius.doctor.gather import files, resolver, server, services, trust
from dane_radius.doctor.gather.deadline import Pending
from dane_radius.doctor.gather.manifest import read_installation
from dane_radius.local import ConfigError, ResolverConfig
from health_report import CannotTry, NotTried, ask_once, read_account, read_paths, value
from tests.harness.pki import Identity, authority, self_signed


class Denying:
    """A resolver that knows nothing."""

    def open(self) -> Client:
        raise NotImplementedError

    def lookup(self, name: str) -> Answer:
        return SecureAbsent(Absence.NXDOMAIN, 60)


def test_a_probe_that_takes_too_long_is_given_up() -> None:
    never = threading.Event()
    pending = Pending(lambda: never.wait(60), 0.05)
    began = time.monotonic()
    assert isinstance(pending.result(), NotTried)
    # Seconds, and not the minute of the probe.
    assert time.monotonic() - began < 20
    never.set()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CannotTry("no reason"), "no reason"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (ConfigError("file: key"), "file: key"),
        (ZeroDivisionError("by nothing"), "ZeroDivisionError: by nothing"),
    ],
)
def test_a_probe_that_fails_says_why(error: Exception, said: str) -> None:
    def fail() -> int:
        raise error

    fact = Pending(fail, 10).result()
    assert fact == NotTried(said)
    with pytest.raises(CannotTry, match=said):
        value(fact)


def test_a_probe_may_return_nothing() -> None:
    assert Pending(lambda: None, 10).result() is None


def answer_of(query: dns.message.Message, rcode: int, *, authentic: bool = False) -> dns.message.Message:
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.Rcode(rcode))
    if authentic:
        answer.flags |= dns.flags.AD
    return answer


def test_a_question_is_repeated_and_its_whole_time_counts() -> None:
    asked: list[dns.message.Message] = []

    def ask(query: dns.message.Message) -> dns.message.Message:
        asked.append(query)
        if len(asked) < 3:
            raise dns.exception.Timeout
        return answer_of(query, 0, authentic=True)

    reply = ask_once(ask, "x.example", "TLSA")
    assert len(asked) == 3
    assert (reply.failure, reply.rcode, reply.authentic) == (None, "NOERROR", True)
    assert asked[0].ednsflags & dns.flags.DO
    assert asked[0].flags & dns.flags.AD
    assert not asked[0].flags & dns.flags.CD


@pytest.mark.parametrize(
    "error", [dns.exception.Timeout(), OSError(111, "Connection refused"), dns.exception.FormError()]
)
def test_a_question_without_an_answer(error: Exception) -> None:
    def ask(query: dns.message.Message) -> dns.message.Message:
        raise error

    assert ask_once(ask, "x.example", "TLSA").failure


def test_extended_errors_are_printable() -> None:
    def ask(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.set_rcode(dns.rcode.SERVFAIL)
        answer.use_edns(0, options=[dns.edns.EDEOption(7, "over\x1b[31m" + "x" * 500)])
        return answer

    reply = ask_once(ask, "x.example", "TLSA", checking=False)
    ((code, text),) = reply.extended_errors
    assert code == 7
    assert text.isprintable()
    assert len(text) <= 200


@pytest.fixture
def control(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A control socket that answers as Unbound does."""
    path = tmp_path / "control.sock"
    options = {"port": "5353", "serve-expired": "yes"}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                name = connection.recv(4096).decode().split()[-1]
                connection.sendall((options.get(name, "error unknown option") + "\n").encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path, options
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_settings_of_unbound(control: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    path, options = control
    missing = str(tmp_path / "missing.sock")
    assert resolver.read_unbound(ResolverConfig(port=5353), [missing, str(path)]) == options
    with pytest.raises(CannotTry, match="another Unbound"):
        resolver.read_unbound(ResolverConfig(port=53), [str(path)])
    with pytest.raises(CannotTry, match="No such file"):
        resolver.read_unbound(ResolverConfig(port=5353), [missing])
    with pytest.raises(CannotTry, match="another host"):
        resolver.read_unbound(
            ResolverConfig(address="192.0.2.1", transport="tls", server_name="x.example"), [str(path)]
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('port = 53\npath = "/a.b"\nend\n', True),
        ('port = \npath = ""\nend\n', True),
        ('port = 53\npath = "/a"\n', False),
        ('port = 53\nmore = 1\npath = "/a"\nend\n', False),
        ('port = 53\npath = "/a"\nENDx\n', False),
    ],
)
def test_a_file_is_from_a_template(text: str, expected: bool) -> None:
    assert files.is_from('port = @port@\npath = "@path@"\nend\n', text) is expected


def test_an_installation_from_its_manifest(tmp_path: Path) -> None:
    raddb, etc = tmp_path / "raddb", tmp_path / "etc"
    (raddb / "sites-available").mkdir(parents=True)
    site = raddb / "sites-available/dane"
    site.write_text("server dane {\n}\n")
    gone = raddb / "mods-available/dane"
    manifest = {
        "version": 1,
        "files": {str(site): "0" * 64, str(gone): "0" * 64},
        "links": {str(raddb / "sites-enabled/dane"): "../sites-available/dane"},
        "options": {"config_dir": str(etc), "user": "daemon", "threads": 5},
    }
    (raddb / ".dane-radius.json").write_text(json.dumps(manifest))
    found = read_installation(raddb, None)
    assert (found.config_file, found.user, found.problem) == (str(etc / "dane-radius.toml"), "daemon", None)
    assert set(found.templates) == {"sites-available/dane", "mods-available/dane"}
    facts = files.read_install(found)
    assert [file.state for file in facts.files] == [FileState.CHANGED, FileState.MISSING]
    assert facts.files[0].is_current is False
    assert facts.links[0].target is None
    missing = [item.statement for item in facts.essentials if item.is_present is not item.is_wanted]
    assert "dane_eap_only" in missing
    assert "Auth-Type := Accept" not in missing


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', "[" * 100_000, "\udcff"])
def test_an_unusable_manifest_is_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / ".dane-radius.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    found = read_installation(tmp_path, None)
    assert found.problem
    with pytest.raises(CannotTry):
        files.read_install(found)


def test_no_manifest_and_strange_values(tmp_path: Path) -> None:
    assert "not installed" in str(read_installation(tmp_path, None).problem)
    (tmp_path / ".dane-radius.json").write_text('{"version": 1, "files": [1], "links": {"a": 2}, "options": 3}')
    found = read_installation(tmp_path, "/x.toml")
    assert (found.files, found.links, found.config_file) == ({}, {}, "/x.toml")


def test_clients_and_limits(tmp_path: Path) -> None:
    (tmp_path / "radiusd.conf").write_text(
        "max_requests = 16384\nthread pool {\n\tmax_servers = 32\n}\nsecurity {\n\tlimit_proxy_state = auto\n}\n"
        "$INCLUDE clients.conf\n$INCLUDE ${confdir}/more/\n$INCLUDE /nonexistent\n$INCLUDE radiusd.conf\n"
    )
    (tmp_path / "clients.conf").write_text(
        "client localhost {\n\tipaddr = 127.0.0.1\n\tsecret = testing123\n}\n"
        "client hall {\n\tipaddr = 192.0.2.0/24\n\tsecret = 'abcdefgh'\n\trequire_message_authenticator = yes\n}\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more/one").write_text("client ::1 {\n\tsecret = x\n}\n")
    (tmp_path / "more/two~").write_text("client ignored {\n\tsecret = x\n}\n")
    facts = server.read_radiusd(tmp_path, server.read_file(tmp_path / "radiusd.conf"))
    assert facts.numbers == {"max_requests": 16_384}
    assert facts.pool == {"max_servers": 32}
    assert facts.security == {"limit_proxy_state": "auto"}
    assert [(c.name, c.is_loopback, c.is_known_secret, c.secret_octets) for c in facts.clients] == [
        ("localhost", True, True, 10),
        ("hall", False, False, 8),
        ("::1", True, False, 1),
    ]
    assert [c.require_message_authenticator for c in facts.clients] == [None, "yes", None]


def test_paths_with_links_and_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    paths = read_paths({"a": str(tmp_path / "link"), "b": str(tmp_path / "x/y"), "c": None})
    assert set(paths) == {"a", "b"}
    node = paths["a"].node
    assert node is not None
    assert (node.path, node.permissions, node.uid) == (str(tmp_path / "folder"), "0750", os.geteuid())
    assert paths["a"].filesystem
    assert paths["b"].node is None
    assert paths["b"].missing


def save(folder: Path, *chain: Identity) -> tuple[str, str]:
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(item.pem for item in chain))
    key.write_bytes(chain[0].key_pem)
    return str(certificate), str(key)


def test_a_certificate_with_its_chain(tmp_path: Path) -> None:
    root = authority("Root")
    issuing = root.sub_authority("Issuing")
    leaf = issuing.issue("radius.example.net", eku=None)
    facts = trust.read_certificate(*save(tmp_path, leaf, issuing), None, Denying())
    assert [link.signs_previous for link in facts.chain] == [None, True]
    assert [link.is_self_signed for link in facts.chain] == [False, False]
    assert facts.names == ("radius.example.net",)
    assert facts.record_name == "radius.example.net"
    assert facts.record == SecureAbsent(Absence.NXDOMAIN, 60)
    assert facts.key_matches is True
    assert facts.allows_server is True
    facts = trust.read_certificate(*save(tmp_path, leaf, root), "other.example", NotTried("no resolver"))
    assert [link.signs_previous for link in facts.chain] == [None, False]
    assert (facts.wanted_name, facts.record_name) == ("other.example", "other.example")
    assert facts.record == NotTried("no resolver")


def test_a_certificate_that_is_for_clients_and_another_key(tmp_path: Path) -> None:
    device = authority().issue("device.example.net")
    certificate, key = save(tmp_path, device)
    assert trust.read_certificate(certificate, key, None, Denying()).allows_server is False
    Path(key).write_bytes(authority().key_pem)
    assert trust.read_certificate(certificate, key, None, Denying()).key_matches is False
    Path(key).write_text("no key")
    assert isinstance(trust.read_certificate(certificate, key, None, Denying()).key_matches, NotTried)
    alone = self_signed("sample.example.net")
    assert trust.read_certificate(*save(tmp_path, alone), None, Denying()).chain[0].is_self_signed


@pytest.mark.parametrize("octets", [b"", b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n", bytes(100)])
def test_no_certificate(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "x.pem").write_bytes(octets)
    with pytest.raises(CannotTry, match=r"x\.pem"):
        trust.read_certificate(str(tmp_path / "x.pem"), "/nonexistent", None, Denying())


def test_anchors_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    folder.mkdir()
    early, late = authority("Early", days=10), authority("Late", days=100)
    (folder / "0000000a.0").write_bytes(late.pem)
    (folder / "0000000b.0").write_bytes(early.pem)
    (folder / "0000000c.0").symlink_to("gone.pem")
    (folder / "README").write_text("no anchor")
    facts = trust.read_anchors(str(tmp_path))
    assert (facts.in_folder, facts.in_index, facts.index_error) == (3, 0, None)
    assert facts.lost == ("ca/0000000c.0",)
    assert facts.earliest is not None
    assert facts.earliest[0].startswith("CN=Early")
    assert abs(facts.earliest[1] - early.certificate.not_valid_after_utc) < timedelta(seconds=1)
    (tmp_path / "index.jsonl").write_text("broken\n")
    assert trust.read_anchors(str(tmp_path)).index_error
    with pytest.raises(CannotTry):
        trust.read_anchors(str(tmp_path / "missing"))


def test_accounting_in_sqlite(tmp_path: Path) -> None:
    import sqlite3

    missing = services.read_accounting(f"sqlite:///{tmp_path}/missing.db")
    assert missing is not None
    assert isinstance(missing.has_table, NotTried)
    assert not (tmp_path / "missing.db").exists()
    path = tmp_path / "a # b.db"
    for statement, expected in (("CREATE TABLE other (x)", False), ("CREATE TABLE radacct (x)", True)):
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()
        found = services.read_accounting(f"sqlite:///{path}")
        assert found is not None
        assert found.has_table is expected
    assert services.read_accounting(None) is None


def test_accounting_elsewhere_keeps_the_password() -> None:
    found = services.read_accounting("postgresql://radius:hunter2@127.0.0.1:1/radius")
    assert found is not None
    assert isinstance(found.has_table, NotTried)
    assert "hunter2" not in f"{found}"


def test_trust_sync_that_is_not_there(tmp_path: Path) -> None:
    assert services.read_sync(str(tmp_path / "x.toml"), is_named=False) is None
    with pytest.raises(ConfigError):
        services.read_sync(str(tmp_path / "x.toml"), is_named=True)
    (tmp_path / "x.toml").write_text("socket = 5\nsessions = 6\nsocket_users = 7\nunbound = 8\n")
    found = services.read_sync(str(tmp_path / "x.toml"), is_named=False)
    assert found is not None
    assert (found.users, found.database) == ((), None)
    assert isinstance(found.status, NotTried)
    assert services.unbound_socket(str(tmp_path / "x.toml")) is None


def test_the_servers_user() -> None:
    assert read_account("root").uid == 0
    with pytest.raises(CannotTry, match="nobody-of-this-name"):
        read_account("nobody-of-this-name")
