"""Checks of the database: reachable, its encoding, its schema, its integrity."""

from __future__ import annotations

from health_report import Fact, NotTried
from iot_registry.doctor.facts import DatabaseFacts
from iot_registry.doctor.findings import Check, Finding, error, info, is_forbidden, ok, unseen, warning

_RESTORE = "stop the server, keep a copy of the damaged database, and restore a backup"


def check_database(database: Fact[DatabaseFacts], integrity: Fact[tuple[str, ...]]) -> list[Finding]:
    """All checks of the database itself. Without a connection, the first one says so alone."""
    if isinstance(database, NotTried):
        fix = "start the database, or correct database_url; its log says why it refuses"
        return [unseen(Check.DATABASE_REACHABLE, database, "a database that answers", fix)]
    return [
        ok(Check.DATABASE_REACHABLE, f"{database.title} answers"),
        _check_encoding(database),
        _check_schema(database),
        _check_integrity(database, integrity),
    ]


def _check_encoding(database: DatabaseFacts) -> Finding:
    check = Check.DATABASE_ENCODING
    if database.encoding.replace("-", "") == "UTF8":
        return ok(check, "UTF-8")
    fix = "make a database with `createdb --template=template0 --encoding=UTF8 NAME`, and copy the data with pg_dump"
    return error(check, f"{database.encoding}: the registry refuses it", "UTF8", fix)


def _check_schema(database: DatabaseFacts) -> Finding:
    check = Check.DATABASE_SCHEMA
    found, latest = database.revision, database.latest
    if found is None:
        return error(check, "the database has no tables of a registry", f"schema {latest}", "run `iot-registry init`")
    if not database.known:
        fix = "install the version that made it, or restore a backup"
        return error(check, f"schema {found}, which a newer version made", f"schema {latest}", fix)
    if found != latest:
        fix = "back up the database, and restart the server with this version, which migrates it"
        return warning(check, f"schema {found}, of an older version", f"schema {latest}", fix)
    return ok(check, f"schema {found}, that of this version")


def _check_integrity(database: DatabaseFacts, integrity: Fact[tuple[str, ...]]) -> Finding:
    check = Check.DATABASE_INTEGRITY
    if isinstance(integrity, NotTried):
        if is_forbidden(integrity):
            return unseen(check, integrity, "an undamaged database", "")
        return info(check, f"could not be tried: {integrity.why}")
    if integrity:
        found = f"the database is damaged: {integrity[0]}"
        return error(check, found, "an undamaged database", _RESTORE)
    if database.checksums is None:
        return ok(check, "SQLite's quick_check found nothing")
    if not database.checksums:
        fix = "stop PostgreSQL, and run `pg_checksums --enable`"
        return info(check, "PostgreSQL keeps no checksums of its pages", "checksums, which show a damaged disk", fix)
    return ok(check, "PostgreSQL found no page with a wrong checksum")
