"""What a decision of policy is about: the request, the device's standing, and the strength of its TLSA records."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

_MAC_AND_SSID = re.compile(r"(?:[0-9A-Fa-f]{2}[-:]?){5}[0-9A-Fa-f]{2}(?::(?P<ssid>.*))?\Z", re.DOTALL)


# NAS-Port-Type (RFC 2865 section 5.41 and IANA's registry), by the names of FreeRADIUS's dictionary.
PORT_TYPES = {
    "async": 0, "sync": 1, "isdn": 2, "isdn-v120": 3, "isdn-v110": 4, "virtual": 5, "piafs": 6,
    "hdlc-clear-channel": 7, "x.25": 8, "x.75": 9, "g.3-fax": 10, "sdsl": 11, "adsl-cap": 12, "adsl-dmt": 13,
    "idsl": 14, "ethernet": 15, "xdsl": 16, "cable": 17, "wireless-other": 18, "wireless-802.11": 19,
    "token-ring": 20, "fddi": 21, "wireless-cdma2000": 22, "wireless-umts": 23, "wireless-1x-ev": 24, "iapp": 25,
    "fttp": 26, "wireless-802.16": 27, "wireless-802.20": 28, "wireless-802.22": 29, "pppoa": 30, "pppoeoa": 31,
    "pppoeoe": 32, "pppoeovlan": 33, "pppoeoqinq": 34, "xpon": 35, "wireless-xgp": 36,
}  # fmt: skip


class Strength(StrEnum):
    """Which kinds of TLSA record a rule accepts.

    any: every usable record; no_ca: no trust in a public or foreign CA (usages 2, 3); pkix: also a valid chain
    (usages 0, 1); dane_ee: the device's own key or certificate (usage 3).
    """

    ANY = "any"
    NO_CA = "no_ca"
    PKIX = "pkix"
    DANE_EE = "dane_ee"

    def allows(self, usage: int) -> bool:
        """Whether a match by a record of this certificate usage is strong enough."""
        return usage in _USAGES[self]


_USAGES = {
    Strength.ANY: frozenset({0, 1, 2, 3, 4}),
    Strength.NO_CA: frozenset({2, 3}),
    Strength.PKIX: frozenset({0, 1}),
    Strength.DANE_EE: frozenset({3}),
}


class Standing(StrEnum):
    """The operator's classification of a device.

    watched: admitted as usual, but observed. pending: nobody has approved the device yet.
    """

    NORMAL = "normal"
    WATCHED = "watched"
    QUARANTINED = "quarantined"
    BLOCKED = "blocked"
    PENDING = "pending"


class DeviceStanding(NamedTuple):
    """What the operator has said about one device.

    approved: somebody has approved the device. zone: replaces the zone that policy has for this standing or, for a
    device in good standing, the zone of its rule. until: seconds since 1970; from then on, nothing of this
    counts. None: without end.
    """

    standing: Standing = Standing.NORMAL
    approved: bool = False
    zone: str | None = None
    until: float | None = None


class RequestFacts(NamedTuple):
    """What the NAS says about a request. The NAS is trusted; what it repeats from the device is not.

    realm: the realm of the outer identity (RFC 7542), in lower case. The device chooses it freely.
    """

    ssid: str | None = None
    nas_identifier: str | None = None
    nas_address: str | None = None
    nas_port_type: str | None = None
    calling_station_id: str | None = None
    wants_cui: bool = False
    realm: str | None = None

    @property
    def wired(self) -> bool:
        return self.nas_port_type in ("Ethernet", "15")


def ssid_of(called_station_id: str | None) -> str | None:
    """The SSID in a Called-Station-Id of the form `00-10-A4-23-19-C0:SSID` (RFC 3580 section 3.20), or None.

    None also for an SSID with a NUL octet. Many programs do not show what follows the NUL, and such an SSID must not
    pass for `iot`. FreeRADIUS writes the octet as `\\000`.
    """
    if not called_station_id or "\0" in called_station_id or "\\000" in called_station_id:
        return None
    match = _MAC_AND_SSID.match(called_station_id)
    return (match["ssid"] or None) if match else None


def port_type_number(text: str) -> str:
    """A NAS-Port-Type as a number in text, whether it was a number or a name; other text in lower case."""
    key = text.strip().lower()
    return str(PORT_TYPES[key]) if key in PORT_TYPES else key
