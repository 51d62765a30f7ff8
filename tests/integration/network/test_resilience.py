"""What goes wrong in real networks: lost packets, servers and switches that die, long certificates, forged requests.

Devices, a switch port (hostapd), and RADIUS servers that decide by DNS. Whatever fails, nobody gets in without a
decision, and who may get in does so in the end. What mostly waits runs beside the other tests, in threads.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import re
import secrets
import shutil
import socket
import sqlite3
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from dane_radius.local.control_socket import ask
from tests.harness.eap import EapResult, authenticate, next_station, write_peer_config
from tests.harness.freeradius import SECRET, SERVER_NAME, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import wait_for
from tests.harness.relay import REPLY, REQUEST, Relay, lose
from tests.harness.unbound import Unbound
from tests.harness.wired import Wire

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
POLICY = """\
version: 1
session: {ttl_factor: 1, minimum: 30}
rules:
  - name: everything
    identity: ["**.iot.example"]
    grant: {vlan: 42, session_timeout: 8h}
"""
# Switches on IPv4 and IPv6 uplinks, as docs/switch.md has them.
CLIENTS = f"""\
client switches {{
	ipaddr = 10.0.0.0/8
	secret = {SECRET}
	require_message_authenticator = yes
}}
client switches-ipv6 {{
	ipv6addr = fd00:dade::/32
	secret = {SECRET}
	require_message_authenticator = yes
}}
client forgetful {{
	ipaddr = 127.0.0.66
	secret = {SECRET}
	require_message_authenticator = no
}}
"""
EAP_TLS, EAP_MESSAGE, MESSAGE_AUTHENTICATOR = 13, 79, 80
TLS = pytest.mark.parametrize("tls", ["1.2", "1.3"])

_numbers = itertools.count(1)


@dataclass
class Network:
    """The daemons, and how devices and switches are made."""

    folder: Path
    knot: Knot
    unbound: Unbound
    ca: Authority
    stack: contextlib.ExitStack

    def server(self, name: str, **options: Any) -> FreeRadius:
        """A RADIUS server, ready to start."""
        radius = FreeRadius(self.folder / name, self.unbound.port, POLICY, [self.ca], **options)
        radius.prepare()
        clients = radius.raddb / "clients.conf"
        clients.write_text(clients.read_text() + CLIENTS)
        # A reply is kept for as long as a NAS may ask for it again: hostapd and eapol_test do so after 3 and 9 s.
        conf = radius.raddb / "radiusd.conf"
        conf.write_text(conf.read_text().replace("cleanup_delay = 1\n", "cleanup_delay = 10\n"))
        return radius

    def wire(self, radius: FreeRadius, **options: Any) -> Wire:
        """A switch port that asks `radius`."""
        folder = self.folder / f"wire{next(_numbers)}"
        return Wire(folder, radius.auth_port, radius.acct_port, SECRET, **options)

    def device(self, *, vouched: bool = True, ttl: int = 3600) -> tuple[str, Identity]:
        """A name and its device; without `vouched`, the DNS knows nothing of it."""
        name = f"d{next(_numbers)}._device.{ZONE}"
        device = self.ca.issue(name)
        if vouched:
            self.knot.add_tlsa(ZONE, name, str(device.tlsa()), ttl)
        return name, device

    def peer(
        self, radius: FreeRadius, device: Identity, *, tls: str = "1.3", wire: Wire | None = None, chain: bytes = b""
    ) -> Path:
        """A network block for eapol_test, or for wpa_supplicant on `wire`."""
        path = write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=radius.server_ca_file,
            tls=tls,
            name=f"p{next(_numbers)}",
            chain=chain,
        )
        if wire:
            path.write_text(f"ctrl_interface={wire.folder}/wpa\nap_scan=0\n{path.read_text()}")
        return path


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    folder = Path(tempfile.mkdtemp(prefix="resilience-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        zone = Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\n")
        knot = stack.enter_context(Knot(folder / "knot", [zone]))
        unbound = Unbound(folder / "unbound", {ZONE: ("127.0.0.1", knot.port)}, knot.trust_anchors(ZONE))
        stack.enter_context(unbound)
        yield Network(folder, knot, unbound, authority("Resilience CA"), stack)


@pytest.fixture(scope="module")
def main_server(net: Network) -> FreeRadius:
    return net.stack.enter_context(net.server("main", accounting="sqlite"))


@pytest.fixture(scope="module")
def resuming_server(net: Network) -> FreeRadius:
    return net.stack.enter_context(net.server("resuming", resumption=True))


def forget(net: Network, server: FreeRadius, name: str) -> None:
    """What the resolver and the server remember of a name."""
    net.unbound.flush(name)
    ask(str(server.control_socket), "flush", name=name)


@pytest.fixture(scope="module")
def wire(net: Network, main_server: FreeRadius) -> Wire:
    return net.stack.enter_context(net.wire(main_server))


def decisions_about(radius: FreeRadius, station: str) -> list[dict[str, Any]]:
    wanted = station.replace(":", "-")
    return [line for line in radius.decisions() if line.get("station", "").lower() == wanted]


def accepts(radius: FreeRadius, station: str) -> int:
    return sum(1 for decision in decisions_about(radius, station) if decision["verdict"] == "accept")


def wait_accepts(radius: FreeRadius, station: str, count: int = 1) -> None:
    """The log is written a moment after the answer; then it holds as many accepts as were given."""
    wait_for(lambda: accepts(radius, station) == count, f"{count} accepts of {station} in the decision log")


@pytest.fixture(scope="module", autouse=True)
def waiting(net: Network, main_server: FreeRadius) -> Iterator[dict[str, Future[None]]]:
    """The scenarios that mostly wait, by name; each raises what it found wrong."""
    scenarios: dict[str, Callable[[], None]] = {
        "loss": lambda: lossy_path(net, main_server),
        "loss under a switch": lambda: lossy_switch(net, main_server),
        "failover": lambda: failover(net, main_server),
        "killed": lambda: killed_server(net),
        "killed under a switch": lambda: killed_under_a_switch(net),
        "reauthentication": lambda: reauthentication(net, main_server),
    }
    with ThreadPoolExecutor(len(scenarios)) as pool:
        yield {name: pool.submit(scenario) for name, scenario in scenarios.items()}


@TLS
def test_both_tls_versions_over_the_wire(net: Network, main_server: FreeRadius, wire: Wire, tls: str) -> None:
    for vouched in (False, True):
        _, device = net.device(vouched=vouched)
        station = next_station()
        with wire.attach(net.peer(main_server, device, tls=tls, wire=wire), station):
            if vouched:
                wait_for(partial(wire.authorized, station), "the port to open", timeout=20)
                assert f"eap_tls_version=TLSv{tls}" in wire.wpa_cli("status")
                assert main_server.decision_for(station)["reason"] == "dane_match"
            else:
                wait_for(partial(wire.refused, station), "hostapd to see the refusal", timeout=20)
                assert not wire.authorized(station)
                assert main_server.decision_for(station)["reason"] == "tlsa_absent"


@TLS
def test_a_fast_reconnect_is_decided_again(net: Network, resuming_server: FreeRadius, tls: str) -> None:
    """hostapd asks for the device again; it resumes its TLS session, and the DNS is asked all the same."""
    name, device = net.device()
    station = next_station()
    with net.wire(resuming_server) as port, port.attach(net.peer(resuming_server, device, tls=tls, wire=port), station):
        wait_for(lambda: port.authorized(station), "the port to open", timeout=20)
        wait_accepts(resuming_server, station, 1)
        port.wpa_cli("reauthenticate")
        wait_accepts(resuming_server, station, 2)
        assert "tls_session_reused=1" in port.wpa_cli("status")
        resumed = [d["evidence"].get("resumed", False) for d in decisions_about(resuming_server, station)]
        # A session resumed with TLS 1.3 shows the certificate in its new session file, like a full handshake.
        assert resumed == [False, tls == "1.2"]
        assert port.authorized(station)
        net.knot.delete_tlsa(ZONE, name)
        forget(net, resuming_server, name)
        port.wpa_cli("reauthenticate")
        wait_for(lambda: port.refused(station), "the refusal of the resumed session", timeout=20)
        wait_for(lambda: not port.authorized(station), "the port to be closed")
        wait_for(lambda: len(decisions_about(resuming_server, station)) == 3, "the third decision")
        last = decisions_about(resuming_server, station)[-1]
        assert last["reason"] == "tlsa_absent"
        assert last["evidence"].get("resumed", False) == (tls == "1.2")


def test_a_switch_that_restarts_closes_its_sessions(net: Network, main_server: FreeRadius) -> None:
    """hostapd dies without a farewell; its Accounting-On ends the old record, and the device is decided anew."""
    name, device = net.device()
    station = next_station()
    with net.wire(main_server) as port, port.attach(net.peer(main_server, device, wire=port), station):
        wait_for(lambda: port.authorized(station), "the port to open", timeout=20)
        wait_for(lambda: len(accounting(main_server, name)) == 1, "the first accounting record")
        port.crash_and_restart()
        assert port.stations() == []
        # Before the device is back: the Accounting-On ends it, not the next session.
        wait_for(lambda: accounting(main_server, name)[0][1], "the first session to be over")
        port.wpa_cli("reauthenticate")
        wait_for(lambda: port.authorized(station), "the device to come back", timeout=20)
        wait_accepts(main_server, station, 2)
        wait_for(lambda: len(accounting(main_server, name)) == 2, "the second accounting record")
        first, second = accounting(main_server, name)
        assert first[0] != second[0]
        print(f"first session ended as {first}")
        assert second[1] is None
    intruder, station = net.device(vouched=False)[1], next_station()
    with net.wire(main_server) as port, port.attach(net.peer(main_server, intruder, wire=port), station):
        port.crash_and_restart()
        port.wpa_cli("reauthenticate")
        wait_for(lambda: port.refused(station), "the refusal", timeout=20)
        assert not port.authorized(station)


def accounting(server: FreeRadius, name: str) -> list[tuple[str, str | None, str]]:
    """Session-Id, end, and why it ended, of a device's sessions, the oldest first."""
    with contextlib.closing(sqlite3.connect(server.accounting_db)) as database:
        query = (
            "SELECT acctsessionid, acctstoptime, acctterminatecause FROM radacct WHERE username = ? ORDER BY radacctid"
        )
        return [tuple(row) for row in database.execute(query, [name])]


