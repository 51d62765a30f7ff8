"""Version 2 of the policy language."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from policy.facts import PORT_TYPES
from policy.model.fields import FullModel, Mode, Name, Nas, Pattern, Require, RuleName, Text, Vlan, version
from policy.model.times import LocalTime, Timezone, WhenModel
from policy.model.version_1 import SessionModel
from policy.model.zones import StandingModel, ZoneModel

StandingName = Literal["normal", "watched", "quarantined", "blocked", "pending"]
RuleStanding = Literal["normal", "watched", "quarantined", "pending"]
Note = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _list_path(value: str) -> str:
    if not value or "\0" in value or not value.isprintable():
        raise ValueError("the path of a file, relative to the policy file, is expected")
    return value


def _terms(value: str) -> str:
    if not value.startswith("https://") or not value.isprintable() or " " in value or len(value) > 500:
        raise ValueError("an address that begins with https:// is expected")
    return value


def _port_type(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in PORT_TYPES:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return value
    raise ValueError("a NAS-Port-Type is expected, by name (for example Wireless-802.11, Ethernet) or number")


PortType = Annotated[int | str, BeforeValidator(_port_type)]


class NetworkModel(FullModel):
    """A network that devices join. Every given key must match; within a list, one entry is enough."""

    ssid: list[Text] | None = Field(default=None, min_length=1)
    nas: list[Nas] | None = Field(default=None, min_length=1)
    wired: bool | None = None
    port_types: list[PortType] | None = Field(default=None, min_length=1)
    realms: list[Name] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _not_empty(self) -> NetworkModel:
        if all(getattr(self, key) is None for key in ("ssid", "nas", "wired", "port_types", "realms")):
            raise ValueError("at least one of ssid, nas, wired, port_types, realms is expected")
        return self


class ConditionsModel(FullModel):
    """What the rules of every section may ask for besides the name."""

    networks: list[str] | None = Field(default=None, min_length=1)
    when: WhenModel | None = None
    require: Require = "any"
    pkix_cd: bool = False
    mode: Mode | None = None
    standing: list[RuleStanding] | None = Field(default=None, min_length=1)
    approval: Literal["required"] | None = None


_ONE_OF_THE_RULE: dict[str, Any] = {
    "allOf": [
        {"anyOf": [{"required": [key]} for key in ("identity", "domains", "devices", "default")]},
        {"anyOf": [{"required": [key]} for key in ("zone", "refuse")]},
    ]
}


class RuleModel(ConditionsModel):
    """One rule. The first rule that matches in everything that it names decides."""

    model_config = ConfigDict(json_schema_extra=_ONE_OF_THE_RULE)

    name: RuleName
    description: Note | None = None
    default: bool = False
    devices: str | None = None
    identity: list[Pattern] | None = Field(default=None, min_length=1)
    domains: list[Name] | None = Field(default=None, min_length=1)
    zone: RuleName | None = None
    refuse: bool | Text = False

    @model_validator(mode="after")
    def _is_complete(self) -> RuleModel:
        if self.refuse is not False and self.zone is not None:
            raise ValueError("zone found beside refuse; one of the two is expected")
        if self.refuse is False and self.zone is None:
            raise ValueError("zone (or refuse: true) is expected")
        if self.refuse is not False and self.approval is not None:
            raise ValueError("approval found beside refuse; a zone is expected with it")
        if self.default:
            for key in ("identity", "domains", "devices", "networks", "when", "standing"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} found beside default: true; the default is for every name and place")
        elif self.identity is None and self.domains is None and self.devices is None:
            raise ValueError("at least one of identity, domains, devices (or default: true) is expected")
        return self


class GrantModel(ConditionsModel):
    """A cross-domain grant: devices of another organization that may join."""

    name: RuleName | None = None
    identity: list[Pattern] = Field(min_length=1)
    domains: list[Name] | None = Field(default=None, min_length=1)
    zone: RuleName
    since: LocalTime | None = None
    until: LocalTime | None = None
    note: Note | None = None


class RoamingModel(ConditionsModel):
    """Organizations whose devices are welcome as guests, with the terms."""

    name: RuleName | None = None
    domains: list[Name] = Field(min_length=1)
    zone: RuleName
    terms: Annotated[str, AfterValidator(_terms)] | None = None
    since: LocalTime | None = None
    until: LocalTime | None = None
    note: Note | None = None


class ExpectModel(FullModel):
    """The expected result of an example case: access by what is named, or a refusal for a reason."""

    zone: RuleName | None = None
    rule: RuleName | None = None
    vlan: Vlan | None = None
    refuse: Annotated[str, StringConstraints(pattern=r"^[a-z_]{3,40}$")] | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> ExpectModel:
        if not self.model_fields_set:
            raise ValueError("at least one of zone, rule, vlan, refuse is expected")
        if self.refuse is not None and (self.zone is not None or self.vlan is not None):
            raise ValueError("zone or vlan found beside refuse; one of the two is expected")
        return self


class CaseModel(FullModel):
    """An example case: a device in a network, and what it is expected to get."""

    name: Note
    device: Name
    network: str | None = None
    ssid: Text | None = None
    nas: Text | None = None
    port_type: Text | None = None
    realm: Name | None = None
    at: LocalTime | None = None
    standing: StandingName = "normal"
    approved: bool = False
    expect: Literal["refuse"] | ExpectModel

    @model_validator(mode="after")
    def _one_place(self) -> CaseModel:
        if self.network is not None and any((self.ssid, self.nas, self.port_type, self.realm)):
            raise ValueError("network found beside ssid, nas, port_type or realm; one of the two ways is expected")
        return self


class PolicyModel(FullModel):
    """A policy file of version 2."""

    version: Annotated[Literal[2], BeforeValidator(version)]
    mode: Mode = "enforce"
    session: SessionModel = SessionModel()
    cui: Literal["never", "when_asked", "always"] = "when_asked"
    timezone: Timezone = "UTC"
    networks: dict[RuleName, NetworkModel] = Field(default_factory=dict)
    device_lists: dict[RuleName, Annotated[str, AfterValidator(_list_path)]] = Field(default_factory=dict)
    zones: dict[RuleName, ZoneModel] = Field(default_factory=dict)
    standing: StandingModel = StandingModel()
    rules: list[RuleModel]
    grants: list[GrantModel] = Field(default_factory=list)
    roaming: list[RoamingModel] = Field(default_factory=list)
    tests: list[CaseModel] = Field(default_factory=list)
