"""The trust sync worker: keeps trust anchors current, finds them just in time, and ends sessions of revoked devices.

It never decides about an authentication; `dane_radius` does, from what this package keeps on disk and from the DNS.
"""

from dane_radius import __version__

__all__ = ["__version__"]
