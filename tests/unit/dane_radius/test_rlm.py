"""The rlm_python3 interface: exact types on every path, and an accept only by its one attribute.

rlm_python3 takes an enum member for *fail* and None for *ok*, and silently drops a list where it expects a tuple.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.reasons import ReasonCode, Verdict
from dane_radius.core.ruling import Decision, Ruling
from dane_radius.dns.background import Cause
from dane_radius.server import rlm
from dane_radius.server.authentication import Authenticator
from dane_radius.server.service import Service
from policy import RequestFacts
from policy.attributes import Attribute
from tests.harness.process import free_port
from tests.harness.tls_session import server_session
from tests.unit.dane_radius.test_session_file import DEVICE, SERVER
from tests.unit.dane_radius.test_waits import readable

POLICY = "version: 1\nrules: [{name: r, identity: ['*._device.example.net'], grant: {vlan: 7}}]\n"
REQUEST = (
    ("User-Name", "anonymous@example.net"),
    ("Called-Station-Id", "00-10-A4-23-19-C0:iot"),
    ("NAS-Identifier", "ap"),
)


def check_shape(result: Any) -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Check that `result` has exactly the types that rlm_python3 accepts; returns its attribute lists."""
    if type(result) is int:
        return {}
    assert type(result) is tuple
    code, update = result
    assert type(code) is int
    assert type(update) is dict
    for name, attributes in update.items():
        assert type(name) is str
        assert type(attributes) is tuple
        for attribute in attributes:
            assert type(attribute) is tuple
            assert [type(part) for part in attribute] == [str, str, str]
    assert type(update) is dict
    return update


