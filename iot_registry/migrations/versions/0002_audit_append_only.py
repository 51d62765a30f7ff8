"""The audit log accepts new lines at its end only, whichever statement adds them.

SQLite's REPLACE deletes a conflicting row without running DELETE triggers, unless the connection has turned
`recursive_triggers` on. A trigger on INSERT therefore checks the new row. PostgreSQL's ON CONFLICT DO UPDATE and MERGE
run UPDATE triggers, and were refused before. Here, the trigger is made to run also in sessions in which
`session_replication_role` is set to `replica`.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# If no id is given, NEW.id is -1 before the insertion (undefined by SQLite's documentation), and one more than the last
# id after it. An id that is given must be exactly that. -1 as a given id is refused after the insertion.
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
    raise NotImplementedError("the audit log must stay append-only: restore a backup of the older version instead")