def test_ipv6_between_switch_and_server(net: Network, main_server: FreeRadius) -> None:
    with net.wire(main_server, ipv6=True) as port:
        for vouched in (False, True):
            _, device = net.device(vouched=vouched)
            station = next_station()
            with port.attach(net.peer(main_server, device, wire=port), station):
                wait_for(partial(decisions_about, main_server, station), "a decision", timeout=20)
                decision = main_server.decision_for(station)
                assert decision["nas"] == "switch-1.port-1"
                assert decision["reason"] == ("dane_match" if vouched else "tlsa_absent")
                if vouched:
                    wait_for(partial(port.authorized, station), "the port to open")
                else:
                    wait_for(partial(port.refused, station), "hostapd to see the refusal")
                    assert not port.authorized(station)


def long_chain(root: Authority, count: int, key: rsa.RSAPrivateKey) -> tuple[Authority, bytes]:
    """`count` intermediate CAs one below the other: the last, and all of them in PEM, the last first."""
    last, pems = root, []
    for number in range(count):
        last = last.sub_authority(f"Intermediate CA number {number}", key=key)
        pems.append(last.pem)
    return last, b"".join(reversed(pems))


def attributes(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a RADIUS packet (RFC 2865 section 5)."""
    at = 20
    while at < len(packet):
        yield packet[at], packet[at + 2 : at + packet[at + 1]]
        at += packet[at + 1]


def count_fragments(into: Counter[str]) -> Callable[[str, bytes], bool]:
    """A `drop` that loses nothing: it counts EAP-TLS packets that say "more fragments" (RFC 5216 section 3.1)."""

    def look(direction: str, packet: bytes) -> bool:
        eap = b"".join(value for number, value in attributes(packet) if number == EAP_MESSAGE)
        # Code, identifier, length, then type and flags.
        if len(eap) > 5 and eap[4] == EAP_TLS and eap[5] & 0x40:
            into[direction] += 1
        return False

    return look


@pytest.fixture(scope="module")
def rsa_site(net: Network) -> tuple[FreeRadius, Authority, rsa.RSAPrivateKey]:
    """A server with an RSA-4096 certificate behind a long chain; the root that devices' chains start from; a key."""
    key = rsa.generate_private_key(65537, 4096)
    root = authority("RSA root", key=key)
    server = net.server("rsa")
    server.add_anchor(root)
    issuer, chain = long_chain(server.server_ca, 6, key)
    certificate = issuer.issue(SERVER_NAME, common_name=SERVER_NAME, eku=None, key=key)
    pem = server.folder / "pki" / "server.pem"
    pem.write_bytes(certificate.pem + chain)
    (server.folder / "pki" / "server.key").write_bytes(certificate.key_pem)
    return net.stack.enter_context(server), root, key


@TLS
def test_rsa_4096_and_long_chains_in_fragments(
    net: Network, rsa_site: tuple[FreeRadius, Authority, rsa.RSAPrivateKey], tls: str
) -> None:
    server, root, key = rsa_site
    issuer, chain = long_chain(root, 7, key)
    for vouched in (True, False):
        name = f"d{next(_numbers)}._device.{ZONE}"
        device = issuer.issue(name, key=key)
        if vouched:
            net.knot.add_tlsa(ZONE, name, str(device.tlsa()))
        fragments: Counter[str] = Counter()
        with Relay(server.auth_port, count_fragments(fragments)) as relay:
            config = net.peer(server, device, tls=tls, chain=chain)
            result = authenticate(server, config, extra=("-p", str(relay.port)))
        assert result.accepted == vouched
        assert result.tls_version == tls
        decision = server.decision_for(result.station)
        assert (decision["name"], decision["reason"]) == (name, "dane_match" if vouched else "tlsa_absent")
        print(f"Certificate message of {len(device.der) + len(chain) * 3 // 4} octets; fragments {dict(fragments)}")
        assert fragments[REQUEST] >= 5
        assert fragments[REPLY] >= 5


@TLS
def test_a_chain_beyond_the_limit_is_refused_and_the_server_lives(
    net: Network, rsa_site: tuple[FreeRadius, Authority, rsa.RSAPrivateKey], tls: str
) -> None:
    server, root, key = rsa_site
    issuer, chain = long_chain(root, 14, key)
    name = f"d{next(_numbers)}._device.{ZONE}"
    device = issuer.issue(name, key=key)
    net.knot.add_tlsa(ZONE, name, str(device.tlsa()))
    print(f"Certificate message of {len(device.der) + len(chain) * 3 // 4} octets")
    result = authenticate(server, net.peer(server, device, tls=tls, chain=chain))
    assert not result.accepted
    assert result.code == "Access-Reject"
    assert decisions_about(server, result.station) == []
    assert "size that we can handle (16384 bytes)" in server.log.read_text()
    assert server.daemon is not None
    assert server.daemon.running
    # The same device with what fits.
    shorter, chain = long_chain(root, 1, key)
    fitting = shorter.issue(name, key=key)
    assert authenticate(server, net.peer(server, fitting, tls=tls, chain=chain)).accepted


REPOSITORY = Path(__file__).resolve().parents[3]
# A client block's head, in a file or in documentation.
_CLIENT = re.compile(r"^[ \t]*(?:f?\"+)?client [\w{}.-]+ \{+", re.MULTILINE)


def client_blocks() -> list[tuple[str, str]]:
    """Every `client` block that is shipped, documented or used by the harness: its file and its text."""
    found = []
    for folder in (
        "freeradius",
        "docs",
        "containers",
        "script",
        "tests/harness",
        "tests/demo",
        "tests/integration/trust_sync",
        "README.md",
        "Dockerfile",
    ):
        top = REPOSITORY / folder
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if not path.is_file() or path.suffix == ".pyc":
                continue
            text = path.read_text(errors="replace")
            for match in _CLIENT.finditer(text):
                rest = text[match.end() :]
                end = re.search(r"(?:^\s*|\\n)\}", rest, re.MULTILINE)
                found.append((str(path.relative_to(REPOSITORY)), rest[: end.end() if end else 400]))
    return found


def test_every_hostapd_requires_a_message_authenticator_of_a_disconnect() -> None:
    """RFC 5176 leaves it to the NAS; without it, a Disconnect-Request is signed by MD5 alone."""
    found = []
    for folder in ("docs", "tests/harness", "tests/demo", "iot_safe_sim", "README.md"):
        top = REPOSITORY / folder
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                text = path.read_text(errors="replace")
                for match in re.finditer(r"^.*radius_das_client\W", text, re.MULTILINE):
                    nearby = text[match.start() : match.start() + 400]
                    if re.search(r"radius_das_client[= ]['\"]?[\w{]", nearby):
                        found.append((str(path.relative_to(REPOSITORY)), nearby))
    assert {path for path, _ in found} >= {"docs/access-point.md", "docs/switch.md", "tests/harness/wired.py"}
    lax = [path for path, nearby in found if "radius_das_require_message_authenticator=1" not in nearby]
    assert lax == []


def test_every_client_block_requires_a_message_authenticator() -> None:
    blocks = client_blocks()
    files = {path for path, _ in blocks}
    assert files >= {"docs/access-point.md", "docs/switch.md", "tests/harness/freeradius.py"}
    lax = [path for path, text in blocks if not re.search(r"require_message_authenticator\s*=\s*yes", text)]
    assert lax == []


def access_request(*pairs: tuple[int, bytes], sign_with: bytes | None = None) -> bytes:
    """A hand-made Access-Request; `sign_with`: the secret that its Message-Authenticator is made with, None: none."""
    body = b"".join(bytes((number, len(value) + 2)) + value for number, value in pairs)
    if sign_with is not None:
        body += bytes((MESSAGE_AUTHENTICATOR, 18)) + bytes(16)
    packet = struct.pack("!BBH16s", 1, secrets.randbelow(256), 20 + len(body), secrets.token_bytes(16)) + body
    if sign_with is not None:
        packet = packet[:-16] + hmac.digest(sign_with, packet, "md5")
    return packet


def answer(server: FreeRadius, packet: bytes, source: str) -> int | None:
    """The code of the server's answer to a packet from `source`, None for silence.

    The silence is proven by the answer to a later request, which the server must still give.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((source, 0))
        line.connect(("127.0.0.1", server.auth_port))
        line.settimeout(5)
        line.send(packet)
        probe = access_request((EAP_MESSAGE, EAP_IDENTITY), sign_with=SECRET.encode())
        probe = probe[:1] + bytes(((packet[1] + 1) % 256,)) + probe[2:-16] + bytes(16)
        line.send(probe[:-16] + hmac.digest(SECRET.encode(), probe, "md5"))
        codes = {}
        while probe[1] not in codes:
            reply = line.recv(4096)
            codes[reply[1]] = reply[0]
        line.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            reply = line.recv(4096)
            codes[reply[1]] = reply[0]
        assert codes[probe[1]] == ACCESS_CHALLENGE
        return codes.get(packet[1])


EAP_IDENTITY = b"\x02\x01\x00\x0a\x01mouse"
ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE = 2, 3, 11
USER_NAME, USER_PASSWORD, PROXY_STATE = 1, 2, 33
STRICT, FORGETFUL = "127.0.0.1", "127.0.0.66"


@pytest.mark.parametrize("source", [STRICT, FORGETFUL])
@pytest.mark.parametrize("secret", [None, b"another secret"])
def test_eap_without_a_right_message_authenticator_is_not_answered(
    main_server: FreeRadius, source: str, secret: bytes | None
) -> None:
    eap = ((USER_NAME, b"mouse"), (EAP_MESSAGE, EAP_IDENTITY))
    assert answer(main_server, access_request(*eap, sign_with=secret), source) is None
    assert answer(main_server, access_request(*eap, sign_with=SECRET.encode()), source) == ACCESS_CHALLENGE


@pytest.mark.parametrize("proxy_state", [(), ((PROXY_STATE, b"x" * 40),)])
@pytest.mark.parametrize(
    ("source", "secret", "expected"),
    [
        (STRICT, None, None),
        (STRICT, b"another secret", None),
        (STRICT, SECRET.encode(), ACCESS_REJECT),
        (FORGETFUL, None, ACCESS_REJECT),
        (FORGETFUL, SECRET.encode(), ACCESS_REJECT),
    ],
)
def test_a_password_lets_nobody_in(
    main_server: FreeRadius,
    proxy_state: tuple[tuple[int, bytes], ...],
    source: str,
    secret: bytes | None,
    expected: int | None,
) -> None:
    """Without EAP there is no admission, signed or not, with Proxy-State (CVE-2024-3596) or without."""
    before = len(main_server.decisions())
    pairs = ((USER_NAME, b"mouse"), (USER_PASSWORD, bytes(16)), *proxy_state)
    assert answer(main_server, access_request(*pairs, sign_with=secret), source) == expected
    assert not any(d["verdict"] == "accept" for d in main_server.decisions()[before:] if not d.get("station"))


@pytest.mark.parametrize("proxy_state", ["", ', Proxy-State = "0x7878"'])
def test_radclient_with_a_password_is_refused(main_server: FreeRadius, proxy_state: str) -> None:
    request = f'User-Name = "mouse", User-Password = "cheese", Message-Authenticator = 0x00{proxy_state}'
    done = subprocess.run(
        ["radclient", "-x", "-r", "1", "-t", "2", f"127.0.0.1:{main_server.auth_port}", "auth", SECRET],
        input=request, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "Received Access-Reject" in done.stdout
    assert "Access-Accept" not in done.stdout


# With TLS 1.3 and short chains: the start, the server's flight, the acknowledgement of the device's, the decision.
LAST_REPLY = 4


def lossy_switch(net: Network, server: FreeRadius) -> None:
    station = next_station()
    with Relay(server.auth_port, lose(0.2, seed=3), address="0.0.0.0") as relay:
        wire = net.wire(server)
        wire.auth_port = relay.port
        with wire, wire.attach(net.peer(server, net.device()[1], wire=wire), station):
            wait_for(partial(wire.authorized, station), "the port to open", timeout=110, interval=0.2)
        print(f"under a switch: seen {dict(relay.seen)}, dropped {dict(relay.dropped)}")
        assert relay.dropped[REQUEST] + relay.dropped[REPLY] >= 1
    wait_for(lambda: accepts(server, station) >= 1, "the decision")


def killed_server(net: Network) -> None:
    """Killed after each packet of a conversation and started again: the next try is decided, like any other."""
    server = net.server("killed")
    settings = server.config_file.read_text()
    assert re.search(r"^max_age = ", settings, re.MULTILINE)
    server.config_file.write_text(re.sub(r"(?m)^max_age = .*$", "max_age = 10", settings))
    left_behind = []
    with server:
        for packet in range(1, LAST_REPLY + 1):
            for vouched in (True, False):
                _, device = net.device(vouched=vouched)
                config = net.peer(server, device)
                left_behind.append(conversation_over_a_crash(server, config, packet, vouched=vouched))
                conversation_over_a_crash(server, config, packet, vouched=vouched, gently=True)
        print(f"session files at the kill, by packet: {left_behind}")
        # What the dead server had on disk is swept by the next one, after `max_age` seconds.
        assert any(left_behind), "no kill found a session on disk"
        wait_for(lambda: not list(server.session_dir.iterdir()), "the session folder to be empty", 40, 0.2)


def kill_at(server: FreeRadius, packet: int, left: list[int], *, gently: bool = False) -> Callable[[str, bytes], bool]:
    """A `drop` that ends the server at its reply number `packet`, counts the session files into `left`, starts it.

    `gently`: by SIGTERM, as a service manager restarts it.
    """
    replies = itertools.count(1)

    def look(direction: str, _packet: bytes) -> bool:
        if direction == REQUEST or left or next(replies) != packet:
            return False
        assert server.daemon is not None
        server.daemon.stop() if gently else server.daemon.kill()
        left.append(len(list(server.session_dir.iterdir())))
        server.log.write_text("")
        server.start()
        return True

    return look


def conversation_over_a_crash(
    server: FreeRadius, config: Path, packet: int, *, vouched: bool, gently: bool = False
) -> int:
    """One conversation with a server that is ended in it, and one after; returns how many session files were left."""
    left: list[int] = []
    with Relay(server.auth_port, kill_at(server, packet, left, gently=gently)) as relay:
        first = authenticate(server, config, timeout=15, extra=("-p", str(relay.port)))
        assert len(left) == 1
        # Killed at its very first answer, the conversation starts anew at the next server, which may decide it.
        assert first.accepted == (vouched and packet == 1)
        assert (first.code == "Access-Accept") == first.accepted
        if first.accepted:
            wait_accepts(server, first.station)
        else:
            # A decision whose answer was lost with the server may be in the log, or lost with the log's buffer.
            assert accepts(server, first.station) <= int(vouched and packet == LAST_REPLY)
        again = authenticate(server, config, extra=("-p", str(relay.port)))
    assert again.accepted == vouched
    assert server.decision_for(again.station)["reason"] == ("dane_match" if vouched else "tlsa_absent")
    return left[0]


def killed_under_a_switch(net: Network) -> None:
    """The switch's conversation dies with the server; the device gets in at a later one, without anybody's help."""
    server, station = net.server("killed-under-switch"), next_station()
    left: list[int] = []
    with server, Relay(server.auth_port, kill_at(server, 3, left), address="0.0.0.0") as relay:
        wire = net.wire(server)
        wire.auth_port = relay.port
        _, device = net.device()
        with wire, wire.attach(net.peer(server, device, wire=wire), station):
            wait_for(lambda: left, "the server to be killed", timeout=20)
            assert not wire.authorized(station)
            wait_for(lambda: wire.authorized(station), "the port to open", timeout=110, interval=0.2)
            wait_accepts(server, station)


def lossy_path(net: Network, server: FreeRadius) -> None:
    def attempt(device: Identity, tls: str, tries: int) -> list[EapResult]:
        results: list[EapResult] = []
        config = net.peer(server, device, tls=tls)
        while len(results) < tries and not (results and results[-1].accepted):
            results.append(authenticate(server, config, timeout=30, extra=("-p", str(relay.port))))
        return results

    with Relay(server.auth_port, lose(0.2, seed=11)) as relay, ThreadPoolExecutor(6) as pool:
        good = [pool.submit(attempt, net.device()[1], tls, 5) for tls in ("1.2", "1.3") * 2]
        bad = [pool.submit(attempt, net.device(vouched=False)[1], tls, 2) for tls in ("1.2", "1.3")]
        admitted = [future.result() for future in good]
        refused = [result for future in bad for result in future.result()]
    print(f"seen {dict(relay.seen)}, dropped {dict(relay.dropped)}; tries {[len(tries) for tries in admitted]}")
    assert relay.dropped[REQUEST] >= 5
    assert relay.dropped[REPLY] >= 5
    for results in admitted:
        assert results[-1].accepted
        wait_accepts(server, results[-1].station)
    assert len(refused) == 4
    assert not any(result.accepted or result.code == "Access-Accept" for result in refused)
    assert any(result.code == "Access-Reject" for result in refused)
    assert sum(accepts(server, result.station) for result in refused) == 0


def failover(net: Network, second: FreeRadius) -> None:
    """The first server is stopped, the second one takes over, the first one comes back and is asked again."""
    first = net.server("first")
    # Longer than hostapd takes to give the first one up.
    wire = net.wire(first, retry_primary=60)
    wire.more_servers = [(wire.server_address, second.auth_port)]
    stations = [next_station() for _ in range(4)]
    devices = [net.device(vouched=vouched)[1] for vouched in (True, True, False, True)]
    with wire, first:
        assert first.daemon is not None
        with wire.attach(net.peer(first, devices[0], wire=wire), stations[0]):
            wait_for(lambda: wire.authorized(stations[0]), "the port to open", timeout=20)
            wait_accepts(first, stations[0])
        first.daemon.stop()
        for station, device in zip(stations[1:3], devices[1:3], strict=True):
            began = time.monotonic()
            with wire.attach(net.peer(second, device, wire=wire), station):
                wait_for(partial(decisions_about, second, station), "the second server", timeout=110, interval=0.2)
                print(f"decided after {time.monotonic() - began:.1f} s")
                seen = wire.authorized if station == stations[1] else wire.refused
                wait_for(partial(seen, station), "hostapd to act on the decision", timeout=20)
                assert wire.authorized(station) == (station == stations[1])
        assert [d["reason"] for d in decisions_about(second, stations[1])] == ["dane_match"]
        assert [d["reason"] for d in decisions_about(second, stations[2])] == ["tlsa_absent"]
        first.log.write_text("")
        first.start()
        with wire.attach(net.peer(first, devices[3], wire=wire), stations[3]):

            def back() -> bool:
                if wire.authorized(stations[3]) and not accepts(first, stations[3]):
                    wire.wpa_cli("reauthenticate")
                return accepts(first, stations[3]) > 0

            wait_for(back, "the first server to be asked again", timeout=110, interval=2)
            assert wire.authorized(stations[3])
        assert decisions_about(second, stations[0]) == []


def reauthentication(net: Network, server: FreeRadius) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(net.wire(server)) for _ in range(2)]
        stations, names = [next_station() for _ in wires], []
        for wire, station in zip(wires, stations, strict=True):
            name, device = net.device(ttl=1)
            names.append(name)
            stack.enter_context(wire.attach(net.peer(server, device, wire=wire), station))
        for wire, station in zip(wires, stations, strict=True):
            wait_for(partial(wire.authorized, station), "the port to open", timeout=20)
            wait_accepts(server, station)
        (kept, kept_at), (lost, lost_at) = zip(wires, stations, strict=True)
        net.knot.delete_tlsa(ZONE, names[1])
        wait_for(lambda: accepts(server, kept_at) >= 2, "a second decision", timeout=60, interval=0.2)
        wait_for(lambda: lost.refused(lost_at), "the refusal at the re-authentication", timeout=60, interval=0.2)
        wait_for(lambda: not lost.authorized(lost_at), "the port to be closed")
        assert kept.authorized(kept_at)
        assert kept.disconnections() == 0
        assert [d["reason"] for d in decisions_about(server, lost_at)] == ["dane_match", "tlsa_absent"]


def test_a_fifth_of_all_packets_lost(waiting: dict[str, Future[None]]) -> None:
    """Devices get in in the end, and those that must not stay out, over a lossy path to the server."""
    waiting["loss"].result()


def test_a_switch_with_a_lossy_uplink_lets_its_device_in(waiting: dict[str, Future[None]]) -> None:
    waiting["loss under a switch"].result()


def test_a_killed_server_lets_nobody_in_and_leaves_nothing_behind(waiting: dict[str, Future[None]]) -> None:
    waiting["killed"].result()


def test_a_device_gets_in_after_its_server_was_killed(waiting: dict[str, Future[None]]) -> None:
    waiting["killed under a switch"].result()


def test_the_second_server_decides_when_the_first_is_stopped(waiting: dict[str, Future[None]]) -> None:
    waiting["failover"].result()


def test_the_decision_is_made_again_at_session_timeout(waiting: dict[str, Future[None]]) -> None:
    """A device whose record stands goes on; one whose record went meanwhile finds its port closed."""
    waiting["reauthentication"].result()
