"""The YANG types that MUD files use (RFC 6991, RFC 7951, RFC 8519), as pydantic types. Stricter, never looser."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mud.findings import found
from mud.limits import MAX_LISTED_NAME, MAX_TEXT, MAX_URL

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_DATE_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})", re.ASCII)
# Each label has 1 to 63 characters.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DOMAIN_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")
_LAST_LABEL_IS_NUMBER = re.compile(r"(?:.*\.)?[0-9]+\.?", re.DOTALL)
_HTTPS_URL = re.compile(r"https://(?P<authority>[^/?#@\\]+)(?P<path>/[^?#]*)?(?:\?[^#]*)?", re.IGNORECASE)
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")

# The names that ietf-ethertypes of RFC 8519 defines.
ETHERTYPES = {
    "ipv4": 0x0800, "arp": 0x0806, "wlan": 0x0842, "trill": 0x22F3, "srp": 0x22EA, "decnet": 0x6003, "rarp": 0x8035,
    "appletalk": 0x809B, "aarp": 0x80F3, "vlan": 0x8100, "ipx": 0x8137, "qnx": 0x8204, "ipv6": 0x86DD, "efc": 0x8808,
    "esp": 0x8809, "cobranet": 0x8819, "mpls-unicast": 0x8847, "mpls-multicast": 0x8848, "pppoe-discovery": 0x8863,
    "pppoe-session": 0x8864, "intel-ans": 0x886D, "jumbo-frames": 0x8870, "homeplug": 0x887B, "eap": 0x888E,
    "profinet": 0x8892, "hyperscsi": 0x889A, "aoe": 0x88A2, "ethercat": 0x88A4, "provider-bridging": 0x88A8,
    "ethernet-powerlink": 0x88AB, "goose": 0x88B8, "gse": 0x88B9, "sv": 0x88BA, "lldp": 0x88CC, "sercos": 0x88CD,
    "wsmp": 0x88DC, "homeplug-av-mme": 0x88E1, "mrp": 0x88E3, "macsec": 0x88E5, "pbb": 0x88E7, "cfm": 0x8902,
    "fcoe": 0x8906, "fcoe-ip": 0x8914, "roce": 0x8915, "tte": 0x891D, "hsr": 0x892F,
}  # fmt: skip


class YangModel(BaseModel):
    """A container of the YANG modules: member names with hyphens, no other members, no conversions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=lambda name: name.replace("_", "-")
    )

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        """JSON's null is no value of YANG. Read as an absent member, it would remove a condition."""
        if isinstance(value, dict) and None in value.values():
            names = ", ".join(found(name) for name, inner in value.items() if inner is None)
            raise ValueError(f"null found as the value of {names}")
        return value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("text without control and formatting characters is expected")
    return text


def _url_text(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a URI in ASCII is expected")
    return text


def _https_url(text: str) -> str:
    if not _HTTPS_URL.fullmatch(text):
        raise ValueError("an https URL without user name and fragment is expected")
    authority_of(text)
    return text


def authority_of(url: str) -> str:
    """The authority of an https URL in lower case, without the default port (RFC 3986 section 6.2.3).

    Raises ValueError for another URL.
    """
    match = _HTTPS_URL.fullmatch(url)
    if match is None:
        raise ValueError("an https URL is expected")
    host, separator, port = match["authority"].lower().rpartition(":")
    if not separator or (host.startswith("[") and not host.endswith("]")):
        host, port = match["authority"].lower(), ""
    elif not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535):
        raise ValueError("a port number is expected after the host")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (normal_host(bare).count(":") > 0) != (bare != host):
        raise ValueError("a host is expected, an IPv6 address in brackets")
    return host if port in ("", "443") else f"{host}:{int(port)}"


