"""Enrollment against a real EST server over TLS, on both key stores: the friendly path, and every way it must fail."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim import layout
from iot_safe_sim.bundle import BundleError
from iot_safe_sim.card import Card
from iot_safe_sim.client import IoTSafeClient, MemoryTransport
from iot_safe_sim.dns_wait import Resolver, TlsaState, TlsaWait
from iot_safe_sim.enrollment import Enrollment, EnrollmentError, Outcome
from iot_safe_sim.est import EstError
from iot_safe_sim.fleet import FAILURES
from iot_safe_sim.https import HttpsError, RefusedError
from iot_safe_sim.identity import dns_name, public_point
from iot_safe_sim.keystore import NAMES
from iot_safe_sim.provisioning import ProvisioningError
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority, new_key
from tests.harness.process import Daemon
from tests.harness.unbound import Unbound
from tests.harness.zones import tampered_zone
from tests.integration.iot_safe_sim.est_server import EstServer

NAME = "a1b2c3.camera._device.example.net"


def command(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """`iot-safe-sim` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "iot_safe_sim.cli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_whole(client: IoTSafeClient, name: str = NAME) -> x509.Certificate:
    """What a device application checks before it trusts the card: chain, key, signed URL blob, signed server CA."""
    files = {file: client.read_file(file) for file in (b"\x02", b"\x03", b"\x06", b"\x07", b"\x08", b"\x09", b"\x0a")}
    certificate, root, issuing = (x509.load_der_x509_certificate(files[file]) for file in (b"\x02", b"\x06", b"\x07"))
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    certificate.verify_directly_issued_by(issuing)
    assert dns_name(certificate) == name
    assert public_point(certificate) == client.public_key(layout.DEVICE_KEY)
    key = issuing.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(files[b"\x09"], files[b"\x08"], ec.ECDSA(hashes.SHA256()))
    key.verify(files[b"\x0a"], files[b"\x03"], ec.ECDSA(hashes.SHA256()))
    assert files[b"\x08"][:1] == b"{"
    assert len(files[b"\x08"]) <= 100
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"proof")
    device = certificate.public_key()
    assert isinstance(device, ec.EllipticCurvePublicKey)
    device.verify(client.sign(layout.DEVICE_KEY, b"proof"), b"proof", ec.ECDSA(hashes.SHA256()))
    return certificate


