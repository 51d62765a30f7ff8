"""Numbers of the PostgreSQL advisory locks. Any numbers do, but each differs, and all processes must agree on them."""

from __future__ import annotations

MIGRATION = 7_294_815
PUBLISHER = 7_294_816
INITIALIZATION = 7_294_817
