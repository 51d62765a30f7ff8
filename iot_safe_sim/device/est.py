"""A client of Enrollment over Secure Transport (RFC 7030, with the base64 of RFC 8951)."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

from iot_safe_sim.device.https import Answer, BrokenError, HttpsClient, HttpsError
from iot_safe_sim.middleware import CardIdentity

#: Bounds in seconds that are applied to Retry-After.
MIN_RETRY, MAX_RETRY = 1.0, 60.0

#: Pauses in seconds before each repetition of a request whose connection broke.
BROKEN_PAUSES = (1.0, 3.0, 9.0)


class EstError(HttpsError):
    """The response is not what RFC 7030 prescribes, or a request was not granted in time."""


@dataclass(frozen=True)
class EstClient:
    """The EST service at the URL `base`, which has no trailing slash."""

    base: str
    https: HttpsClient
    #: Seconds for which a request that the server has accepted but not granted (202) is repeated.
    patience: float = 600.0
    #: Called before each wait for a grant, with its seconds.
    waiting: Callable[[float], None] = lambda seconds: None
    #: Called before each wait because a connection broke, with its seconds.
    broken: Callable[[float], None] = lambda seconds: None
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)

    def ca_certificates(self) -> list[x509.Certificate]:
        """/cacerts (section 4.1): the CA certificates. Raises HttpsError."""
        return _certificates(self.base, self.https.request("GET", f"{self.base}/cacerts"))

    def enroll(self, csr: bytes, name: str, token: str) -> x509.Certificate:
        """/simpleenroll (section 4.2.1), authenticated by a one-time token as HTTP Basic. Raises HttpsError."""
        credentials = base64.b64encode(f"{name}:{token}".encode()).decode()
        return self._request("simpleenroll", csr, {"Authorization": f"Basic {credentials}"}, None)

    def reenroll(self, csr: bytes, identity: CardIdentity) -> x509.Certificate:
        """/simplereenroll (section 4.2.2), authenticated by the present certificate in TLS. Raises HttpsError."""
        return self._request("simplereenroll", csr, {}, identity)

    def _request(
        self, operation: str, csr: bytes, headers: dict[str, str], identity: CardIdentity | None
    ) -> x509.Certificate:
        url = f"{self.base}/{operation}"
        headers = headers | {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        body = base64.encodebytes(csr)
        deadline = self.clock() + self.patience
        pauses = iter(BROKEN_PAUSES)
        while True:
            try:
                answer = self.https.request("POST", url, body=body, headers=headers, identity=identity)
            except BrokenError:
                # The registry recognises a repeated request by its key, and issues no second certificate.
                pause = next(pauses, None)
                if pause is None or self.clock() + pause > deadline:
                    raise
                self.broken(pause)
                self.sleep(pause)
                continue
            if answer.status == 200:
                break
            wait = _retry_after(answer)
            if self.clock() + wait > deadline:
                raise EstError(f"{url}: still not granted after {self.patience:g} s")
            self.waiting(wait)
            self.sleep(wait)
        certificates = _certificates(url, answer)
        if len(certificates) != 1:
            raise EstError(f"{url}: {len(certificates)} certificates in the answer, expected 1")
        return certificates[0]


def _retry_after(answer: Answer) -> float:
    """Seconds to wait (section 4.2.3). Without a Retry-After in seconds, the shortest wait."""
    text = answer.retry_after or ""
    return min(max(float(text), MIN_RETRY), MAX_RETRY) if text.isascii() and text.isdigit() else MIN_RETRY


def _certificates(url: str, answer: Answer) -> list[x509.Certificate]:
    if answer.content_type != "application/pkcs7-mime":
        raise EstError(f"{url}: content type {answer.content_type}, expected application/pkcs7-mime")
    try:
        der = base64.b64decode(answer.body)
        certificates = pkcs7.load_der_pkcs7_certificates(der)
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise EstError(f"{url}: not a certs-only PKCS #7: {error}") from error
    if not certificates:
        raise EstError(f"{url}: no certificates in the answer")
    return certificates
