"""Names of domains and devices. Pure.

A device's name is `<label>.<type>._device.<domain>`, one of the owner-name forms of draft-ietf-dance-client-auth
section 2. Names are kept in lower case, as A-labels, without a trailing dot. No function here accepts a wildcard:
Knot's `update-owner-match: sub` would let one into the zone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from web_service.core import Reason, Refused

# RFC 1035 section 3.1: 255 octets on the wire are 253 characters of text.
MAX_NAME = 253
DEVICE_LABEL = "_device"

_LDH = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True)
class DeviceName:
    """A device's DNS name and its parts."""

    label: str
    type: str
    domain: str

    def __str__(self) -> str:
        return f"{self.label}.{self.type}.{DEVICE_LABEL}.{self.domain}"


def _invalid(field: str, found: str, expected: str) -> Refused:
    return Refused(Reason.INVALID_NAME, f"{field}: found {found[:80]!r}, expected {expected}", field=field)


def label(text: str, field: str) -> str:
    """One host-name label (letters, digits, hyphens; 1 to 63), in lower case. Raises Refused."""
    lowered = text.lower()
    if not text.isascii() or not _LDH.match(lowered):
        raise _invalid(field, text, "one DNS label: letters a-z, digits and inner hyphens, 1 to 63 characters")
    if lowered[2:4] == "--" and not lowered.startswith("xn--"):
        raise _invalid(field, text, "no '--' as third and fourth character (RFC 5891 section 4.2.3.1)")
    return lowered


def domain(text: str, field: str = "domain") -> str:
    """A domain below which devices are named: at least two labels, none with an underscore. Raises Refused."""
    stripped = text.removesuffix(".")
    labels = stripped.split(".")
    if len(labels) < 2:
        raise _invalid(field, text, "a domain name of at least two labels, such as home.example")
    lowered = ".".join(label(part, field) for part in labels)
    if labels[-1].isdigit():
        raise _invalid(field, text, "a domain name, not an IP address")
    # The shortest device name below the domain must fit.
    if len(lowered) > MAX_NAME - len("a.b._device."):
        raise _invalid(field, text, f"at most {MAX_NAME - len('a.b._device.')} characters")
    return lowered


def device(device_label: str, device_type: str, device_domain: str) -> DeviceName:
    """A device's name from its parts. Raises Refused."""
    name = DeviceName(label(device_label, "label"), label(device_type, "type"), domain(device_domain))
    if len(str(name)) > MAX_NAME:
        raise _invalid("name", str(name), f"at most {MAX_NAME} characters in all")
    return name


def parse_device(text: str, field: str = "name") -> DeviceName:
    """A device's name from its text form. Raises Refused."""
    parts = text.removesuffix(".").lower().split(".")
    # isascii() is asked about the original text: lower-casing turns U+212A, the Kelvin sign, into an ASCII k.
    if not text.isascii() or len(parts) < 5 or parts[2] != DEVICE_LABEL:
        raise _invalid(field, text, f"<label>.<type>.{DEVICE_LABEL}.<domain>")
    try:
        return device(parts[0], parts[1], ".".join(parts[3:]))
    except Refused as refused:
        raise Refused(refused.reason, refused.detail, field=field) from None


def identity_root(domain_name: str) -> str:
    """The name that is the parent of all device names of a domain."""
    return f"{DEVICE_LABEL}.{domain_name}"


def authority_host(domain_name: str) -> str:
    """The host of the domain's PKIX-CD authority URL (draft-wilson-dane-pkix-cd section 3.5)."""
    return f"device.{domain_name}"
