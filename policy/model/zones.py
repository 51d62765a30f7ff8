"""Zones of version 2 of the policy language, and what devices get that are not in good standing."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from policy.model.fields import Duration, FullModel, RuleName, Text, Vlan, number

# What policy sets by keys of its own, and the key.
_OWN_KEYS = {
    "session-timeout": "session.timeout",
    "idle-timeout": "session.idle_timeout",
    "termination-action": "session.reauthenticate",
    "class": "class",
    "filter-id": "filter_id",
    "nas-filter-rule": "nas_filter_rules",
    "tunnel-type": "vlan",
    "tunnel-medium-type": "vlan",
    "tunnel-private-group-id": "vlan",
    "tunnel-private-group": "vlan",
    "chargeable-user-identity": "cui",
}
# What belongs to the RADIUS server, or must not be in the reply (Reply-Message: RFC 3579 section 2.6.5).
_FORBIDDEN = frozenset(
    {
        "user-name", "user-password", "chap-password", "state", "proxy-state", "eap-message", "message-authenticator",
        "reply-message", "password-retry", "error-cause", "event-timestamp", "packet-type", "auth-type",
        "ms-mppe-send-key", "ms-mppe-recv-key", "eap-key-name", "eap-msk", "eap-emsk", "eap-session-id",
        "cleartext-password",
    }
)  # fmt: skip
_ATTRIBUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,126}(?::[0-9]{1,2})?\Z")


def _attribute(value: str) -> str:
    if not _ATTRIBUTE.match(value):
        raise ValueError("the name of an attribute, as FreeRADIUS's dictionary spells it, is expected")
    name = value.partition(":")[0].lower()
    if name in _OWN_KEYS:
        raise ValueError(f"the key {_OWN_KEYS[name]} is expected for this attribute")
    if name in _FORBIDDEN:
        raise ValueError("this attribute belongs to the RADIUS server; another one is expected")
    return value


AttributeName = Annotated[str, AfterValidator(_attribute)]
AttributeNumber = Annotated[int, BeforeValidator(number), Field(ge=-(2**63), le=2**64 - 1)]
AttributeValue = AttributeNumber | Text


class ZoneSessionModel(FullModel):
    """How long a session of the zone lasts."""

    timeout: Annotated[Duration, Field(ge=60, le=604800)] = 28800
    idle_timeout: Annotated[Duration, Field(ge=10, le=604800)] | None = None
    reauthenticate: bool = True


class ZoneModel(FullModel):
    """What devices of the zone may do, as RADIUS attributes."""

    description: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    vlan: Vlan | None = None
    filter_id: Text | None = None
    nas_filter_rules: list[Text] = Field(default_factory=list)
    attributes: dict[AttributeName, AttributeValue | Annotated[list[AttributeValue], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    session: ZoneSessionModel = ZoneSessionModel()
    class_: Text | None = Field(default=None, alias="class")


class StandingZoneModel(FullModel):
    """Where devices of a standing go."""

    zone: RuleName


class StandingRuleModel(FullModel):
    """A rule by which `operations` changes the standing of a device."""

    name: RuleName
    stations: Annotated[int, BeforeValidator(number), Field(ge=1, le=1000)] | None = None
    refusals: Annotated[int, BeforeValidator(number), Field(ge=1, le=1_000_000)] | None = None
    within: Annotated[Duration, Field(ge=1, le=30 * 86400)]
    set_: Literal["watched", "quarantined", "blocked"] = Field(alias="set")
    for_: Annotated[Duration, Field(ge=60, le=366 * 86400)] | None = Field(default=None, alias="for")

    @model_validator(mode="after")
    def _one_cause(self) -> StandingRuleModel:
        if (self.stations is None) == (self.refusals is None):
            raise ValueError("one of stations and refusals is expected")
        if self.refusals is not None and self.set_ != "watched":
            raise ValueError(
                f"set: {self.set_!r} found; watched is expected with refusals: anybody can be refused in the name of a "
                "device"
            )
        return self


class StandingModel(FullModel):
    """What a standing leads to. Without a zone, devices of the standing are refused."""

    quarantined: StandingZoneModel | None = None
    pending: StandingZoneModel | None = None
    rules: list[StandingRuleModel] = Field(default_factory=list)
