"""Where a device's registry is: the part of the enrollment bundle that stays on the card. It is not secret."""

from __future__ import annotations

import json
from typing import Annotated, Self
from urllib.parse import urlsplit

from cryptography import x509
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError


class BundleError(ValueError):
    """Not an enrollment bundle, or not its settings; the text names the part, and never contains the secret."""


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("expected https://HOST[:PORT]/PATH")
    return url.rstrip("/")


def _pem(text: str) -> str:
    if not x509.load_pem_x509_certificates(text.encode()):
        raise ValueError("expected at least one certificate in PEM")
    return text


HttpsUrl = Annotated[str, AfterValidator(_https)]
PemCertificates = Annotated[str, AfterValidator(_pem)]


class RegistrySettings(BaseModel):
    """The URLs and the CA of a registry."""

    model_config = ConfigDict(frozen=True)

    #: EST base URL; `/cacerts`, `/simpleenroll` and `/simplereenroll` are appended.
    est: HttpsUrl
    #: URL of the JSON with the contents of the card's files.
    provisioning: HttpsUrl
    #: PEM that anchors the registry's TLS server certificate.
    ca: PemCertificates

    def anchors(self) -> list[x509.Certificate]:
        """The certificates in `ca`."""
        return x509.load_pem_x509_certificates(self.ca.encode())

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """From the form that is kept on the card. Raises BundleError."""
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise BundleError(f"the registry settings on the card: {explain(error)}") from None

    def to_json(self) -> bytes:
        """The form that is kept on the card."""
        return compact_json(self.model_dump(mode="json"))


def compact_json(values: object) -> bytes:
    """JSON without spaces, with its keys in order."""
    return json.dumps(values, separators=(",", ":"), sort_keys=True).encode()


def explain(error: ValidationError) -> str:
    """The first fault: field and reason, without the value, which may be the secret."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "content"
    return f"{field}: {first['msg']}"
