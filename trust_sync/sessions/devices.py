"""Tells devices from the other users in the accounting table."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dane_radius.core import Refused, normalize
from policy import Policy
from trust_sync.shared import TimeSlice


class DeviceFilter:
    """Selects the users whose name policy covers.

    Other users of the table have a password or a certificate of another CA. Their names need no TLSA records.
    """

    def __init__(self, policy: Callable[[], Policy]) -> None:
        self._policy = policy
        # Results for the users of the table, and the policy that they follow from.
        self._results: dict[str, bool] = {}
        self._results_by: Policy | None = None

    async def select_all(self, users: Collection[str]) -> list[str]:
        """Select the devices among all users of the table. Results are kept until the next call."""
        policy = self._policy()
        if policy is not self._results_by:
            self._results, self._results_by = {}, policy
        pace = TimeSlice()
        results: dict[str, bool] = {}
        for user in users:
            is_device = self._results.get(user)
            if is_device is None:
                await pace.rest()
                is_device = _is_device(user, policy)
            results[user] = is_device
        if self._results_by is policy:
            self._results = results
        return [user for user, is_device in results.items() if is_device]

    async def select(self, users: Collection[str]) -> list[str]:
        """Select the devices among some users."""
        policy, pace = self._policy(), TimeSlice()
        found = []
        for user in users:
            await pace.rest()
            if _is_device(user, policy):
                found.append(user)
        return found


def _is_device(name: str, policy: Policy) -> bool:
    try:
        return normalize(name.encode("utf-8", "surrogatepass")) == name and policy.selects(name)
    except Refused:
        return False
