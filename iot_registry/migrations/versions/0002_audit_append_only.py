"""The audit log takes new lines at its end only, whatever statement they come by.

SQLite's REPLACE deletes the row that is in its way without running DELETE triggers (unless `recursive_triggers` is on,
which each connection chooses for itself); so the insertion itself is looked at. PostgreSQL's ON CONFLICT DO UPDATE and
MERGE run UPDATE triggers, and were refused before; here the trigger is made to run in sessions too that have
`session_replication_role` set to `replica`.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Where no id is given, NEW.id is -1 before the insertion (SQLite leaves it undefined, and uses that), and one more than
# the last after it. An id that is given must be that very one; -1 itself is refused after the insertion.
SQLITE = (
    """
CREATE TRIGGER audit_only_at_the_end BEFORE INSERT ON audit
WHEN NEW.id IS NOT NULL AND NEW.id <> -1 AND NEW.id <> 1 + (SELECT coalesce(max(id), 0) FROM audit)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
""",
    """
CREATE TRIGGER audit_no_line_before_the_first AFTER INSERT ON audit WHEN NEW.id < 1
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
""",
)
POSTGRESQL = ("ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only",)


def upgrade() -> None:
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("an audit log that can be changed is no audit log: restore a backup instead")
