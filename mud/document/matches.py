"""The conditions of an access control entry (RFC 8519, RFC 8520, RFC 9761), as the file has them.

All members that YANG permits are here, so that a valid file is read. The compiler says which it supports.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mud.document.tls_profile import ClientProfiles
from mud.document.yang_types import (
    Binary,
    Empty,
    Ethertype,
    Host,
    HttpsUrl,
    Ipv4Prefix,
    Ipv6Prefix,
    Mac,
    Uint8,
    Uint16,
    Uint32,
    Uri,
    YangModel,
    bits,
)

Dscp = Annotated[int, Field(ge=0, le=63)]
Ecn = Annotated[int, Field(ge=0, le=3)]


def _tcp_options(text: str) -> str:
    if not 1 <= len(base64.b64decode(text)) <= 40:
        raise ValueError("1 to 40 octets are expected")
    return text


IpFlags = Annotated[str, bits("reserved", "fragment", "more")]
TcpFlags = Annotated[str, bits("cwr", "ece", "urg", "ack", "psh", "rst", "syn", "fin")]
DirectionWord = Literal["from-device", "to-device"]


class Eth(YangModel):
    """The Ethernet header."""

    destination_mac_address: Mac | None = None
    destination_mac_address_mask: Mac | None = None
    source_mac_address: Mac | None = None
    source_mac_address_mask: Mac | None = None
    ethertype: Ethertype | None = None


class IpHeader(YangModel):
    """What IPv4 and IPv6 have in common."""

    dscp: Dscp | None = None
    ecn: Ecn | None = None
    length: Uint16 | None = None
    ttl: Uint8 | None = None
    protocol: Uint8 | None = None
    src_dnsname: Host | None = Field(default=None, alias="ietf-acldns:src-dnsname")
    dst_dnsname: Host | None = Field(default=None, alias="ietf-acldns:dst-dnsname")


class Ipv4(IpHeader):
    """The IPv4 header."""

    ihl: Annotated[int, Field(ge=5, le=60)] | None = None
    flags: IpFlags | None = None
    offset: Annotated[int, Field(ge=20, le=0xFFFF)] | None = None
    identification: Uint16 | None = None
    destination_ipv4_network: Ipv4Prefix | None = None
    source_ipv4_network: Ipv4Prefix | None = None


class Ipv6(IpHeader):
    """The IPv6 header."""

    destination_ipv6_network: Ipv6Prefix | None = None
    source_ipv6_network: Ipv6Prefix | None = None
    flow_label: Annotated[int, Field(ge=0, le=1048575)] | None = None


class Port(YangModel):
    """A port with an operator, or a range of ports. Without any member, every port."""

    operator: Literal["lte", "gte", "eq", "neq"] | None = None
    port: Uint16 | None = None
    lower_port: Uint16 | None = None
    upper_port: Uint16 | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Port:
        single = self.operator is not None or self.port is not None
        ranged = self.lower_port is not None or self.upper_port is not None
        if single and ranged:
            raise ValueError("port or lower-port and upper-port are expected, found both")
        if single and self.port is None:
            raise ValueError("operator without port")
        if self.lower_port is None or self.upper_port is None:
            if ranged:
                raise ValueError("lower-port and upper-port are expected together")
        elif self.lower_port > self.upper_port:
            raise ValueError("lower-port is greater than upper-port")
        return self


class Tcp(YangModel):
    """The TCP header, and who opened the connection."""

    sequence_number: Uint32 | None = None
    acknowledgement_number: Uint32 | None = None
    data_offset: Annotated[int, Field(ge=5, le=15)] | None = None
    reserved: Uint8 | None = None
    flags: TcpFlags | None = None
    window_size: Uint16 | None = None
    urgent_pointer: Uint16 | None = None
    options: Annotated[Binary, AfterValidator(_tcp_options)] | None = None
    source_port: Port | None = None
    destination_port: Port | None = None
    direction_initiated: DirectionWord | None = Field(default=None, alias="ietf-mud:direction-initiated")


class Udp(YangModel):
    """The UDP header."""

    length: Uint16 | None = None
    source_port: Port | None = None
    destination_port: Port | None = None


class Icmp(YangModel):
    """The header of ICMP or ICMPv6."""

    type: Uint8 | None = None
    code: Uint8 | None = None
    rest_of_header: Binary | None = None


class MudMatches(YangModel):
    """The abstractions of RFC 8520 section 4. All that are given must hold."""

    manufacturer: Host | None = None
    same_manufacturer: Empty = False
    model: HttpsUrl | None = None
    local_networks: Empty = False
    controller: Uri | None = None
    my_controller: Empty = False


class Matches(YangModel):
    """The conditions of one entry. All that are given must hold; without any, every packet matches."""

    eth: Eth | None = None
    ipv4: Ipv4 | None = None
    ipv6: Ipv6 | None = None
    tcp: Tcp | None = None
    udp: Udp | None = None
    icmp: Icmp | None = None
    mud: MudMatches | None = Field(default=None, alias="ietf-mud:mud")
    client_profiles: ClientProfiles | None = Field(default=None, alias="ietf-acl-tls:client-profiles")

    @model_validator(mode="after")
    def _choices(self) -> Matches:
        if self.ipv4 is not None and self.ipv6 is not None:
            raise ValueError("ipv4 or ipv6 is expected, found both")
        if sum(part is not None for part in (self.tcp, self.udp, self.icmp)) > 1:
            raise ValueError("one of tcp, udp and icmp is expected, found several")
        return self
