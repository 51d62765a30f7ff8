"""The live devices whose standing has an end: what counted is told when that has come. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from policy import DeviceStanding


class StandingEnds:
    """Ends of the standing of devices with live sessions. Times are seconds since 1970."""

    def __init__(self, standing_of: Callable[[str], DeviceStanding | None]) -> None:
        self._standing_of = standing_of
        self._ending: dict[str, DeviceStanding] = {}
        self._next = float("inf")
        # What counts since the end of a standing, by name, until the service says what counts.
        self._since: dict[str, DeviceStanding | None] = {}

    def watch(self, name: str, now: float) -> None:
        """Watch the present standing of a name with live sessions."""
        found, held = self._standing_of(name), self._ending.get(name)
        if found is not None and found.until is not None and found.until > now:
            self._ending[name] = found
            self._next = min(self._next, found.until)
        elif held is not None and held.until is not None and held.until > now:
            # The service has said something else before that end.
            del self._ending[name]

    def keep(self, names: Collection[str]) -> None:
        """Forget all names but these."""
        for known in (self._ending, self._since):
            for name in [name for name in known if name not in names]:
                del known[name]

    def take_due(self, now: float) -> dict[str, DeviceStanding]:
        """Remove the standings whose end has come, and return them by name, without their end."""
        if now < self._next:
            return {}
        due = {name: held._replace(until=None) for name, held in self._ending.items() if _end(held) <= now}
        for name in due:
            del self._ending[name]
            self._since[name] = self._standing_of(name)
        self._next = min(map(_end, self._ending.values()), default=float("inf"))
        return due

    def replaced(self, name: str, before: DeviceStanding | None) -> DeviceStanding | None:
        """What counted for a name before the service said something, if it is `before` apart from ends that have come.

        To be called once, as that replaces what counted since.
        """
        return self._since.pop(name, before)


def _end(standing: DeviceStanding) -> float:
    return standing.until if standing.until is not None else float("inf")
