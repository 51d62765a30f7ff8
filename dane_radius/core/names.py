"""DNS names as device identities: what is a usable name, and which domain answers for it."""

from __future__ import annotations

import re

from dane_radius.core.reasons import ReasonCode, Refused

# RFC 1035 section 2.3.4: 255 octets on the wire, which are 253 in text without the trailing dot.
MAX_NAME_OCTETS = 253
MAX_LABEL_OCTETS = 63

# Letters, digits and inner hyphens (RFC 5890 section 2.3.1), and the underscore of attribute leaves (RFC 8552).
_LABEL = re.compile(r"_?[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\Z")


def normalize(raw: bytes) -> str:
    """The name in a certificate's dNSName as a lower-case DNS name without trailing dot, fit to be looked up.

    `raw` is the IA5String as it stands in the certificate. Raises Refused: `name_nul`, `name_wildcard`,
    `name_ip_literal`, `name_too_long` or `name_malformed`; nothing is ever looked up for those.
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
    # A last label of digits makes the whole an IPv4 address in every parser that knows one (WHATWG, inet_aton).
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
    # Nothing but ASCII has no need of an A-label; controls, surrogates and unassigned code points have no right to one;
    # and of two spellings of the same U-label at most one is what an encoder makes.
    if decoded.isascii() or not decoded.isprintable() or decoded.encode("punycode") != label[4:].encode("ascii"):
        raise Refused(ReasonCode.NAME_MALFORMED, f"label {label!r} of dNSName {name!r} is no A-label (RFC 5890)")


def identity_domain(name: str) -> str:
    """The domain that answers for a device name: whose anchors may vouch for it, and whose limits it shares.

    - `<device>[.<group>]._device.<org>`: from the rightmost underscore label on (draft-wilson-dane-pkix-cd
      section 3.4), so `a1.camera._device.example.net` belongs to `_device.example.net`;
    - `_service.<client>`: the client's domain, so `_mqtt.a1.example.net` belongs to `a1.example.net`;
    - a free-form name: its parent, so `a1.iot.example.net` belongs to `iot.example.net`;
    - a name of two labels: itself. Its parent is a top-level domain, which nobody's anchor may vouch for.

    `name` is as `normalize` returns it.
    """
    labels = name.split(".")
    if len(labels) <= 2:
        return name
    for index in range(len(labels) - 2, 0, -1):
        if labels[index].startswith("_"):
            return ".".join(labels[index:])
    return ".".join(labels[1:])


def is_within(name: str, domain: str) -> bool:
    """Whether `name` is `domain` or stands below it, label by label."""
    return name == domain or name.endswith("." + domain)


def authority_host(name: str) -> str | None:
    """The HTTPS host that publishes CA certificates for a name (draft-wilson-dane-pkix-cd section 3.5).

    The underscore of the rightmost underscore label is dropped, and all that stands left of it:
    `a1.camera._device.example.net` gives `device.example.net`. None for a name without such a label, or with
    nothing left of it.
    """
    domain = identity_domain(name)
    return domain[1:] if domain.startswith("_") and domain != name else None
