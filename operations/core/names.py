"""Names of devices and of their makers. Pure.

Names are kept as DNS names: in lower case, as A-labels, without a trailing dot. A name is valid here exactly if a
RADIUS node takes it (`dane_radius.core.normalize`): a node that is told of another one would drop what is said of it.
"""

from __future__ import annotations

import re

from web_service.core import Reason, Refused

# RFC 1035 section 3.1: 255 octets on the wire are 253 characters of text.
MAX_NAME = 253
_LABEL = re.compile(r"_?[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\Z")


def parse_name(text: str, field: str = "name") -> str:
    """A device's name, or the domain of a maker. Raises Refused."""
    name = text.removesuffix(".").lower()
    labels = name.split(".")
    # isascii() is asked about the original text: lower-casing turns U+212A, the Kelvin sign, into an ASCII k.
    if not text.isascii() or len(labels) < 2 or len(name) > MAX_NAME:
        raise _invalid(field, text, f"an ASCII DNS name of at least two labels and at most {MAX_NAME} characters")
    for label in labels:
        if len(label) > 63 or not _LABEL.match(label):
            raise _invalid(field, text, "labels of letters, digits and hyphens, after an underscore or without")
        if label.startswith("xn--") and not _is_a_label(label):
            raise _invalid(field, text, "A-labels (RFC 5890) for the labels that begin with xn--")
    # Parsers (WHATWG, inet_aton) read such a name as an IPv4 address.
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise _invalid(field, text, "a DNS name, not an IP address")
    return name


def _is_a_label(label: str) -> bool:
    """Whether an encoder produces this label: of one U-label there is one valid encoding (RFC 5890 section 2.3.2.1)."""
    try:
        unicode = label.removeprefix("xn--").encode().decode("punycode")
        return not unicode.isascii() and unicode.isprintable() and f"xn--{unicode.encode('punycode').decode()}" == label
    except (ValueError, OverflowError):
        return False


def _invalid(field: str, found: str, expected: str) -> Refused:
    return Refused(Reason.INVALID_NAME, f"{field}: found {found[:80]!r}, expected {expected}", field=field)


def maker_of(name: str) -> str:
    """The domain of the organization that a device's name belongs to: `example.net` of `a1.camera._device.example.net`.

    It is what follows the rightmost label with an underscore; without one, the parent of the name. It is what policy
    calls the domain of a name.
    """
    labels = name.split(".")
    if len(labels) <= 2:
        return name
    for index in range(len(labels) - 2, 0, -1):
        if labels[index].startswith("_"):
            return ".".join(labels[index + 1 :])
    return ".".join(labels[1:])


def approvable_maker(name: str) -> str:
    """The maker of a device, if it can be approved. Raises Refused.

    The name of some makers is no valid one: `lan` of `a1._device.lan`. Nobody owns it, and no node would take it.
    """
    return parse_name(maker_of(name), "maker")


def type_of(name: str) -> str | None:
    """The kind of device that a name says, such as `camera`: the second label of `<label>.<type>._device.<domain>`."""
    labels = name.split(".")
    if len(labels) > 3 and labels[2] == "_device":
        return labels[1]
    return None
