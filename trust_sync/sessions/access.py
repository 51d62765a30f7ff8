"""The access that a live session gets by a CoA-Request, where its NAS can change it without ending it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from policy import Match
from trust_sync.sessions.nas_directory import Nas


@dataclass(frozen=True, slots=True)
class Access:
    """What changes. None: that stays. session_timeout: seconds from now on."""

    vlan: str | None = None
    filter_id: str | None = None
    session_timeout: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The access as the state file stores it."""
        return {field: getattr(self, field) for field in self.__slots__}


def changed_access(nas: Nas | None, before: Match, after: Match, now: float) -> Access | None:
    """What a CoA-Request has to change. None: no CoA-Request can do it, so the session must end.

    A CoA-Request changes values, and cannot take any back. Times are in seconds since 1970.
    """
    old, new = before.grant, after.grant
    if nas is None or not nas.coa or old is None or new is None:
        return None
    if replace(old, vlan=new.vlan, filter_id=new.filter_id, session_timeout=new.session_timeout) != new:
        return None
    taken_back = (old.vlan is not None and new.vlan is None) or (old.filter_id is not None and new.filter_id is None)
    if taken_back:
        return None
    seconds = None
    if new.session_timeout != old.session_timeout or after.expires is not None:
        seconds = new.session_timeout
        if after.expires is not None:
            seconds = max(1, min(seconds, int(after.expires - now)))
    return Access(
        str(new.vlan) if new.vlan != old.vlan else None,
        new.filter_id if new.filter_id != old.filter_id else None,
        seconds,
    )