@pytest.fixture(params=NAMES)
def card(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Card(tmp_path / "state", key_store=request.param) as opened:
        yield opened


@pytest.fixture
def client(card: Card) -> IoTSafeClient:
    return IoTSafeClient(MemoryTransport(card.applet))


@pytest.fixture
def soft(tmp_path: Path) -> Any:
    """A card where the key store does not matter."""
    with Card(tmp_path / "soft", key_store="software") as opened:
        yield IoTSafeClient(MemoryTransport(opened.applet))


@pytest.mark.parametrize("key_store", NAMES)
def test_command_enrolls_and_reports(est: EstServer, tmp_path: Path, key_store: str) -> None:
    bundle, state = est.bundle(NAME), tmp_path / "state"
    done = command(
        "enroll", "--state", state, "--key-store", key_store, "--bundle", "-", "--no-wait-dns", "--json",
        stdin=bundle.encode(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["name"], result["tlsa"]) == ("enrolled", NAME, None)
    assert "made on the card" in done.stderr
    (request,) = est.requests
    assert (
        request.authorization
        == "Basic " + base64.b64encode(f"{NAME}:{bundle.token.get_secret_value()}".encode()).decode()
    )
    with Card(state) as card:
        assert_whole(IoTSafeClient(MemoryTransport(card.applet)))
    shown = json.loads(command("status", "--state", state, "--json").stdout)
    assert shown["key_store"] == key_store
    assert shown["certificate"]["name"] == NAME
    assert shown["certificate"]["key_matches"] is True
    # The token was for one use: it is nowhere.
    secret = bundle.token.get_secret_value().encode()
    assert not [path for path in state.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert secret.decode() not in done.stdout + done.stderr


def test_command_with_separate_values(est: EstServer, tmp_path: Path) -> None:
    bundle = est.bundle(NAME)
    (tmp_path / "ca.pem").write_text(bundle.ca)
    (tmp_path / "token").write_text(bundle.token.get_secret_value() + "\n")
    common = ("--registry", est.url, "--name", NAME, "--ca", tmp_path / "ca.pem", "--no-wait-dns")
    state = ("--state", tmp_path / "state", "--key-store", "software")
    done = command("enroll", *state, *common, "--token", f"@{tmp_path / 'token'}")
    assert done.returncode == 0, done.stderr
    assert f"{NAME}: enrolled" in done.stdout


def test_command_through_a_modem(
    est: EstServer, tmp_path: Path, start_modem: Callable[..., tuple[Daemon, str]]
) -> None:
    """The same over a serial port, as with a real card: enroll, then renew with TLS signed over the port."""
    _, port = start_modem(tmp_path / "state", "--key-store", "softhsm")
    done = command("enroll", "--port", port, "--bundle", est.bundle(NAME).encode(), "--no-wait-dns")
    assert done.returncode == 0, done.stderr
    done = command("enroll", "--port", port, "--renew", "--no-wait-dns")
    assert done.returncode == 0, done.stderr
    assert est.requests[-1].path.endswith("simplereenroll")
    assert est.requests[-1].client_certificate == f"(('DNS', '{NAME}'),)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--state", "x"], "either --bundle, or --registry"),
        (["--bundle", "x"], "either --state or --port"),
        (["--state", "x", "--port", "y", "--bundle", "x"], "either --state or --port"),
        (["--state", "x", "--bundle", "x", "--token", "t"], "either --bundle, or --registry"),
        (["--state", "x", "--bundle", "x", "--within", "3"], "belong to --renew"),
        (["--state", "x", "--bundle", "x", "--count", "3"], "belongs to --bundles"),
        (["--state", "x", "--bundle", "iotreg1.x", "--resolver", "localhost"], "expected ADDRESS"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    done = command("enroll", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_second_run_changes_nothing(est: EstServer, client: IoTSafeClient, card: Card) -> None:
    bundle = est.bundle(NAME)
    assert Enrollment(client).enroll(bundle).outcome is Outcome.ENROLLED
    before = card.applet.store
    assert Enrollment(client).enroll(bundle).outcome is Outcome.ALREADY_ENROLLED
    assert card.applet.store == before
    assert est.count("simpleenroll") == 1
    assert Enrollment(client).enroll(est.bundle(NAME), force=True).outcome is Outcome.ENROLLED
    assert est.count("simpleenroll") == 2
    assert card.keys.handles() == card.applet.store.handles()


class Interrupted(Exception):
    """Power is cut."""


class Unreliable:
    """A way to the card that breaks before command number `limit`."""

    def __init__(self, card: Card, limit: int) -> None:
        self._card = card
        self.left = limit

    def transmit(self, apdu: bytes) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        return self._card.applet.process(apdu)


def test_interrupted_before_every_single_command(est: EstServer, tmp_path: Path) -> None:
    """Whatever was done, the next run ends with one whole identity, one key, and one used token."""
    limit, finished = 0, False
    while not finished:
        name = f"d{limit}.camera._device.example.net"
        bundle = est.bundle(name)
        with Card(tmp_path / str(limit), key_store="software") as card:
            try:
                Enrollment(IoTSafeClient(Unreliable(card, limit))).enroll(bundle)
                finished = True
            except Interrupted:
                pass
        with Card(tmp_path / str(limit)) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            Enrollment(client).enroll(bundle)
            assert_whole(client, name)
            assert card.keys.handles() == {card.applet.store.private_keys[layout.DEVICE_KEY].handle}
            assert client.read_file(layout.PENDING_CERTIFICATE) == b""
        limit += 1
    print(f"{limit} places")
    assert limit > 25


@pytest.mark.parametrize("new_key", [False, True])
def test_a_renewal_interrupted_before_every_single_command(est: EstServer, tmp_path: Path, new_key: bool) -> None:
    """While the issuing CA has a successor, so that certificate and CA change together."""
    limit, finished = 0, False
    while not finished:
        name, folder = f"r{limit}.camera._device.example.net", tmp_path / str(limit)
        with Card(folder, key_store="software") as card:
            Enrollment(IoTSafeClient(MemoryTransport(card.applet))).enroll(est.bundle(name))
            est.new_issuing_ca()
            unreliable = Unreliable(card, limit)
            try:
                Enrollment(IoTSafeClient(unreliable)).renew(new_key=new_key)
                finished = True
            except (Interrupted, HttpsError):
                # Power that is cut while the card signs for TLS shows as a handshake that failed.
                assert unreliable.left < 0
        with Card(folder) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            Enrollment(client).renew(new_key=new_key)
            certificate = assert_whole(client, name)
            assert certificate.issuer == est.issuing.certificate.subject
            assert card.keys.handles() == {card.applet.store.private_keys[layout.DEVICE_KEY].handle}
            assert client.read_file(layout.PENDING_CERTIFICATE) == b""
        limit += 1
    print(f"{limit} places")
    assert limit > 20


def test_accepted_later(est: EstServer, soft: IoTSafeClient) -> None:
    """202 with Retry-After: the same request again."""
    est.later = 2
    steps: list[str] = []
    Enrollment(soft, progress=lambda step, text: steps.append(text)).enroll(est.bundle(NAME))
    assert_whole(soft)
    assert est.count("simpleenroll") == 3
    assert len({request.csr for request in est.requests}) == 1
    assert sum("asking again in 1 s" in step for step in steps) == 2


def test_accepted_never(est: EstServer, soft: IoTSafeClient) -> None:
    est.later = 1000
    with pytest.raises(EstError, match=r"still not granted after 0\.5 s"):
        Enrollment(soft, patience=0.5).enroll(est.bundle(NAME))


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_renewal_proves_the_key_in_tls(tmp_path: Path, client: IoTSafeClient, card: Card, tls: ssl.TLSVersion) -> None:
    with EstServer(tmp_path / "est", tls_maximum=tls) as est:
        Enrollment(client).enroll(est.bundle(NAME))
        before, handles = client.read_file(layout.CLIENT_CERTIFICATE), card.keys.handles()
        result = Enrollment(client).renew()
        assert result.outcome is Outcome.RENEWED
        request = est.requests[-1]
        assert request.authorization is None
        assert request.client_certificate == f"(('DNS', '{NAME}'),)"
        assert request.tls == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[tls]
        assert_whole(client)
        assert client.read_file(layout.CLIENT_CERTIFICATE) != before
        assert card.keys.handles() == handles


def test_renewal_only_when_due(est: EstServer, soft: IoTSafeClient) -> None:
    Enrollment(soft).enroll(est.bundle(NAME))
    assert Enrollment(soft).renew(within=timedelta(days=5)).outcome is Outcome.NOT_DUE
    assert est.count("simplereenroll") == 0
    assert Enrollment(soft).renew(within=timedelta(days=31)).outcome is Outcome.RENEWED
    later = datetime.now(UTC) + timedelta(days=40)
    with pytest.raises(EnrollmentError, match=r"expired.*enroll with a new bundle"):
        Enrollment(soft, now=lambda: later).renew()


def test_renewal_of_nothing(tmp_path: Path) -> None:
    done = command("enroll", "--state", tmp_path / "state", "--key-store", "software", "--renew")
    assert done.returncode == 1
    assert "not enrolled: enroll it with a bundle first" in done.stderr


def test_after_an_emergency_rollover(est: EstServer, client: IoTSafeClient, card: Card) -> None:
    """Another CA key, every certificate void: a new bundle brings a new key and certificate."""
    Enrollment(client).enroll(est.bundle(NAME))
    old = client.public_key(layout.DEVICE_KEY)
    est.new_issuing_ca()
    assert Enrollment(client).enroll(est.bundle(NAME)).outcome is Outcome.ENROLLED
    assert_whole(client)
    assert client.public_key(layout.DEVICE_KEY) != old
    assert client.read_file(layout.ISSUING_CA) == est.issuing.der
    assert len(card.keys.handles()) == 1


def test_rehomed_to_another_name(est: EstServer, soft: IoTSafeClient) -> None:
    Enrollment(soft).enroll(est.bundle(NAME))
    Enrollment(soft).enroll(est.bundle("a1b2c3.camera._device.other.example"))
    assert_whole(soft, "a1b2c3.camera._device.other.example")


# --- refusals ---


def answer_with(operation: str, **changes: Any) -> Callable[[str, web.Response], web.Response]:
    def tamper(which: str, response: web.Response) -> web.Response:
        return web.Response(**changes) if which == operation else response

    return tamper


def provisioning_with(**changes: Any) -> Callable[[str, web.Response], web.Response]:
    def tamper(which: str, response: web.Response) -> web.Response:
        if which != "provisioning":
            return response
        document = json.loads(response.text or "") | changes
        return web.json_response({key: value for key, value in document.items() if value is not None})

    return tamper


FOREIGN = authority("Foreign CA")
PKCS7_TYPE = "application/pkcs7-mime"


@pytest.mark.parametrize(
    ("tamper", "error", "message"),
    [
        (answer_with("cacerts", status=500, text="no <b>luck</b>\r\n"), RefusedError, "answers 500: no <b>luck</b>"),
        (answer_with("cacerts", status=302, headers={"Location": "https://elsewhere"}), RefusedError, "answers 302"),
        (answer_with("cacerts", text="hello"), EstError, "content type text/plain"),
        (answer_with("cacerts", body=b"MA==", content_type=PKCS7_TYPE), EstError, "not a certs-only"),
        (answer_with("cacerts", body=b"\xff", content_type=PKCS7_TYPE), EstError, "not a certs-only"),
        (answer_with("cacerts", body=b"x" * (2 << 20), content_type=PKCS7_TYPE), HttpsError, "over 1048576 bytes"),
        (answer_with("provisioning", text="{"), ProvisioningError, "not JSON"),
        (answer_with("provisioning", text="[]"), ProvisioningError, "not a JSON object"),
        (provisioning_with(root_ca=None), ProvisioningError, "root_ca: expected a certificate"),
        (provisioning_with(url_blob="?"), ProvisioningError, "url_blob: expected base64"),
        (provisioning_with(url_blob=None), ProvisioningError, "url_blob: expected base64"),
        (
            provisioning_with(url_blob=base64.b64encode(b'{"url":"evil"}').decode()),
            ProvisioningError,
            "url_signature: not the issuing CA's",
        ),
        (
            provisioning_with(url_blob=base64.b64encode(b"{" + b" " * 100).decode()),
            ProvisioningError,
            "at most 100 bytes",
        ),
        (
            provisioning_with(server_certificate=FOREIGN.pem.decode()),
            ProvisioningError,
            "server_certificate_signature: not the issuing CA's",
        ),
        (provisioning_with(root_ca=FOREIGN.pem.decode()), ProvisioningError, "issuing CA: not issued by"),
        (provisioning_with(issuing_ca=FOREIGN.pem.decode()), ProvisioningError, "issuing CA: not issued by"),
        (
            provisioning_with(issuing_ca=FOREIGN.pem.decode(), root_ca=FOREIGN.pem.decode()),
            ProvisioningError,
            "not the issuing CA's signature",
        ),
        (answer_with("simpleenroll", status=403, text=""), RefusedError, r"answers 403: \(no explanation\)"),
        (answer_with("simpleenroll", body=b"", content_type=PKCS7_TYPE), EstError, "not a certs-only"),
    ],
)
def test_a_registry_that_answers_wrongly(
    est: EstServer, soft: IoTSafeClient, tamper: Any, error: type[Exception], message: str
) -> None:
    est.tamper = tamper
    with pytest.raises(error, match=message):
        Enrollment(soft).enroll(est.bundle(NAME))
    assert soft.read_file(layout.CLIENT_CERTIFICATE) == b""
    assert soft.read_file(layout.ROOT_CA) == b""
    # And once it answers rightly, the same card goes on.
    est.tamper = None
    Enrollment(soft).enroll(est.bundle(NAME))
    assert_whole(soft)


def test_certificates_that_are_not_what_was_asked_for(est: EstServer, soft: IoTSafeClient) -> None:
    est.issue_name = "other.camera._device.example.net"
    with pytest.raises(ProvisioningError, match=f"is for other.camera._device.example.net, expected {NAME}"):
        Enrollment(soft).enroll(est.bundle(NAME))
    est.issue_name, est.issue_key = None, new_key().public_key()
    with pytest.raises(ProvisioningError, match="another key than the card's"):
        Enrollment(soft).enroll(est.bundle(NAME))
    est.issue_key, est.days = None, 0.01
    with pytest.raises(ProvisioningError, match="device certificate: valid from"):
        Enrollment(soft).enroll(est.bundle(NAME))
    est.days = 30

    def foreign(which: str, response: web.Response) -> web.Response:
        if which != "simpleenroll":
            return response
        from tests.integration.iot_safe_sim.est_server import _certs_only, _PublicOnly

        request = x509.load_der_x509_csr(est.requests[-1].csr)
        return _certs_only([FOREIGN.issue(NAME, key=_PublicOnly(request.public_key())).certificate])

    est.tamper = foreign
    with pytest.raises(ProvisioningError, match="device certificate: not issued by"):
        Enrollment(soft).enroll(est.bundle(NAME))
    assert soft.read_file(layout.CLIENT_CERTIFICATE) == b""
    assert soft.read_file(layout.PENDING_CERTIFICATE) == b""


def test_wrong_used_and_expired_tokens(est: EstServer, soft: IoTSafeClient, tmp_path: Path) -> None:
    bundle = est.bundle(NAME)
    est.tokens[NAME] = "another"
    done = command("enroll", "--state", tmp_path / "s", "--key-store", "software", "--bundle", bundle.encode())
    assert done.returncode == 1
    assert "answers 401: unauthenticated: the device name and token do not match" in done.stderr
    assert bundle.token.get_secret_value() not in done.stderr
    assert "Traceback" not in done.stderr
    expired = est.bundle(NAME, expires="2020-01-01T00:00:00Z")
    before = est.count("simpleenroll")
    with pytest.raises(BundleError, match="expired at 2020-01-01"):
        Enrollment(soft).enroll(expired)
    assert est.count("simpleenroll") == before


def test_a_server_with_another_certificate_is_not_spoken_to(est: EstServer, soft: IoTSafeClient) -> None:
    good = est.bundle(NAME)
    Enrollment(soft).enroll(good)
    requests = len(est.requests)
    with pytest.raises(HttpsError, match="certificate is refused"):
        Enrollment(soft).enroll(est.bundle(NAME, ca=FOREIGN.pem.decode()), force=True)
    # The certificate is for localhost, not for this address.
    numeric = {key: getattr(good, key).replace("localhost", "127.0.0.1") for key in ("est", "provisioning")}
    with pytest.raises(HttpsError, match="certificate is refused"):
        Enrollment(soft).enroll(est.bundle(NAME, **numeric), force=True)
    assert len(est.requests) == requests


def test_nobody_there(tmp_path: Path, soft: IoTSafeClient) -> None:
    with EstServer(tmp_path / "gone") as gone:
        bundle = gone.bundle(NAME)
    with pytest.raises(HttpsError, match="refused"):
        Enrollment(soft).enroll(bundle)


def test_every_error_is_one_that_the_command_reports() -> None:
    """No refusal above ends in a traceback."""
    for error in (BundleError, EnrollmentError, EstError, HttpsError, ProvisioningError, RefusedError):
        assert issubclass(error, FAILURES)


# --- the DNS ---


def tlsa_of(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import PublicFormat

    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return f"3 1 1 {digest.finalize().hex()}"


def test_waits_until_the_record_is_served_and_validated(
    est: EstServer, soft: IoTSafeClient, dns: tuple[Knot, Unbound]
) -> None:
    knot, unbound = dns
    name = "waits.camera._device.example.net"
    seen: list[TlsaState] = []

    def progress(state: TlsaState, seconds: float) -> None:
        seen.append(state)
        if state is TlsaState.ABSENT:
            knot.add_tlsa("example.net", name, "3 1 1 " + "00" * 32, ttl=0)
        if state is TlsaState.OTHER_RECORDS:
            knot.add_tlsa("example.net", name, tlsa_of(est.issued[-1]), ttl=0)

    wait = TlsaWait(Resolver("127.0.0.1", unbound.port), 30, progress)
    result = Enrollment(soft, wait).enroll(est.bundle(name))
    assert result.tlsa is TlsaState.VOUCHED
    assert seen == [TlsaState.ABSENT, TlsaState.OTHER_RECORDS, TlsaState.VOUCHED]


def test_does_not_take_an_insecure_or_missing_answer(est: EstServer, tmp_path: Path, dns: tuple[Knot, Unbound]) -> None:
    knot, unbound = dns
    name = "insecure.camera._device.plain.net"
    est.published = lambda certificate: knot.add_tlsa("plain.net", name, tlsa_of(certificate), ttl=0)
    options = ("--resolver", f"127.0.0.1:{unbound.port}", "--dns-timeout", "0.5", "--key-store", "software")
    done = command("enroll", "--state", tmp_path / "a", "--bundle", est.bundle(name).encode(), "--json", *options)
    assert done.returncode == 1
    assert json.loads(done.stdout)["tlsa"] == "insecure"
    assert json.loads(done.stdout)["outcome"] == "enrolled"
    assert "no AD bit" in done.stderr
    est.published = lambda certificate: None
    absent = est.bundle("absent.camera._device.example.net")
    done = command("enroll", "--state", tmp_path / "b", "--bundle", absent.encode(), "--json", *options)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (1, "absent")
    # The authoritative server answers, but it is no validating resolver.
    options = ("--resolver", f"127.0.0.1:{knot.port}", "--dns-timeout", "0.5")
    done = command("enroll", "--state", tmp_path / "b", "--bundle", absent.encode(), "--json", *options)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (1, "insecure")
    options = ("--resolver", "127.0.0.1:1", "--dns-timeout", "0.5")
    done = command("enroll", "--state", tmp_path / "b", "--bundle", absent.encode(), "--json", *options)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (1, "unavailable")
    assert json.loads(done.stdout)["outcome"] == "already-enrolled"


@pytest.mark.parametrize("which", ["nobody", "authoritative", "unsigned"])
def test_a_useless_resolver_is_named_at_once_and_not_waited_for(
    est: EstServer, tmp_path: Path, dns: tuple[Knot, Unbound], which: str
) -> None:
    """With the default of 120 s to wait: the complaint comes first, the certificate all the same, and then the end."""
    knot, unbound = dns
    port = {"nobody": 1, "authoritative": knot.port, "unsigned": unbound.port}[which]
    name = f"{which}.camera._device.{'plain' if which == 'unsigned' else 'example'}.net"
    arguments = ("enroll", "--state", tmp_path / "card", "--key-store", "software", "--json")
    resolver = ("--resolver", f"127.0.0.1:{port}")
    begun = time.monotonic()
    done = command(*arguments, "--bundle", est.bundle(name).encode(), *resolver)
    assert time.monotonic() - begun < 30
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"dns          the resolver 127.0.0.1:{port} "), done.stderr
    assert ("does not answer (Connection refused)" if which == "nobody" else "without validation (no AD bit)") in first
    assert "--resolver" in first
    assert "--no-wait-dns" in first
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"]) == (1, "enrolled")
    assert result["tlsa"] == ("unavailable" if which == "nobody" else "insecure")
    # A fleet is told once, and so is a renewal.
    bundles = tmp_path / "bundles"
    bundles.write_text("".join(est.bundle(f"{n}.{name}").encode() + "\n" for n in range(3)))
    fleet = command("enroll", "--state", tmp_path / "fleet", "--key-store", "software", "--bundles", bundles, *resolver)
    assert fleet.returncode == 1
    assert fleet.stderr.count("the resolver 127.0.0.1") == 1
    renewed = command(*arguments, "--renew", *resolver)
    assert renewed.stderr.splitlines()[0] == first
    assert json.loads(renewed.stdout)["outcome"] == "renewed"


def test_the_check_of_the_resolver_leaves_no_trace_of_the_device_there(
    est: EstServer, dns: tuple[Knot, Unbound]
) -> None:
    """Asked for the device's own record before it is there, a resolver would go on saying that there is none."""
    _knot, unbound = dns
    name = "unasked.camera._device.example.net"
    assert Resolver("127.0.0.1", unbound.port).fault(name) is None
    cached = unbound.control("dump_cache")
    assert "unasked" not in cached
    assert "example.net" in cached


def test_does_not_take_a_bogus_answer(
    est: EstServer, soft: IoTSafeClient, tmp_path: Path, dns: tuple[Knot, Unbound]
) -> None:
    """The right record, in a zone whose signatures do not hold: under a foreign trust anchor, and with changed data."""
    knot, unbound = dns
    name = "bogus.camera._device.example.net"
    est.published = lambda certificate: knot.add_tlsa("example.net", name, tlsa_of(certificate), ttl=0)
    foreign = knot.trust_anchors("example.net").replace(" 257 3 13 ", " 257 3 13 AAAA", 1)
    with Unbound(tmp_path / "unbound", {"example.net": ("127.0.0.1", knot.port)}, foreign) as resolver:
        seen: list[TlsaState] = []
        wait = TlsaWait(Resolver("127.0.0.1", resolver.port), 1, lambda state, seconds: seen.append(state))
        result = Enrollment(soft, wait).enroll(est.bundle(name))
    assert (result.outcome, result.tlsa, set(seen)) == (Outcome.ENROLLED, TlsaState.BOGUS, {TlsaState.BOGUS})
    # The record itself was right: where the zone validates, it counts.
    assert Resolver("127.0.0.1", unbound.port).look(name, est.issued[-1], []) is TlsaState.VOUCHED


def test_records_changed_on_the_way_are_bogus(tmp_path: Path) -> None:
    device = authority("CA").issue("device.broken.example").certificate
    record = f"device TLSA {tlsa_of(device)}"
    # Changed after signing into what the device would like to see.
    wrong = record[:-2] + f"{int(record[-2:], 16) ^ 1:02x}"
    text, anchor = tampered_zone(tmp_path / "zone", "broken.example", wrong)
    served = re.sub(r"(TLSA\s+3 1 1 )[0-9a-f]{64}", lambda match: match[1] + record[-64:], text)
    zone = Zone("broken.example", signed=False, verbatim=served)
    with (
        Knot(tmp_path / "knot", [zone]) as knot,
        Unbound(tmp_path / "unbound", {"broken.example": ("127.0.0.1", knot.port)}, anchor) as resolver,
    ):
        asked = Resolver("127.0.0.1", resolver.port)
        assert asked.look("device.broken.example", device, []) is TlsaState.BOGUS
        # The zone is otherwise in order: another name in it is proven absent.
        assert asked.look("other.broken.example", device, []) is TlsaState.ABSENT
    assert asked.look("device.broken.example", device, []) is TlsaState.UNAVAILABLE


def test_a_new_key_is_used_only_when_the_dns_vouches_for_it(
    est: EstServer, client: IoTSafeClient, card: Card, dns: tuple[Knot, Unbound]
) -> None:
    knot, unbound = dns
    name = "newkey.camera._device.example.net"
    wait = TlsaWait(Resolver("127.0.0.1", unbound.port), 1.5)
    Enrollment(client).enroll(est.bundle(name))
    old, old_certificate = client.public_key(layout.DEVICE_KEY), client.read_file(layout.CLIENT_CERTIFICATE)
    with pytest.raises(EnrollmentError, match="does not vouch for the new key"):
        Enrollment(client, wait).renew(new_key=True)
    assert client.public_key(layout.DEVICE_KEY) == old
    assert client.read_file(layout.CLIENT_CERTIFICATE) == old_certificate
    knot.add_tlsa("example.net", name, tlsa_of(est.issued[-1]), ttl=0)
    result = Enrollment(client, TlsaWait(Resolver("127.0.0.1", unbound.port), 10)).renew(new_key=True)
    assert result.tlsa is TlsaState.VOUCHED
    assert est.count("simplereenroll") == 1, "the certificate of the first try was taken up"
    assert client.public_key(layout.DEVICE_KEY) != old
    assert_whole(client, name)
    assert len(card.keys.handles()) == 1


# --- a fleet ---


def test_a_fleet_with_a_black_sheep(est: EstServer, tmp_path: Path) -> None:
    names = [f"f{number}.sensor._device.example.net" for number in range(12)]
    lines = [est.bundle(name).encode() for name in names]
    lines[3] = json.dumps({"name": names[3], "bundle": lines[3]})
    lines[7] = "iotreg1.garbage"
    (tmp_path / "bundles").write_text("\n".join(lines) + "\n\n")
    arguments = ("enroll", "--state", tmp_path / "fleet", "--bundles", tmp_path / "bundles", "--no-wait-dns")
    done = command(*arguments, "--key-store", "software", "--count", "5")
    assert (done.returncode, done.stdout.strip()) == (0, "5 of 5 devices enrolled")
    done = command(*arguments, "--key-store", "software", "--json")
    assert done.returncode == 1
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 12
    failed = [result for result in results if result["error"]]
    assert [(result["line"], "enrollment bundle" in result["error"]) for result in failed] == [(8, True)]
    outcomes = sorted(result["outcome"] for result in results if not result["error"])
    assert outcomes == ["already-enrolled"] * 5 + ["enrolled"] * 6
    for number in (0, 3, 11):
        with Card(tmp_path / "fleet" / names[number]) as card:
            assert_whole(IoTSafeClient(MemoryTransport(card.applet)), names[number])
    points = {certificate.public_key().public_bytes(Encoding.DER, _spki()) for certificate in est.issued}
    assert len(points) == 11


def _spki() -> Any:
    from cryptography.hazmat.primitives.serialization import PublicFormat

    return PublicFormat.SubjectPublicKeyInfo


def test_a_fleet_on_tokens(est: EstServer, tmp_path: Path) -> None:
    names = [f"t{number}.sensor._device.example.net" for number in range(3)]
    (tmp_path / "bundles").write_text("\n".join(est.bundle(name).encode() for name in names))
    done = command("enroll", "--state", tmp_path / "fleet", "--bundles", tmp_path / "bundles", "--no-wait-dns")
    assert (done.returncode, done.stdout.strip()) == (0, "3 of 3 devices enrolled"), done.stderr
