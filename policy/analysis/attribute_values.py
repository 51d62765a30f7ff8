"""The types of RADIUS attributes, and which text each one takes as a value (FreeRADIUS 3.2, `man dictionary`)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

_NUMBER = re.compile(r"(?:0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)\Z")
_HEX = re.compile(r"0[xX](?:[0-9a-fA-F]{2})*\Z")
_INTERFACE_ID = re.compile(r"[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){3}\Z")
_ETHERNET = re.compile(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}\Z")


@dataclass(frozen=True, slots=True)
class AttributeType:
    """A type of attribute. `expects` says which text it takes, and `takes` tests a text.

    `size`: the octets of its values, None for those whose text says. `settable`: whether a value can be given as text.
    """

    name: str
    expects: str
    takes: Callable[[str], bool]
    size: int | None = None
    settable: bool = True
    enumerated: bool = False

    def wrong(self, value: str) -> str | None:
        """What is expected instead of `value`; None if the value is right."""
        return None if self.takes(value) else self.expects

    def octets(self, value: str) -> int:
        """The octets of this value in a packet."""
        if self.size is not None:
            return self.size
        if self.name.startswith("octets") and _HEX.match(value):
            return len(value) // 2 - 1
        if self.name == "combo-ip":
            return 16 if ":" in value else 4
        return len(value.encode())


def _number(bits: int) -> Callable[[str], bool]:
    return lambda value: bool(_NUMBER.match(value)) and int(value, 0) < 2**bits


def _signed(value: str) -> bool:
    digits = value.removeprefix("-")
    return bool(_NUMBER.match(digits)) and -(2**31) <= int(value, 0) < 2**31


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def takes(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return takes


def _any(_: str) -> bool:
    return True


def _never(_: str) -> bool:
    return False


def _prefix(parse: Callable[[str], object]) -> Callable[[str], bool]:
    return lambda value: "/" in value and _parses(parse)(value)


def _unsigned(name: str, bits: int) -> AttributeType:
    return AttributeType(name, f"a number from 0 to {2**bits - 1}", _number(bits), size=bits // 8, enumerated=True)


_ADDRESS4, _ADDRESS6 = _parses(ipaddress.IPv4Address), _parses(ipaddress.IPv6Address)

TYPES: dict[str, AttributeType] = {
    kind.name: kind
    for kind in (
        AttributeType("string", "text", _any),
        AttributeType("octets", "text, or 0x and hexadecimal digits", lambda v: not v.startswith("0x") or _is_hex(v)),
        AttributeType("abinary", "a filter", _any),
        _unsigned("byte", 8),
        _unsigned("short", 16),
        _unsigned("integer", 32),
        _unsigned("integer64", 64),
        AttributeType("signed", "a number of 32 bits with its sign", _signed, size=4, enumerated=True),
        AttributeType("date", "seconds since 1970", _number(32), size=4),
        AttributeType("ipaddr", "an IPv4 address", _ADDRESS4, size=4),
        AttributeType("ipv6addr", "an IPv6 address", _ADDRESS6, size=16),
        AttributeType("combo-ip", "an IPv4 or IPv6 address", lambda v: _ADDRESS4(v) or _ADDRESS6(v)),
        AttributeType("ipv4prefix", "an IPv4 prefix, such as 192.0.2.0/24", _prefix(ipaddress.IPv4Network), size=6),
        AttributeType("ipv6prefix", "an IPv6 prefix, such as 2001:db8::/64", _prefix(ipaddress.IPv6Network), size=18),
        AttributeType("ifid", "four groups of hexadecimal digits, with ':'", lambda v: bool(_INTERFACE_ID.match(v)), 8),
        AttributeType("ether", "six pairs of hexadecimal digits, with ':'", lambda v: bool(_ETHERNET.match(v)), 6),
        *(
            AttributeType(name, "no value", _never, settable=False)
            for name in ("tlv", "vsa", "evs", "extended", "long-extended")
        ),
    )
}
_OTHER_NAMES = {"uint8": "byte", "uint16": "short", "uint32": "integer", "uint64": "integer64", "int32": "signed"}


def _is_hex(value: str) -> bool:
    return bool(_HEX.match(value))


def type_of(text: str) -> AttributeType:
    """The type that a dictionary names. Raises KeyError for an unknown one."""
    name = text.lower()
    name = _OTHER_NAMES.get(name, name)
    if name.startswith("octets["):
        return _fixed_octets(name, int(name.removeprefix("octets[").removesuffix("]")))
    return TYPES[name]


def _fixed_octets(name: str, size: int) -> AttributeType:
    return AttributeType(
        name, f"0x and {2 * size} hexadecimal digits", lambda v: _is_hex(v) and len(v) == 2 + 2 * size, size=size
    )
