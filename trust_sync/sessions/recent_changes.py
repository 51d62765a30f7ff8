"""Recent changes of standing. They also apply to sessions that accounting shows only later. Pure.

A device that reconnects around a change may have a session by the old standing that begins after the change, or that
appears in accounting only then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from dane_radius.local import maker_domains
from policy import DeviceStanding
from trust_sync.sessions.session import Session
from trust_sync.shared import StandingNotice

# A change applies to a session that began at most so long after it, and appears while the change is remembered.
_LATE_SECONDS, _REMEMBERED_SECONDS = 10.0, 120.0
# Names and makers in total. Beyond that, the oldest changes are forgotten.
_MAX_REMEMBERED = 10_000
# Within this time, the module reads the journal by itself.
_UNTOLD_SECONDS = 2.0


@dataclass(frozen=True)
class StandingChange:
    """A change of standing, and what was done about it.

    changed: in seconds since 1970. names: what counted before for each of these names. domains: of makers whose
    devices it is about, too. notice: says what counted before for those.
    done: the sessions that were moved or ended because of it, by their unique IDs.
    """

    changed: float
    names: Mapping[str, DeviceStanding | None]
    domains: frozenset[str]
    notice: StandingNotice
    done: dict[str, Session] = field(default_factory=dict)

    @classmethod
    def of(cls, notice: StandingNotice, now: float) -> StandingChange:
        """A change that is noticed now."""
        names = {name: notice.before(name, now) for name in notice.names}
        return cls(now, names, frozenset(notice.domains), notice)

    def before(self, name: str) -> DeviceStanding | None:
        """What counted for a name before."""
        return self.names[name] if name in self.names else self.notice.before(name, self.changed)

    @property
    def is_about_others(self) -> bool:
        """Whether it is about more names than it lists."""
        return self.notice.everything or bool(self.domains)

    def concerns(self, name: str) -> bool:
        """Whether it is about a name."""
        if name in self.names or self.notice.everything:
            return True
        return bool(self.domains) and not self.domains.isdisjoint(maker_domains(name))

    def began_after(self, session: Session) -> bool:
        """Whether a session began too late to be by the old standing."""
        return session.started is not None and session.started > self.changed + _LATE_SECONDS

    def renewed(self, acknowledged: Callable[[Session], float | None]) -> frozenset[tuple[str, str, str]]:
        """The name, NAS and station of devices that can have no other session by the old standing at that NAS.

        acknowledged: when the NAS confirmed that it moved or ended a session. The session was live until then, so the
        next one of the same station began after that.
        """
        since = self.changed + (0.0 if self.notice.told else _UNTOLD_SECONDS)
        return frozenset(
            place_of(session)
            for session in self.done.values()
            if session.station and (at := acknowledged(session)) is not None and at >= since
        )


def place_of(session: Session) -> tuple[str, str, str]:
    """Which device is where."""
    return session.name, session.nas, session.station


class RecentChanges:
    """The changes of the last two minutes, in their order."""

    def __init__(self) -> None:
        self._changes: deque[StandingChange] = deque()
        self._size = 0

    def __iter__(self) -> Iterator[StandingChange]:
        return iter(tuple(self._changes))

    def __reversed__(self) -> Iterator[StandingChange]:
        return iter(tuple(reversed(self._changes)))

    def add(self, change: StandingChange) -> None:
        """Remember a change."""
        self._changes.append(change)
        self._size += _size(change)
        while self._size > _MAX_REMEMBERED and len(self._changes) > 1:
            self._forget_first()

    def _forget_first(self) -> None:
        self._size -= _size(self._changes.popleft())

    def expire(self, now: float) -> None:
        """Forget what is too long ago, and what lies in the future because the clock was set back."""
        kept = [change for change in self._changes if 0 <= now - change.changed <= _REMEMBERED_SECONDS]
        self._changes, self._size = deque(kept), sum(map(_size, kept))

    def concerned(self, names: Collection[str]) -> set[str]:
        """Those of the names that a change lists."""
        return {name for change in self._changes for name in change.names if name in names}


def _size(change: StandingChange) -> int:
    return 1 + len(change.names) + len(change.domains)
