"""The trust sync worker: keeps trust anchors and the standing of devices current, finds anchors just in time, and ends
sessions of devices that may not stay.

It never decides about an authentication. `dane_radius` does, from the DNS and the anchors that this package keeps.

Rooms, from the inside out: `shared`; `anchors`, `feeds`, `reports` and `sessions`; `registries`, `standing` and
`discovery`; `worker`; `cli`. A room imports only rooms further inside, through the names in their `__init__`.
`registries`, `standing`, `discovery` and `sessions` do not import one another.
"""

from dane_radius import __version__

__all__ = ["__version__"]