def normal_host(text: str) -> str:
    """A host (RFC 6991 inet:host) in its one form: a name in lower case without final dot, or an address.

    Raises ValueError.
    """
    address = _address(text)
    if address is not None:
        return str(address)
    if len(text) > 253 or not _DOMAIN_NAME.fullmatch(text):
        raise ValueError("a DNS name or an IP address is expected")
    # A resolver takes 010.0.0.1 or 3232235777 for an address, and not always for the same one.
    if _LAST_LABEL_IS_NUMBER.fullmatch(text):
        raise ValueError("a DNS name whose last label is no number is expected")
    return text.lower().removesuffix(".")


def _address(text: str) -> IpAddress | None:
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _prefix(text: Any, version: int) -> IpNetwork:
    if not isinstance(text, str):
        raise ValueError("a string is expected")
    address, separator, length = text.partition("/")
    parsed = _address(address)
    if parsed is None or parsed.version != version or not separator or not _PREFIX_LENGTH.fullmatch(length):
        raise ValueError(f"an IPv{version} address, / and a prefix length are expected")
    # RFC 6991: bits after the prefix are set to zero in the canonical form.
    return ipaddress.ip_network((parsed, int(length)), strict=False)


def _empty(value: Any) -> bool:
    if value != [None]:
        raise ValueError("[null] is expected")
    return True


def _date_and_time(value: Any) -> dt.datetime:
    if not isinstance(value, str) or not _DATE_AND_TIME.fullmatch(value):
        raise ValueError("a date and time with its zone, as in 2026-01-31T12:00:00Z, is expected")
    return dt.datetime.fromisoformat(value)


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise ValueError("a MAC address is expected")
    return text.lower()


def _ethertype(value: Any) -> int:
    if isinstance(value, str) and value in ETHERTYPES:
        return ETHERTYPES[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF:
        return value
    raise ValueError("a number up to 65535 or a name of ietf-ethertypes is expected")


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError("base64 is expected") from error
    return text


def identity(module: str, *names: str) -> BeforeValidator:
    """One of `names`, with or without the module that defines it (RFC 7951 section 6.8)."""

    def check(value: Any) -> str:
        bare = value.removeprefix(f"{module}:") if isinstance(value, str) else ""
        if bare not in names:
            raise ValueError(f"one of {', '.join(names)} is expected")
        return bare

    return BeforeValidator(check)


def bits(*names: str) -> AfterValidator:
    """YANG bits (RFC 7951 section 6.5): names with one space between them, each at most once."""

    def check(text: str) -> str:
        words = text.split(" ") if text else []
        if len(set(words)) != len(words) or not set(words) <= set(names):
            raise ValueError(f"some of {', '.join(names)} are expected")
        return text

    return AfterValidator(check)


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_printable)]
ListedName = Annotated[str, Field(min_length=1, max_length=MAX_LISTED_NAME), AfterValidator(_printable)]
Uri = Annotated[str, Field(min_length=1, max_length=MAX_URL), AfterValidator(_url_text)]
HttpsUrl = Annotated[Uri, AfterValidator(_https_url)]
Host = Annotated[str, AfterValidator(normal_host)]
Ipv4Prefix = Annotated[ipaddress.IPv4Network, BeforeValidator(lambda value: _prefix(value, 4))]
Ipv6Prefix = Annotated[ipaddress.IPv6Network, BeforeValidator(lambda value: _prefix(value, 6))]
# A leaf of type empty: absent or [null].
Empty = Annotated[bool, BeforeValidator(_empty)]
DateAndTime = Annotated[dt.datetime, BeforeValidator(_date_and_time)]
Mac = Annotated[str, AfterValidator(_mac)]
Ethertype = Annotated[int, BeforeValidator(_ethertype)]
Binary = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_base64)]
Uint8 = Annotated[int, Field(ge=0, le=0xFF)]
Uint16 = Annotated[int, Field(ge=0, le=0xFFFF)]
Uint32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]


def unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A leaf-list of configuration has each value once (RFC 7950 section 7.7)."""
    if len(set(values)) != len(values):
        raise ValueError("each value once is expected")
    return values


def listing(**limits: Any) -> Any:
    """The field settings of a JSON array that becomes a tuple. Its items stay strict."""
    return Field(strict=False, **limits)
