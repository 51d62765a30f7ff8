"""A policy ready for use: immutable, indexed by domain, without I/O. Every authentication evaluates it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAC_AND_SSID = re.compile(r"(?:[0-9A-Fa-f]{2}[-:]?){5}[0-9A-Fa-f]{2}(?::(?P<ssid>.*))?\Z", re.DOTALL)


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
    """The operator's classification of a known device."""

    NORMAL = "normal"
    QUARANTINED = "quarantined"


class RequestFacts(NamedTuple):
    """What the NAS says about a request. The NAS is trusted; what it repeats from the device is not."""

    ssid: str | None = None
    nas_identifier: str | None = None
    nas_address: str | None = None
    nas_port_type: str | None = None
    calling_station_id: str | None = None
    wants_cui: bool = False

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


@dataclass(frozen=True, slots=True)
class Network:
    """A named network, compiled from the policy file."""

    name: str
    ssids: tuple[re.Pattern[str], ...] | None
    nas_identifiers: tuple[re.Pattern[str], ...]
    nas_networks: tuple[IpNetwork, ...]
    checks_nas: bool
    wired: bool | None

    def matches(self, request: RequestFacts) -> bool:
        if self.wired is not None and request.wired != self.wired:
            return False
        # `*` matches any SSID, but not a missing one.
        if self.ssids is not None and not (request.ssid and any(p.match(request.ssid) for p in self.ssids)):
            return False
        return not self.checks_nas or self._matches_nas(request)

    def _matches_nas(self, request: RequestFacts) -> bool:
        if request.nas_identifier and any(p.match(request.nas_identifier) for p in self.nas_identifiers):
            return True
        if not request.nas_address or not self.nas_networks:
            return False
        address = _address(request.nas_address)
        return address is not None and any(address in network for network in self.nas_networks)


@lru_cache(maxsize=4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Grant:
    """The access that a rule gives. Times are seconds."""

    vlan: int | str | None = None
    filter_id: str | None = None
    nas_filter_rules: tuple[str, ...] = ()
    session_timeout: int = 28800
    idle_timeout: int | None = None
    reauthenticate: bool = True
    class_: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. `grant` is None for a rule that denies."""

    name: str
    patterns: tuple[str, ...]
    networks: tuple[Network, ...] | None
    require: Strength
    allow_pkix_cd: bool
    monitor: bool
    grant: Grant | None

    def serves(self, request: RequestFacts) -> bool:
        return self.networks is None or any(network.matches(request) for network in self.networks)


@dataclass(frozen=True, slots=True)
class Match:
    """What a policy says about a name in a network, before any DNS query.

    `rule` is None in two cases: no rule covers the name (`named` is False), or rules cover the name but not the
    network (`named` is True).
    """

    rule: Rule | None
    named: bool
    standing: Standing = Standing.NORMAL
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class IdentityPattern:
    """A pattern for device names: `*` within a label, `**` as the leftmost label for one or more labels."""

    text: str
    suffix: str
    labels: tuple[re.Pattern[str] | None, ...]
    deep: bool

    @classmethod
    def compile(cls, text: str) -> IdentityPattern:
        labels = text.split(".")
        fixed = len(labels)
        while fixed > 0 and "*" not in labels[fixed - 1]:
            fixed -= 1
        deep = labels[0] == "**"
        variable = labels[1:fixed] if deep else labels[:fixed]
        return cls(text, ".".join(labels[fixed:]), tuple(_glob(label) for label in variable), deep)

    def matches(self, name: str) -> bool:
        if not self.suffix:
            return False
        if not self.labels and not self.deep:
            return name == self.suffix
        if not name.endswith("." + self.suffix):
            return False
        rest = name[: -len(self.suffix) - 1].split(".")
        if self.deep:
            if len(rest) <= len(self.labels):
                return False
            rest = rest[len(rest) - len(self.labels) :]
        elif len(rest) != len(self.labels):
            return False
        return all(p is None or p.match(label) for p, label in zip(self.labels, rest, strict=True))


def _glob(label: str) -> re.Pattern[str] | None:
    return None if label == "*" else compile_glob(label)


def compile_glob(text: str) -> re.Pattern[str]:
    """A whole-string pattern in which `*` stands for any characters, and everything else for itself."""
    first, *rest = (re.escape(part) for part in text.split("*"))
    if not rest:
        return re.compile(first + r"\Z", re.DOTALL)
    # An atomic group fixes each part between two stars at its first match. The device chooses the text, so backtracking
    # would let it choose how long the matching takes.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}\\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Indexed:
    order: int
    pattern: IdentityPattern


@dataclass(frozen=True, eq=False)
class Policy:
    """A valid policy. `rules` are in the file's order. The first one that matches name and network decides."""

    rules: tuple[Rule, ...]
    monitor: bool = False
    ttl_factor: int = 12
    minimum_session: int = 60
    quarantine: tuple[IdentityPattern, ...] = ()
    quarantine_grant: Grant | None = None
    source: str = "(none)"
    digest: str = ""
    _index: dict[str, list[_Indexed]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for order, rule in enumerate(self.rules):
            for text in rule.patterns:
                pattern = IdentityPattern.compile(text)
                self._index.setdefault(pattern.suffix, []).append(_Indexed(order, pattern))

    def _rules_for(self, name: str) -> list[Rule]:
        """The rules whose identity covers `name`, in order. Costs one dictionary access for each label of the name."""
        found = set()
        suffix = name
        while True:
            for entry in self._index.get(suffix, ()):
                if entry.order not in found and entry.pattern.matches(name):
                    found.add(entry.order)
            _, dot, suffix = suffix.partition(".")
            if not dot:
                return [self.rules[order] for order in sorted(found)]

    def could_grant(self, name: str) -> bool:
        """Whether any network would admit the name, provided that the DNS vouches for it."""
        for rule in self._rules_for(name):
            if rule.grant is not None:
                return True
            if rule.networks is None:
                # Denied everywhere: later rules never apply.
                return False
        return False

    def suffixes(self) -> list[str]:
        """The names below which rules grant access to devices, in the rules' order: the part after `*` or `**`.

        For a rule about one device, the name above the device.
        """
        found = []
        for rule in self.rules:
            for text in rule.patterns if rule.grant is not None else ():
                suffix = IdentityPattern.compile(text).suffix
                found.append(suffix if "*" in text else suffix.partition(".")[2])
        return list(dict.fromkeys(suffix for suffix in found if "." in suffix))

    def allows_pkix_cd(self, name: str) -> bool:
        """Whether any rule for this name enables TLSA usage 4."""
        return any(rule.allow_pkix_cd for rule in self._rules_for(name))

    def selects(self, name: str) -> bool:
        """Whether any rule covers this name, in whatever network."""
        return bool(self._rules_for(name))

    def match(self, name: str, request: RequestFacts) -> Match:
        """The rule for a name in a network, and the device's standing. Needs no I/O and no DNS answer."""
        rules = self._rules_for(name)
        rule = next((rule for rule in rules if rule.serves(request)), None)
        if rule is None:
            return Match(None, named=bool(rules))
        if rule.grant is not None and any(pattern.matches(name) for pattern in self.quarantine):
            return Match(rule, True, Standing.QUARANTINED, self.quarantine_grant)
        return Match(rule, True, Standing.NORMAL, rule.grant)

    def is_monitored(self, rule: Rule | None) -> bool:
        """Whether a refusal is only reported. Without a rule, the global mode decides."""
        return self.monitor if rule is None else self.monitor or rule.monitor
