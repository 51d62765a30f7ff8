"""Version 1 of the policy language."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from policy.model.fields import Duration, Mode, Model, Nas, Pattern, Require, RuleName, Text, Vlan, version


class NetworkModel(Model):
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


class GrantModel(Model):
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


class RuleModel(Model):
    """One rule. The first rule whose identity and network match decides."""

    name: RuleName
    identity: list[Pattern] = Field(min_length=1)
    networks: list[str] | None = Field(default=None, min_length=1)
    require: Require = "any"
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


class SessionModel(Model):
    """Limits on every Session-Timeout, so that an admission does not outlive its DNS answer."""

    # Session-Timeout is at most the validated TTL times this. With 1, a session never outlives its TLSA answer.
    ttl_factor: Annotated[int, Field(ge=1, le=1000)] = 12
    # The lower bound of that limit: with a TTL of a few seconds, devices would re-authenticate constantly.
    minimum: Annotated[Duration, Field(ge=30, le=86400)] = 60


class QuarantineModel(Model):
    """Known devices that are admitted into quarantine only, whatever their rule grants."""

    identity: list[Pattern] = Field(min_length=1)
    grant: GrantModel


class PolicyModel(Model):
    """A policy file."""

    version: Annotated[Literal[1], BeforeValidator(version)]
    mode: Mode = "enforce"
    session: SessionModel = SessionModel()
    networks: dict[RuleName, NetworkModel] = Field(default_factory=dict)
    quarantine: QuarantineModel | None = None
    rules: list[RuleModel]
