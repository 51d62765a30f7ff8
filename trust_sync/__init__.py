"""The trust sync worker: keeps trust anchors current, finds them just in time, and ends sessions of revoked devices.

It never decides about an authentication. `dane_radius` does, from the DNS and the anchors that this package keeps.

Rooms, from the inside out: `shared`; `anchors` and `sessions`; `registries` and `discovery`; `worker`; `cli`. A room
imports only rooms further inside, through the names in their `__init__`. `registries`, `discovery` and `sessions` do
not import one another.
"""

from dane_radius import __version__

__all__ = ["__version__"]
