"""The enrollment bundle: one string with all that a device needs to enroll. It contains a one-time secret."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, ValidationError

from iot_safe_sim.device.names import check_device_name
from iot_safe_sim.device.registry_settings import BundleError, RegistrySettings, compact_json, explain

PREFIX = "iotreg1."
#: Characters. Enough for a bundle with a long certificate chain.
MAX_LENGTH = 65536

DeviceName = Annotated[str, AfterValidator(check_device_name)]


class Bundle(RegistrySettings):
    """What a registry issues for one device."""

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
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise BundleError(f"enrollment bundle: {explain(error)}") from None

    @classmethod
    def from_parts(cls, *, est: str, provisioning: str, ca: str, name: str, token: str) -> Self:
        """Make a bundle from separate values. Raises BundleError."""
        try:
            return cls(est=est, provisioning=provisioning, ca=ca, name=name, token=SecretStr(token))
        except ValidationError as error:
            raise BundleError(explain(error)) from None

    def encode(self) -> str:
        """The string form, which `parse` takes."""
        values = self.model_dump(mode="json") | {"token": self.token.get_secret_value()}
        raw = compact_json({key: value for key, value in values.items() if value is not None})
        return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def settings(self) -> RegistrySettings:
        """The part that is not secret."""
        return RegistrySettings(est=self.est, provisioning=self.provisioning, ca=self.ca)

    def check_not_expired(self, now: datetime) -> None:
        """Raises BundleError once `expires` has passed."""
        if self.expires is not None and now >= self.expires:
            raise BundleError(f"the enrollment bundle of {self.name} expired at {self.expires.isoformat()}")