def code_of(result: Any) -> int:
    code = result if type(result) is int else result[0]
    assert type(code) is int
    return code


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A configuration file whose resolver does not listen. The module is detached afterwards."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "sessions").mkdir()
    config = tmp_path / "dane-radius.toml"
    config.write_text(
        f'policy = "{tmp_path}/policy.yaml"\nanchors = "{tmp_path}/anchors"\n'
        f'control_socket = "{tmp_path}/control.sock"\n'
        f'[session]\ndirectory = "{tmp_path}/sessions"\n[log]\ndestination = "{tmp_path}/log"\n'
        f"[metrics]\nport = 0\n[resolver]\nport = {free_port()}\ntimeout = 0.3\n"
    )
    monkeypatch.setattr(rlm, "DEFAULT_CONFIG", str(config))
    yield config
    assert rlm.detach(None) == 2


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def test_an_authentication_from_instantiate_to_detach(
    configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rlm.authorize(None) == 7
    assert code_of(rlm.authenticate({"request": REQUEST})) == 0
    started = rlm.instantiate(None)
    assert (type(started), started) == (int, 0)
    session = tmp_path / "sessions" / "one.asn1"
    session.write_bytes(server_session(tmp_path, SERVER, DEVICE))
    pairs = (*REQUEST, ("TLS-Cache-Filename", str(session)))
    ahead = rlm.post_auth({"session-state": (("TLS-Cache-Filename", str(session)),), "request": REQUEST})
    assert code_of(ahead) == 8
    [(name, operator, early)] = check_shape(ahead)["session-state"]
    assert (name, operator) == ("Tmp-String-7", ":=")
    # The lookup is still under way, so the early wait has no effect.
    not_yet = rlm.authenticate({"request": pairs, "config": (("Tmp-String-7", early),)})
    update = check_shape(not_yet)
    assert code_of(not_yet) == 7
    [(name, operator, wait)] = update["config"]
    assert (set(update), name, operator) == ({"config"}, "Tmp-String-9", ":=")
    event, milliseconds, _ = wait.split(" ")
    assert readable(int(event), int(milliseconds) / 1000), "the end of the lookup signals the request"
    result = rlm.authenticate({"request": pairs, "config": (("Tmp-String-9", wait),)})
    update = check_shape(result)
    assert code_of(result) == 0
    [(name, operator, text)] = update["request"]
    assert (name, operator) == ("Module-Failure-Message", "+=")
    assert text.startswith("dns_unavailable: a1._device.example.net: ")
    assert set(update) == {"request"}
    assert rlm.detach(None) == 2
    decisions = [line for line in lines(tmp_path) if line["event"] == "decision"]
    assert [line["reason"] for line in decisions] == ["dns_unavailable"]
    assert decisions[0]["outer_identity"] == "anonymous@example.net"
    assert decisions[0]["ssid"] == "iot"
    # The duration includes the wait.
    assert decisions[0]["milliseconds"] >= 100


def test_an_early_wait_saves_the_second_call_and_decides_nothing(configured: Path, tmp_path: Path) -> None:
    assert rlm.instantiate(None) == 0
    assert rlm._service is not None
    sessions = []
    for name in ("one", "two"):
        session = tmp_path / "sessions" / f"{name}.asn1"
        session.write_bytes(server_session(tmp_path, SERVER, DEVICE))
        sessions.append(session)
    ahead = rlm.post_auth({"session-state": (("TLS-Cache-Filename", str(sessions[0])),), "request": REQUEST})
    early = check_shape(ahead)["session-state"][0][2]
    event, milliseconds, _ = early.split(" ")
    assert readable(int(event), int(milliseconds) / 1000)
    assert rlm._service.lookups.domains.waiting == 0, "it is counted only while the lookup is under way"
    pairs = (*REQUEST, ("TLS-Cache-Filename", str(sessions[0])))
    result = rlm.authenticate({"request": pairs, "config": (("Tmp-String-7", early),)})
    assert code_of(result) == 0
    assert check_shape(result)["request"][0][2].startswith("dns_unavailable: ")
    assert rlm._service.waits.counts.answered == 1
    assert len(rlm._service.waits) == 0
    # Of an ended wait, of another session, or invalid: the decision is made without it.
    for text in (early, "", "1 2 3", "x"):
        pairs = (*REQUEST, ("TLS-Cache-Filename", str(sessions[1])))
        result = rlm.authenticate({"request": pairs, "config": (("Tmp-String-7", text),)})
        assert code_of(result) in (0, 7)
        assert set(check_shape(result)) <= {"request", "config"}
        assert not any(name == "Auth-Type" for name, _, _ in check_shape(result).get("config", ()))


def waiting(configured: Path, tmp_path: Path, name: str = "one") -> tuple[tuple[Any, ...], str]:
    """A request that has to wait: its attributes, and the text of its wait."""
    session = tmp_path / "sessions" / f"{name}.asn1"
    session.write_bytes(server_session(tmp_path, SERVER, DEVICE))
    pairs = (*REQUEST, ("TLS-Cache-Filename", str(session)))
    not_yet = rlm.authenticate({"request": pairs})
    assert code_of(not_yet) == 7
    return pairs, check_shape(not_yet)["config"][0][2]


@pytest.mark.parametrize("forged", ["", "x", "7 1000 999", "-1 0 0", "1 2 3 4", None, 5])
def test_a_forged_wait_is_a_reject(configured: Path, tmp_path: Path, forged: Any) -> None:
    configured.write_text(configured.read_text().replace("timeout = 0.3", "timeout = 5"))
    assert rlm.instantiate(None) == 0
    pairs, wait = waiting(configured, tmp_path)
    result = rlm.authenticate({"request": pairs, "config": (("Tmp-String-9", forged),)})
    if forged is None:
        assert code_of(result) == 7, "no wait at all: the request is a new one, and is told to wait"
        assert set(check_shape(result)) == {"config"}
    else:
        assert code_of(result) == 0
        assert set(check_shape(result)) <= {"request"}
    # The real wait, ended too early, has no answer either.
    result = rlm.authenticate({"request": pairs, "config": (("Tmp-String-9", wait),)})
    assert code_of(result) == 0
    assert "cut short" in check_shape(result)["request"][0][2]
    assert code_of(rlm.authenticate({"request": pairs, "config": (("Tmp-String-9", wait),)})) == 0


def test_a_policy_that_changes_during_a_wait_applies(configured: Path, tmp_path: Path) -> None:
    configured.write_text(configured.read_text().replace("timeout = 0.3", "timeout = 5"))
    assert rlm.instantiate(None) == 0
    pairs, wait = waiting(configured, tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY.replace("grant: {vlan: 7}", "deny: true"))
    assert rlm._service is not None
    rlm._service.policies.refresh()
    result = rlm.authenticate({"request": pairs, "config": (("Tmp-String-9", wait),)})
    assert code_of(result) == 0
    assert check_shape(result)["request"][0][2].startswith("policy_denied: ")


def test_an_identity_starts_the_lookup_of_a_covered_name_and_decides_nothing(configured: Path) -> None:
    assert rlm.instantiate(None) == 0
    service = rlm._service
    assert service is not None
    started = service.lookups.counts.started
    for identity in (
        "anonymous@example.net",
        "a1.example.org",
        "x@a1._device.example.org",
        "",
        "a b",
        "*._device.example.net",
    ):
        assert rlm.authorize({"request": (("User-Name", identity),)}) == 7
    assert started[Cause.IDENTITY] == 0
    for identity in ("a1._device.example.net", "me@b2._device.example.net"):
        assert rlm.authorize({"request": (("User-Name", identity), ("NAS-Identifier", "ap"))}) == 7
    assert started[Cause.IDENTITY] == 2


def test_the_lookups_that_identities_of_one_nas_start_are_limited(configured: Path) -> None:
    configured.write_text(configured.read_text() + "[cache]\nearly_rate = 50\nearly_rate_per_nas = 3\n")
    assert rlm.instantiate(None) == 0
    service = rlm._service
    assert service is not None
    for number in range(200):
        identity = (("User-Name", f"d{number}._device.example.net"), ("NAS-Identifier", "hostile"))
        assert rlm.authorize({"request": identity}) == 7
    from_one = service.lookups.counts.started[Cause.IDENTITY]
    assert 3 <= from_one <= 10
    assert rlm.authorize({"request": (("User-Name", "other._device.example.net"), ("NAS-Identifier", "good"))}) == 7
    assert service.lookups.counts.started[Cause.IDENTITY] == from_one + 1


@pytest.mark.parametrize(
    "lists",
    [
        None,
        {},
        5,
        {"request": None},
        {"request": ()},
        {"request": REQUEST},
        {"request": (("TLS-Cache-Filename", ""),)},
        {"request": (("TLS-Cache-Filename", "/etc/passwd"),)},
        {"request": (("TLS-Cache-Filename", "a\0b"),)},
        {"request": (("TLS-Cache-Filename", None),)},
        {"request": (("TLS-Cache-Filename", 5),)},
        {"request": ("no pair",)},
        {"request": (("one",),)},
        {"request": 7},
    ],
)
def test_any_input_is_a_reject(configured: Path, lists: Any) -> None:
    assert rlm.instantiate(None) == 0
    result = rlm.authenticate(lists)
    assert code_of(result) == 0
    assert set(check_shape(result)) <= {"request"}
    assert rlm.post_auth(lists) == 7
    assert type(rlm.post_auth(lists)) is int


def test_an_exception_in_the_service_is_a_reject(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rlm.instantiate(None) == 0

    def broken(*_: Any, **__: Any) -> Any:
        raise MemoryError

    for owner, method in ((Authenticator, "decide"), (Service, "check"), (Authenticator, "look_ahead")):
        monkeypatch.setattr(owner, method, broken)
        result = rlm.authenticate({"request": REQUEST})
        assert code_of(result) == 0
        assert set(check_shape(result)) <= {"request"}
    assert rlm.post_auth({"session-state": (("TLS-Cache-Filename", "x"),)}) == 7


@pytest.mark.parametrize("part", ["to_result", "session_reference"])
def test_an_accept_that_cannot_be_returned_is_a_reject_in_the_log_too(
    configured: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    assert rlm.instantiate(None) == 0
    service = rlm._service
    assert service is not None
    reported: list[Decision] = []
    real = rlm.to_result

    def broken(told: Any, *_: Any) -> Any:
        if part == "to_result" and not told.accepted:
            return real(told)
        raise MemoryError

    monkeypatch.setattr(Authenticator, "decide", lambda *_: decision(Verdict.ACCEPT))
    monkeypatch.setattr(service, "report", lambda _, told: reported.append(told))
    assert code_of(rlm.authenticate({"request": REQUEST})) == 2
    monkeypatch.setattr(*((rlm, part) if part == "to_result" else (service, part)), broken)
    assert code_of(rlm.authenticate({"request": REQUEST})) == 0
    assert [told.ruling.reason for told in reported] == [ReasonCode.DANE_MATCH, ReasonCode.INTERNAL_ERROR]


def test_a_log_that_freeradius_closes_is_warned_of(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rlm.instantiate(None) == 0
    assert "decisions are lost" not in capsys.readouterr().err
    assert rlm.detach(None) == 2
    configured.write_text(configured.read_text().replace('destination = "', 'destination = "stderr" # "'))
    assert rlm.instantiate(None) == 0
    assert '"/dev/stdout" in a container, is expected' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("policy = ", "policies = ", "policies: unknown key"),
        ("timeout = 0.3", "timeout = 0", "resolver.timeout: 0 found"),
        ("[metrics]", "[metrics", "not TOML"),
        ("policy.yaml", "nowhere.yaml", "nowhere.yaml: cannot be read"),
    ],
)
def test_the_server_does_not_start_with_an_invalid_configuration(
    configured: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, complaint: str
) -> None:
    configured.write_text(configured.read_text().replace(old, new))
    result = rlm.instantiate(None)
    assert (type(result), result) == (int, -1)
    assert complaint in capsys.readouterr().err
    assert code_of(rlm.authenticate({"request": REQUEST})) == 0


def decision(verdict: Verdict, attributes: tuple[Attribute, ...] = (), detail: str = "d") -> Decision:
    return Decision(Ruling(verdict, ReasonCode.DANE_MATCH, detail, attributes=attributes))


def test_an_accept_sets_auth_type() -> None:
    attributes = (("User-Name", ":=", "a.example.net"), ("NAS-Filter-Rule", "+=", "x"))
    result = rlm.to_result(decision(Verdict.ACCEPT, attributes))
    update = check_shape(result)
    assert code_of(result) == 2
    assert update["config"] == (("Auth-Type", ":=", "Accept"),)
    assert update["reply"] == attributes
    for reject in (decision(Verdict.REJECT), decision(Verdict.REJECT, attributes)):
        result = rlm.to_result(reject)
        assert code_of(result) == 0
        assert set(check_shape(result)) == {"request"}


@given(st.text(max_size=400), st.sampled_from(ReasonCode))
def test_failure_messages_are_short_and_printable(detail: str, reason: ReasonCode) -> None:
    update = check_shape(rlm.to_result(Decision(Ruling(Verdict.REJECT, reason, detail))))
    [(_, _, text)] = update["request"]
    assert text.startswith(f"{reason.value}: ")
    assert len(text) <= 240
    assert all(" " <= character <= "~" for character in text)


@pytest.mark.parametrize(
    ("identity", "realm"),
    [
        ("anonymous@Home.Example", "home.example"),
        ("@home.example.", "home.example"),
        ("a@b@home.example", "home.example"),
        ("home.example", None),
        ("anonymous@", None),
        ("anonymous@home example", None),
        ("anonymous@h\0me", None),
        ("anonymous@" + "x" * 254, None),
        ("anonymous@hömé.example", None),
        ("", None),
        (None, None),
    ],
)
def test_the_realm_is_that_of_the_outer_identity_if_it_can_be_one(identity: str | None, realm: str | None) -> None:
    assert rlm.realm_of(identity) == realm
    pairs = {} if identity is None else {"User-Name": identity}
    assert rlm.request_facts(pairs).realm == realm


def test_request_facts_come_from_radius_attributes() -> None:
    assert rlm.request_facts({}) == RequestFacts()
    assert rlm.request_facts(
        {
            "Called-Station-Id": "00-10-A4-23-19-C0:iot",
            "NAS-Identifier": "ap",
            "NAS-IP-Address": "192.0.2.1",
            "NAS-Port-Type": "Ethernet",
            "Calling-Station-Id": "aa",
            "Chargeable-User-Identity": "\0",
            "User-Name": "ignored",
        }
    ) == RequestFacts("iot", "ap", "192.0.2.1", "Ethernet", "aa", True)
    assert rlm.request_facts({"NAS-IPv6-Address": "2001:db8::1"}).nas_address == "2001:db8::1"
    assert rlm.request_facts({"Packet-Src-IP-Address": "192.0.2.9"}).nas_address == "192.0.2.9"


@pytest.mark.parametrize(
    ("command_line", "expected"),
    [
        (b"/usr/sbin/freeradius\0-C\0", True),
        (b"freeradius\0-fC\0-d\0/etc\0", True),
        (b"freeradius\0-X\0-C", True),
        (b"freeradius\0-f\0", False),
        (b"freeradius\0-d\0-C\0", False),
        (b"freeradius\0--odd\0", False),
        (b"", False),
    ],
)
def test_configuration_checks_are_recognized(command_line: bytes, expected: bool) -> None:
    assert rlm.is_config_check(command_line) is expected
