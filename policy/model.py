"""The content of a policy file as pydantic models. Errors name the key, what was found and what is expected."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|h|d)?\Z")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATTERN_LABEL = re.compile(r"[a-z0-9_*](?:[a-z0-9_*-]*[a-z0-9*])?\Z")
# The longest value of a RADIUS attribute (RFC 2865 section 5).
_MAX_ATTRIBUTE_OCTETS = 253


def _duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a number of seconds, or a number with s, m, h or d, is expected")
    match = _DURATION.match(str(value).strip())
    if not match:
        raise ValueError("a number of seconds, or a number with s, m, h or d (for example 8h), is expected")
    return int(match[1]) * _UNIT_SECONDS[match[2] or "s"]


def _number(value: Any) -> Any:
    # To Python, True is 1.
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    return value


def _pattern(value: str) -> str:
    if not value.isascii():
        raise ValueError("ASCII is expected; an internationalized name needs its A-labels (xn--)")
    pattern = value.lower().removesuffix(".")
    labels = pattern.split(".")
    if len(labels) < 2:
        raise ValueError("at least two labels are expected; a pattern may not cover the whole DNS")
    if len(pattern) > _MAX_ATTRIBUTE_OCTETS:
        raise ValueError(f"at most {_MAX_ATTRIBUTE_OCTETS} octets are expected")
    for position, label in enumerate(labels):
        if label == "**":
            if position != 0:
                raise ValueError("'**' (any number of labels) is expected at the left end only")
        elif "**" in label or not 1 <= len(label) <= 63 or not _PATTERN_LABEL.match(label):
            raise ValueError(f"label {label!r}: letters, digits, '-', '_' and '*' (within one label) are expected")
    if any("*" in label for label in labels[-2:]):
        raise ValueError("the two rightmost labels are expected without '*': a pattern must name an organization")
    return pattern


def _text(value: str) -> str:
    if not 1 <= len(value.encode()) <= _MAX_ATTRIBUTE_OCTETS or not value.isprintable():
        raise ValueError(f"1 to {_MAX_ATTRIBUTE_OCTETS} printable octets are expected")
    return value


def _nas(value: str) -> str:
    if "/" in value or re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*", value):
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise ValueError(f"a NAS-Identifier, an IP address or a network is expected ({error})") from error
    return _text(value)


def _vlan(value: int | str) -> int | str:
    if isinstance(value, int):
        if not 1 <= value <= 4094:
            raise ValueError("a VLAN ID from 1 to 4094 is expected (RFC 3580 section 3.31)")
        return value
    if value.isdigit():
        raise ValueError("a VLAN ID without quotes, or a VLAN name with at least one letter, is expected")
    return _text(value)


Duration = Annotated[int, BeforeValidator(_duration)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Text = Annotated[str, AfterValidator(_text)]
Nas = Annotated[str, AfterValidator(_nas)]
Vlan = Annotated[int | str, AfterValidator(_vlan)]
RuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Mode = Literal["enforce", "monitor"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NetworkModel(_Model):
    """A network that devices join. Every given key must match; within a list, one entry is enough."""

    ssid: list[Text] | None = Field(default=None, min_length=1)
    nas: list[Nas] | None = Field(default=None, min_length=1)
    wired: bool | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> NetworkModel:
        if self.ssid is None and self.nas is None and self.wired is None:
            raise ValueError("at least one of ssid, nas, wired is expected")
        return self


# A packet has at most 4096 octets (RFC 2865 section 3), which also contain EAP, keys and the other attributes.
MAX_FILTER_RULES_OCTETS = 3_000


class GrantModel(_Model):
    """The access that a rule gives."""

    vlan: Vlan | None = None
    filter_id: Text | None = None
    nas_filter_rules: list[Text] = Field(default_factory=list)
    session_timeout: Annotated[Duration, Field(ge=60, le=604800)] = 28800
    idle_timeout: Annotated[Duration, Field(ge=10, le=604800)] | None = None
    reauthenticate: bool = True
    class_: Text | None = Field(default=None, alias="class")

    @model_validator(mode="after")
    def _filter_rules_fit(self) -> GrantModel:
        """FreeRADIUS silently omits attributes that exceed the packet.

        The device would then have fewer filters than the policy says.
        """
        total = sum(len(rule.encode("utf-8")) for rule in self.nas_filter_rules)
        if total > MAX_FILTER_RULES_OCTETS:
            raise ValueError(
                f"nas_filter_rules of {total} octets in all, at most {MAX_FILTER_RULES_OCTETS} expected: "
                "FreeRADIUS omits what does not fit into the packet"
            )
        return self


class RuleModel(_Model):
    """One rule. The first rule whose identity and network match decides."""

    name: RuleName
    identity: list[Pattern] = Field(min_length=1)
    networks: list[str] | None = Field(default=None, min_length=1)
    require: Literal["any", "no_ca", "pkix", "dane_ee"] = "any"
    pkix_cd: bool = False
    mode: Mode | None = None
    deny: bool = False
    grant: GrantModel | None = None

    @model_validator(mode="after")
    def _grant_or_deny(self) -> RuleModel:
        if self.deny and self.grant is not None:
            raise ValueError("grant found beside deny: true; one of the two is expected")
        if not self.deny and self.grant is None:
            raise ValueError("grant (or deny: true) is expected")
        return self


class SessionModel(_Model):
    """Limits on every Session-Timeout, so that an admission does not outlive its DNS answer."""

    # Session-Timeout is at most the validated TTL times this. With 1, a session never outlives its TLSA answer.
    ttl_factor: Annotated[int, Field(ge=1, le=1000)] = 12
    # The lower bound of that limit: with a TTL of a few seconds, devices would re-authenticate constantly.
    minimum: Annotated[Duration, Field(ge=30, le=86400)] = 60


class QuarantineModel(_Model):
    """Known devices that are admitted into quarantine only, whatever their rule grants."""

    identity: list[Pattern] = Field(min_length=1)
    grant: GrantModel


class PolicyModel(_Model):
    """A policy file."""

    version: Annotated[Literal[1], BeforeValidator(_number)]
    mode: Mode = "enforce"
    session: SessionModel = SessionModel()
    networks: dict[RuleName, NetworkModel] = Field(default_factory=dict)
    quarantine: QuarantineModel | None = None
    rules: list[RuleModel]

    @model_validator(mode="after")
    def _references(self) -> PolicyModel:
        seen: set[str] = set()
        for position, rule in enumerate(self.rules):
            if rule.name in seen:
                raise ValueError(f"rules[{position}].name: duplicate {rule.name!r}; unique names are expected")
            seen.add(rule.name)
            for network in rule.networks or ():
                if network not in self.networks:
                    known = ", ".join(sorted(self.networks)) or "none is defined"
                    raise ValueError(
                        f"rules[{position}].networks: {network!r} found; one of networks is expected ({known})"
                    )
        return self
