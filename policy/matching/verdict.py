"""What a rule and the device's standing give together: the access, or the reason for none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from policy.facts import DeviceStanding, Standing
from policy.grants import Grant, Zone
from policy.matching.rules import MatchRefusal, Rule


class Access(NamedTuple):
    """The access by a rule. Without a grant, `refusal` says why, and `detail` says it to people."""

    standing: Standing
    grant: Grant | None
    zone: str | None = None
    refusal: MatchRefusal | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StandingZones:
    """The zones of a policy, and where it sends devices that are not in good standing.

    quarantine_grant: the access of quarantined devices in a policy without zones (version 1).
    """

    zones: Mapping[str, Zone]
    quarantined: str | None = None
    pending: str | None = None
    quarantine_grant: Grant | None = None

    def access(self, name: str, rule: Rule, device: DeviceStanding) -> Access:
        """The access of a device that `rule` matches, whatever the DNS says about it."""
        standing = device.standing
        if rule.grant is None:
            why = f": {rule.why}" if rule.why else ""
            return Access(standing, None, None, MatchRefusal.DENIED, f"rule {rule.name} denies {name}{why}")
        listed = rule.standings is not None and standing in rule.standings
        if standing is Standing.QUARANTINED and not listed:
            return self._quarantined(name, device.zone)
        if standing is Standing.PENDING and not listed:
            return self._pending(name, rule, device.zone)
        if rule.approval and not device.approved:
            return self._pending(name, rule, None)
        if device.zone is not None and standing in (Standing.NORMAL, Standing.WATCHED):
            return self._of_zone(name, standing, device.zone)
        return Access(standing, rule.grant, rule.zone)

    def _quarantined(self, name: str, chosen: str | None) -> Access:
        zone = chosen or self.quarantined
        if zone is not None:
            return self._of_zone(name, Standing.QUARANTINED, zone)
        if self.quarantine_grant is not None:
            return Access(Standing.QUARANTINED, self.quarantine_grant)
        detail = f"{name} is quarantined, and policy has no zone for that"
        return Access(Standing.QUARANTINED, None, None, MatchRefusal.QUARANTINED, detail)

    def _pending(self, name: str, rule: Rule, chosen: str | None) -> Access:
        zone = chosen or self.pending
        if zone is not None:
            return self._of_zone(name, Standing.PENDING, zone)
        detail = f"nobody has approved {name} (rule {rule.name}), and policy has no zone for such devices"
        return Access(Standing.PENDING, None, None, MatchRefusal.PENDING, detail)

    def _of_zone(self, name: str, standing: Standing, zone: str) -> Access:
        found = self.zones.get(zone)
        if found is None:
            detail = f"{name} belongs to the zone {zone!r}, which policy does not define"
            return Access(standing, None, None, MatchRefusal.UNKNOWN_ZONE, detail)
        return Access(standing, found.grant, zone)
