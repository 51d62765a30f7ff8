"""A registry that responds wrongly, or is another server: enrollment fails, says why, and leaves the card as it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509

from iot_safe_sim.device import (
    BundleError,
    Enrollment,
    EstError,
    HttpsError,
    ProvisioningError,
    RefusedError,
)
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient
from tests.harness.pki import authority, new_key
from tests.integration.iot_safe_sim.est_server import EstServer, certs_only
from tests.integration.iot_safe_sim.support import NAME, PublicOnly, command, identity_faults

FOREIGN = authority("Foreign CA")
PKCS7_TYPE = "application/pkcs7-mime"


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
    assert soft.read_file(containers.CLIENT_CERTIFICATE) == b""
    assert soft.read_file(containers.ROOT_CA) == b""
    # Once the registry responds rightly, the same card enrolls.
    est.tamper = None
    Enrollment(soft).enroll(est.bundle(NAME))
    assert identity_faults(soft) == []


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
        request = x509.load_der_x509_csr(est.requests[-1].csr)
        return certs_only([FOREIGN.issue(NAME, key=PublicOnly(request.public_key())).certificate])

    est.tamper = foreign
    with pytest.raises(ProvisioningError, match="device certificate: not issued by"):
        Enrollment(soft).enroll(est.bundle(NAME))
    assert soft.read_file(containers.CLIENT_CERTIFICATE) == b""
    assert soft.read_file(containers.PENDING_CERTIFICATE) == b""


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


def test_no_request_goes_to_a_server_with_another_certificate(est: EstServer, soft: IoTSafeClient) -> None:
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


def test_a_registry_that_does_not_listen(tmp_path: Path, soft: IoTSafeClient) -> None:
    with EstServer(tmp_path / "gone") as gone:
        bundle = gone.bundle(NAME)
    with pytest.raises(HttpsError, match="refused"):
        Enrollment(soft).enroll(bundle)
