"""The first schema."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

# The database keeps the audit log append-only: a defect or an intruder in the process cannot rewrite it. SQLite's
# REPLACE deletes a conflicting row without running DELETE triggers, so that INSERT checks the new row, too. If no id is
# given, NEW.id is -1 before the insertion, and one more than the last id after it.
SQLITE_GUARDS = (
    *(
        f"CREATE TRIGGER audit_no_{verb} BEFORE {verb} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    "CREATE TRIGGER audit_only_at_the_end BEFORE INSERT ON audit "
    "WHEN NEW.id IS NOT NULL AND NEW.id <> -1 AND NEW.id <> 1 + (SELECT coalesce(max(id), 0) FROM audit) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "CREATE TRIGGER audit_no_line_before_the_first AFTER INSERT ON audit WHEN NEW.id < 1 "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
)
POSTGRESQL_GUARDS = (
    "CREATE FUNCTION operations_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION operations_audit_append_only()",
    "ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only",
)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("node", sa.String(length=63), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit",
        sa.Column("id", BIG, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("target", sa.String(length=253), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "batches",
        sa.Column("node", sa.String(length=63), nullable=False),
        sa.Column("batch_id", sa.String(length=72), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("node", "batch_id"),
    )
    op.create_index("ix_batches_at", "batches", ["at"], unique=False)
    op.create_table(
        "changes",
        sa.Column("seq", BIG, autoincrement=False, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("subject", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=True),
        sa.Column("until", TIME, nullable=True),
        sa.Column("then", sa.String(length=16), nullable=False),
        sa.Column("then_zone", sa.String(length=63), nullable=True),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("by", sa.String(length=120), nullable=False),
        sa.Column("power", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_changes_subject_name", "changes", ["subject", "name", "seq"], unique=False)
    op.create_index("ix_changes_time", "changes", ["time"], unique=False)
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("value", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "devices",
        sa.Column("id", BIG, nullable=False),
        sa.Column("uid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("maker", sa.String(length=253), nullable=False),
        sa.Column("type", sa.String(length=63), nullable=True),
        sa.Column("proven", sa.Boolean(), nullable=False),
        sa.Column("entered", sa.Boolean(), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=True),
        sa.Column("mud_url", sa.String(length=255), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("first_seen", TIME, nullable=True),
        sa.Column("last_seen", TIME, nullable=True),
        sa.Column("last_admitted", TIME, nullable=True),
        sa.Column("last_refused", TIME, nullable=True),
        sa.Column("refusal_reason", sa.String(length=40), nullable=True),
        sa.Column("admissions", BIG, nullable=False),
        sa.Column("refusals", BIG, nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=True),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("station", sa.String(length=64), nullable=True),
        sa.Column("nas", sa.String(length=64), nullable=True),
        sa.Column("ssid", sa.String(length=64), nullable=True),
        sa.Column("certificate", sa.String(length=200), nullable=True),
        sa.Column("records", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("uid"),
    )
    op.create_index("ix_devices_last_refused", "devices", ["last_refused"], unique=False)
    op.create_index("ix_devices_last_seen", "devices", ["last_seen"], unique=False)
    op.create_index("ix_devices_maker", "devices", ["maker"], unique=False)
    op.create_index("ix_devices_proven", "devices", ["proven"], unique=False)
    op.create_index("ix_devices_type", "devices", ["type"], unique=False)
    op.create_index("ix_devices_zone", "devices", ["zone"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("first_seen", TIME, nullable=False),
        sa.Column("last_seen", TIME, nullable=False),
        sa.Column("taken", BIG, nullable=False),
        sa.Column("skipped", BIG, nullable=False),
        sa.Column("lost", BIG, nullable=False),
        sa.Column("lost_reported", BIG, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "origin",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "questions",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("maker", sa.String(length=253), nullable=False),
        sa.Column("type", sa.String(length=63), nullable=True),
        sa.Column("proven", sa.Boolean(), nullable=False),
        sa.Column("network", sa.String(length=63), nullable=True),
        sa.Column("nas", sa.String(length=64), nullable=True),
        sa.Column("ssid", sa.String(length=64), nullable=True),
        sa.Column("zone", sa.String(length=64), nullable=True),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("last_seen", TIME, nullable=False),
        sa.Column("answer", sa.String(length=8), nullable=True),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("answered_by", sa.String(length=120), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_questions_answer", "questions", ["answer"], unique=False)
    op.create_index("ix_questions_maker", "questions", ["maker"], unique=False)
    op.create_index("ix_questions_name", "questions", ["name"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("node", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("station", sa.String(length=64), nullable=True),
        sa.Column("nas", sa.String(length=64), nullable=True),
        sa.Column("ssid", sa.String(length=64), nullable=True),
        sa.Column("since", TIME, nullable=True),
        sa.PrimaryKeyConstraint("node", "id"),
    )
    op.create_index("ix_sessions_name", "sessions", ["name"], unique=False)
    op.create_table(
        "standing",
        sa.Column("subject", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=True),
        sa.Column("until", TIME, nullable=True),
        sa.Column("then", sa.String(length=16), nullable=False),
        sa.Column("then_zone", sa.String(length=63), nullable=True),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("by", sa.String(length=120), nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("released_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("subject", "name"),
    )
    op.create_index("ix_standing_standing", "standing", ["standing"], unique=False)
    op.create_index("ix_standing_until", "standing", ["until"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("id", BIG, nullable=False),
        sa.Column("device_id", BIG, nullable=False),
        sa.Column("proven", sa.Boolean(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("node", sa.String(length=63), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=True),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("station", sa.String(length=64), nullable=True),
        sa.Column("nas", sa.String(length=64), nullable=True),
        sa.Column("ssid", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_decisions_device", "decisions", ["device_id", "proven", "at"], unique=False)
    op.create_table(
        "places",
        sa.Column("device_id", BIG, nullable=False),
        sa.Column("station", sa.String(length=64), nullable=False),
        sa.Column("nas", sa.String(length=64), nullable=False),
        sa.Column("ssid", sa.String(length=64), nullable=False),
        sa.Column("first_seen", TIME, nullable=False),
        sa.Column("last_seen", TIME, nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "station", "nas", "ssid"),
    )
    counters = sa.table("counters", sa.column("name", sa.String), sa.column("value", BIG))
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in ("feed", "horizon", "intake")])
    origin = sa.table("origin", sa.column("id", sa.Integer), sa.column("value", sa.String))
    op.bulk_insert(origin, [{"id": 1, "value": secrets.token_hex(16)}])
    for statement in SQLITE_GUARDS if op.get_bind().dialect.name == "sqlite" else POSTGRESQL_GUARDS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it: restore a backup instead")
