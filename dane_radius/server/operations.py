"""The operations that the running module offers to operators and to `trust_sync` over its control socket."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from dane_radius import __version__
from dane_radius.core.names import normalize
from dane_radius.core.reasons import Refused
from dane_radius.dns.lookups import Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.server.authentication import Authentication
from dane_radius.server.standing import DeviceStandings
from dane_radius.server.waits import Waits
from policy import PolicyStore


class Operations:
    """Implements `flush`, `standing` and `status`."""

    def __init__(
        self,
        resolver: str,
        policies: PolicyStore,
        anchors: AnchorDirectory,
        standings: DeviceStandings,
        lookups: Lookups,
        waits: Waits[Authentication],
        started: datetime,
    ) -> None:
        """`resolver`: the resolver's description, for the status."""
        self._resolver, self._policies, self._anchors = resolver, policies, anchors
        self._standings, self._lookups, self._waits, self._started = standings, lookups, waits, started

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """The fields of the reply to a request. Raises ValueError for an unknown operation or an invalid name."""
        match request:
            case {"op": "flush", "name": str(name)}:
                try:
                    normal = normalize(name.encode("utf-8"))
                except Refused as refusal:
                    raise ValueError(refusal.detail) from refusal
                return {"flushed": self._lookups.flush(normal, below=bool(request.get("below")))}
            case {"op": "flush"} if "name" not in request:
                return {"flushed": self._lookups.flush()}
            case {"op": "standing"}:
                return await self._read_standing()
            case {"op": "status"}:
                return self.status()
        raise ValueError(f"op {request.get('op')!r} is not known; flush, standing or status is expected")

    async def _read_standing(self) -> dict[str, Any]:
        """Read the standing journal now. The reply says which change it was read up to."""
        table = self._standings.table
        if table is None:
            raise ValueError("the configuration has no standing directory")
        done = await asyncio.to_thread(table.refresh)
        return {"done": done, "sequence": table.sequence, "latest": table.latest, "error": table.error}

    def status(self) -> dict[str, Any]:
        """The state of the module, for `dane-radius status`."""
        policy = self._policies.current
        error = self._policies.last_error
        lookups = self._lookups
        return {
            "version": __version__,
            "started": self._started.isoformat(timespec="seconds"),
            "policy": {
                "file": policy.source,
                "digest": policy.digest[:12],
                "rules": len(policy.rules),
                "mode": "monitor" if policy.monitor else "enforce",
                "problems": error.problems if error else [],
            },
            "resolver": self._resolver,
            "anchors": {"count": len(self._anchors), "error": self._anchors.last_error},
            "standing": self._standings.status(),
            "cache": {"names": len(lookups.cache), "octets": lookups.cache.octets, "hits": lookups.counts.hits},
            "lookups": {
                "under_way": lookups.under_way,
                "started": sum(lookups.counts.started.values()),
                "waiting": len(self._waits),
                "may_wait": lookups.wait_limits.max_waiting,
                "slow_domains": lookups.slow_domains(),
            },
        }
