"""The parts of a policy, compiled from the models of a file."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from policy.facts import port_type_number
from policy.grants import Attribute, Grant, Zone
from policy.matching.globs import compile_glob
from policy.matching.networks import Network
from policy.matching.windows import DAYS, MINUTES_OF_DAY, TimeWindow, moment_of
from policy.model import version_1, version_2
from policy.model.times import WhenModel
from policy.model.zones import ZoneModel

# What a reply contains besides the attributes of a grant, in octets: header 20, User-Name 255, Session-Timeout and
# Termination-Action 12, CUI 34, EAP-Message 6, Message-Authenticator 18, two MS-MPPE keys 116. A packet has 4096.
MAX_GRANT_OCTETS = 3_000
_ALL_DAYS = frozenset(range(len(DAYS)))


class _NetworkModel(Protocol):
    @property
    def ssid(self) -> list[str] | None: ...
    @property
    def nas(self) -> list[str] | None: ...
    @property
    def wired(self) -> bool | None: ...


def timezone_of(name: str) -> tzinfo:
    """A time zone by its validated name."""
    return UTC if name == "UTC" else ZoneInfo(name)


def network_of_version_1(name: str, model: version_1.NetworkModel) -> Network:
    """A network of a file of version 1."""
    return _network(name, model, None, None)


def network_of(name: str, model: version_2.NetworkModel) -> Network:
    """A network of a file of version 2."""
    ports = None if model.port_types is None else frozenset(port_type_number(str(entry)) for entry in model.port_types)
    return _network(name, model, ports, None if model.realms is None else frozenset(model.realms))


def _network(
    name: str, model: _NetworkModel, port_types: frozenset[str] | None, realms: frozenset[str] | None
) -> Network:
    identifiers, addresses = [], []
    for entry in model.nas or ():
        try:
            addresses.append(ipaddress.ip_network(entry))
        except ValueError:
            identifiers.append(entry)
    return Network(
        name=name,
        ssids=None if model.ssid is None else tuple(compile_glob(entry) for entry in model.ssid),
        nas_identifiers=tuple(map(compile_glob, identifiers)),
        nas_networks=tuple(addresses),
        checks_nas=model.nas is not None,
        wired=model.wired,
        port_types=port_types,
        realms=realms,
        ssid_patterns=None if model.ssid is None else tuple(model.ssid),
        nas_patterns=tuple(identifiers),
    )


def grant_of_version_1(model: version_1.GrantModel) -> Grant:
    """A grant of a file of version 1."""
    return Grant(
        vlan=model.vlan,
        filter_id=model.filter_id,
        nas_filter_rules=tuple(model.nas_filter_rules),
        session_timeout=model.session_timeout,
        idle_timeout=model.idle_timeout,
        reauthenticate=model.reauthenticate,
        class_=model.class_,
    )


def zone_of(name: str, model: ZoneModel) -> Zone:
    """A zone of a file of version 2."""
    grant = Grant(
        vlan=model.vlan,
        filter_id=model.filter_id,
        nas_filter_rules=tuple(model.nas_filter_rules),
        session_timeout=model.session.timeout,
        idle_timeout=model.session.idle_timeout,
        reauthenticate=model.session.reauthenticate,
        class_=model.class_,
        attributes=tuple(_attributes(model.attributes)),
    )
    return Zone(name, model.description, grant)


def _attributes(attributes: Mapping[str, int | str | list[int | str]]) -> Iterable[Attribute]:
    for name, value in attributes.items():
        if isinstance(value, list):
            yield from ((name, "+=", str(entry)) for entry in value)
        else:
            yield name, ":=", str(value)


def window_of(
    when: WhenModel | None, timezone: str, since: datetime | None = None, until: datetime | None = None
) -> TimeWindow | None:
    """The time window of a rule. timezone: that of the file. since, until: those beside `when`, in grants."""
    zone = timezone_of((when and when.timezone) or timezone)
    if when is None:
        when = WhenModel.model_construct()
    starts = [moment_of(time, zone) for time in (since, when.since) if time is not None]
    ends = [moment_of(time, zone) for time in (until, when.until) if time is not None]
    window = TimeWindow(
        _ALL_DAYS if when.days is None else frozenset(DAYS.index(day) for day in when.days),
        when.from_ or 0,
        MINUTES_OF_DAY if when.to is None else when.to,
        zone,
        max(starts, default=None),
        min(ends, default=None),
    )
    return None if window == TimeWindow(timezone=zone) else window
