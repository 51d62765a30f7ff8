"""The enrollment bundle: one string with all that a device needs to enroll. It contains a one-time secret."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Self
from urllib.parse import urlsplit

from cryptography import x509
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "iotreg1."
#: A bundle with a generous certificate chain; anything longer is not one.
MAX_LENGTH = 65536


class BundleError(ValueError):
    """Not an enrollment bundle; the text says which part, and never contains the secret."""


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("expected https://HOST[:PORT]/PATH")
    return url.rstrip("/")


def _pem(text: str) -> str:
    if not x509.load_pem_x509_certificates(text.encode()):
        raise ValueError("expected at least one certificate in PEM")
    return text


def _device_name(name: str) -> str:
    labels = name.split(".")
    if len(name) > 253 or len(labels) < 2 or not all(_label(label) for label in labels):
        raise ValueError("expected a DNS name")
    return name.lower()


def _label(label: str) -> bool:
    return 1 <= len(label) <= 63 and label.isascii() and label.replace("-", "").replace("_", "").isalnum()


HttpsUrl = Annotated[str, AfterValidator(_https)]
PemCertificates = Annotated[str, AfterValidator(_pem)]
DeviceName = Annotated[str, AfterValidator(_device_name)]


class Settings(BaseModel):
    """Where the device's registry is: what stays on the card for re-enrollment."""

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


class Bundle(Settings):
    """What a registry hands out for one device."""

    #: The device's DNS name; the user name of HTTP Basic.
    name: DeviceName
    #: The one-time secret; the password.
    token: SecretStr = Field(min_length=1)
    expires: AwareDatetime | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Decode the string form. Raises BundleError."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise BundleError(f"not an enrollment bundle: it starts with {text[:8]!r}, expected {PREFIX!r}")
        if len(text) > MAX_LENGTH:
            raise BundleError(f"not an enrollment bundle: {len(text)} characters, at most {MAX_LENGTH}")
        encoded = text.removeprefix(PREFIX)
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BundleError("not an enrollment bundle: its base64url is damaged or cut short") from None
        return cls._from_json(raw)

    @classmethod
    def _from_json(cls, raw: bytes) -> Self:
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise BundleError(f"enrollment bundle: {_explain(error)}") from None

    @classmethod
    def from_parts(cls, *, est: str, provisioning: str, ca: str, name: str, token: str) -> Self:
        """From separate values. Raises BundleError."""
        try:
            return cls(est=est, provisioning=provisioning, ca=ca, name=name, token=SecretStr(token))
        except ValidationError as error:
            raise BundleError(_explain(error)) from None

    def encode(self) -> str:
        """The string form."""
        values = self.model_dump(mode="json") | {"token": self.token.get_secret_value()}
        raw = _compact_json({key: value for key, value in values.items() if value is not None})
        return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def settings(self) -> Settings:
        """The part that is no secret."""
        return Settings(est=self.est, provisioning=self.provisioning, ca=self.ca)

    def check_not_expired(self, now: datetime) -> None:
        """Raises BundleError once `expires` has passed."""
        if self.expires is not None and now >= self.expires:
            raise BundleError(f"the enrollment bundle of {self.name} expired at {self.expires.isoformat()}")


def parse_settings(raw: bytes) -> Settings:
    """Settings as they are kept on the card. Raises BundleError."""
    try:
        return Settings.model_validate_json(raw)
    except ValidationError as error:
        raise BundleError(f"the registry settings on the card: {_explain(error)}") from None


def encode_settings(settings: Settings) -> bytes:
    """Settings as they are kept on the card."""
    return _compact_json(settings.model_dump(mode="json"))


def _compact_json(values: object) -> bytes:
    return json.dumps(values, separators=(",", ":"), sort_keys=True).encode()


def _explain(error: ValidationError) -> str:
    """The first fault: field and reason, without the value (it may be the secret)."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "content"
    return f"{field}: {first['msg']}"
