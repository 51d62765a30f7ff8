"""Numbers of the PostgreSQL advisory locks. Any numbers do, but each differs, and all processes must agree on them."""

from __future__ import annotations

MIGRATION = 7_294_901
