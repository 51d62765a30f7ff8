"""The policy file of the RADIUS nodes: its zones and rules, also while a newer version of it is invalid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from operations.core.reasons import StandingReason
from operations.local import metrics
from policy import Policy, PolicyError, PolicyStore, RequestFacts, StandingRule
from web_service.core import Refused

log = structlog.get_logger("operations.policy")


class PolicyFile:
    """Follows the file, if one is configured. `refresh` from time to time.

    An invalid file at the start is as no file, until it is valid: standings can be changed without it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._store: PolicyStore | None = None
        self._start_error: PolicyError | None = None
        # The networks of the policy with this digest.
        self._named: tuple[str, tuple[Any, ...]] | None = None
        self._load()

    def _load(self) -> None:
        if self.path is None:
            return
        try:
            self._store = PolicyStore(self.path, self._report)
        except PolicyError as error:
            if str(error) != str(self._start_error):
                self._report(error)
            self._start_error = error
        else:
            self._start_error = None
            self._report(self._store.current)

    def _report(self, outcome: Policy | PolicyError) -> None:
        valid = not isinstance(outcome, PolicyError)
        metrics.POLICY_VALID.set(1 if valid else 0)
        if valid:
            log.info("policy.loaded", path=str(self.path))
        else:
            in_force = "the last valid one" if self._store else "no zones and no rules"
            log.error("policy.invalid", path=str(self.path), error=str(outcome), in_force=in_force)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        if self._store is None:
            self._load()
        else:
            self._store.refresh()

    @property
    def error(self) -> str | None:
        """What is wrong with the present file; None: nothing."""
        last = self._store.last_error if self._store else self._start_error
        return str(last) if last else None

    @property
    def zones(self) -> frozenset[str]:
        """The names of the zones."""
        return frozenset(self._store.current.zones) if self._store else frozenset()

    @property
    def rules(self) -> tuple[StandingRule, ...]:
        """The rules that change standings."""
        return tuple(self._store.current.standing_rules) if self._store else ()

    def check_zone(self, zone: str | None) -> None:
        """Raises Refused if a change names a zone that policy does not have."""
        if zone is None or zone in self.zones:
            return
        if self._store is None:
            why = f"the policy file is invalid ({self.error})" if self.path else "no policy file is configured"
            raise Refused(
                StandingReason.NO_POLICY,
                f"{why}, so that no zone can be checked: see operations.policy, or leave the zone out",
                field="zone",
            )
        known = ", ".join(sorted(self.zones)) or "none"
        raise Refused(
            StandingReason.UNKNOWN_ZONE, f"found {zone[:80]!r}, expected a zone of the policy: {known}", field="zone"
        )

    def network_of(self, ssid: str | None, nas: str | None, port_type: str | None) -> str | None:
        """The name that policy gives the network of a place; None: it has none."""
        if self._store is None:
            return None
        policy = self._store.current
        if self._named is None or self._named[0] != policy.digest:
            found = {network.name: network for rule in policy.rules for network in rule.networks or ()}
            self._named = policy.digest, tuple(found.values())
        request = RequestFacts(ssid=ssid, nas_identifier=nas, nas_address=nas, nas_port_type=port_type)
        return next((network.name for network in self._named[1] if network.matches_place(request)), None)
