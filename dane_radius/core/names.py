"""DNS names as device identities: which names are valid, and which identity domain each belongs to."""

from __future__ import annotations

import re

from dane_radius.core.reasons import ReasonCode, Refused

# RFC 1035 section 2.3.4: 255 octets on the wire, which are 253 in text without the trailing dot.
MAX_NAME_OCTETS = 253
MAX_LABEL_OCTETS = 63

# Letters, digits and inner hyphens (RFC 5890 section 2.3.1); underscores at the start (RFC 8552) or inside.
_LABEL = re.compile(r"_?[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\Z")


def normalize(raw: bytes) -> str:
    """A certificate's dNSName as a valid DNS name, in lower case and without a trailing dot.

    `raw` is the IA5String in the certificate. Raises Refused: `name_nul`, `name_wildcard`, `name_ip_literal`,
    `name_too_long` or `name_malformed`. Such a name must not be looked up.
    """
    if b"\0" in raw:
        raise Refused(ReasonCode.NAME_NUL, f"dNSName {raw!r} holds a NUL octet")
    if len(raw) > MAX_NAME_OCTETS + 1:
        raise Refused(ReasonCode.NAME_TOO_LONG, f"dNSName of {len(raw)} octets, at most {MAX_NAME_OCTETS} expected")
    if not raw.isascii():
        raise Refused(ReasonCode.NAME_MALFORMED, f"dNSName {raw!r} is not ASCII; an IDN needs its A-labels (RFC 5890)")
    name = raw.decode("ascii").lower().removesuffix(".")
    if "*" in name:
        raise Refused(ReasonCode.NAME_WILDCARD, f"dNSName {name!r} is a wildcard; an identity is one exact name")
    if len(name) > MAX_NAME_OCTETS:
        raise Refused(ReasonCode.NAME_TOO_LONG, f"dNSName of {len(name)} octets, at most {MAX_NAME_OCTETS} expected")
    labels = name.split(".")
    # Parsers (WHATWG, inet_aton) read a name whose last label is a number as an IPv4 address.
    if ":" in name or labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise Refused(ReasonCode.NAME_IP_LITERAL, f"dNSName {name!r} reads as an IP address")
    for label in labels:
        if len(label) > MAX_LABEL_OCTETS:
            raise Refused(
                ReasonCode.NAME_TOO_LONG,
                f"label {label!r} has {len(label)} octets, at most {MAX_LABEL_OCTETS} expected",
            )
        if not _LABEL.match(label):
            raise Refused(
                ReasonCode.NAME_MALFORMED,
                f"label {label!r} of dNSName {name!r}: letters, digits, inner hyphens, a leading underscore expected",
            )
        if label.startswith("xn--"):
            _check_a_label(label, name)
    if len(labels) < 2:
        raise Refused(ReasonCode.NAME_MALFORMED, f"dNSName {name!r} has a single label; a domain is expected")
    return name


def _check_a_label(label: str, name: str) -> None:
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, OverflowError, ValueError) as error:
        raise Refused(
            ReasonCode.NAME_MALFORMED, f"label {label!r} of dNSName {name!r} is no A-label (RFC 5890)"
        ) from error
    # An A-label must encode a label that is not all ASCII. Controls, surrogates and unassigned code points are invalid.
    # Of several encodings of one U-label, only the one that an encoder produces is valid.
    if decoded.isascii() or not decoded.isprintable() or decoded.encode("punycode") != label[4:].encode("ascii"):
        raise Refused(ReasonCode.NAME_MALFORMED, f"label {label!r} of dNSName {name!r} is no A-label (RFC 5890)")


def identity_domain(name: str) -> str:
    """The identity domain of a device name. Its anchors may vouch for the name, and its limits apply to the name.

    - `<device>[.<group>]._device.<org>`: the rightmost underscore label and all labels after it
      (draft-wilson-dane-pkix-cd section 3.4), so `a1.camera._device.example.net` belongs to `_device.example.net`;
    - `_service.<client>`: the client's domain, so `_mqtt.a1.example.net` belongs to `a1.example.net`;
    - a free-form name: its parent, so `a1.iot.example.net` belongs to `iot.example.net`;
    - a name of two labels: itself. Its parent is a top-level domain, which no anchor may vouch for.

    `name` must be normalized.
    """
    labels = name.split(".")
    if len(labels) <= 2:
        return name
    for index in range(len(labels) - 2, 0, -1):
        if labels[index].startswith("_"):
            return ".".join(labels[index:])
    return ".".join(labels[1:])


def is_within(name: str, domain: str) -> bool:
    """Whether `name` is `domain` or a name below it. Only whole labels match."""
    return name == domain or name.endswith("." + domain)


def authority_host(name: str) -> str | None:
    """The HTTPS host that publishes CA certificates for a name (draft-wilson-dane-pkix-cd section 3.5).

    The host is the rightmost underscore label without its underscore, and all labels after it:
    `a1.camera._device.example.net` gives `device.example.net`. None for a name without such a label, or whose first
    label it is.
    """
    domain = identity_domain(name)
    return domain[1:] if domain.startswith("_") and domain != name else None
