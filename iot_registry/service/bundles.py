"""The enrollment bundle: one string with everything that a device needs to enroll. Pure."""

from __future__ import annotations

import base64
import datetime as dt
import json

from iot_registry.local.config import Settings

BUNDLE_PREFIX = "iotreg1."


def encode(
    settings: Settings, device_name: str, domain: str, secret: str, expires: dt.datetime, anchor_pem: str
) -> str:
    """`iotreg1.` and the base64url form of a JSON object.

    secret: the enrollment token, valid until `expires`. anchor_pem: the CA of the registry's HTTPS server.
    """
    content = {
        "name": device_name,
        "token": secret,
        "est": f"{settings.public_url}/.well-known/est/{domain}",
        "provisioning": f"{settings.public_url}/v1/domains/{domain}/provisioning",
        "ca": anchor_pem,
        "expires": expires.isoformat(),
    }
    data = json.dumps(content, separators=(",", ":")).encode()
    return BUNDLE_PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()
