"""The checks: pure functions from facts to findings. `all_findings` runs all of them."""

from __future__ import annotations

from health_report import NotTried
from iot_registry.doctor.checks.authorities import check_authorities
from iot_registry.doctor.checks.credentials import check_credentials
from iot_registry.doctor.checks.database import check_database
from iot_registry.doctor.checks.dns import check_zones
from iot_registry.doctor.checks.files import check_files
from iot_registry.doctor.checks.publication import check_feed, check_outbox, check_publisher
from iot_registry.doctor.checks.server import check_server
from iot_registry.doctor.checks.surroundings import (
    check_backup,
    check_clock,
    check_domain,
    check_public_url,
    check_signer,
    check_unit,
)
from iot_registry.doctor.facts import Facts
from iot_registry.doctor.findings import Check, Finding, info, ok, unseen

__all__ = ["all_findings"]


def all_findings(facts: Facts) -> list[Finding]:
    """The findings of all checks, by area, in the order in which a person would look for a fault."""
    settings = facts.settings
    if isinstance(settings, NotTried):
        fix = "correct the file, or name another one with --config"
        return [
            unseen(Check.CONFIGURATION_FILE, settings, "a valid configuration", fix),
            info(Check.DATABASE_REACHABLE, "could not be tried: the configuration cannot be used"),
            *check_unit(facts.unit, is_serving=False),
        ]
    is_serving = not isinstance(facts.server, NotTried) and not isinstance(facts.server.health, NotTried)
    return [
        ok(Check.CONFIGURATION_FILE, f"{facts.title} is valid"),
        *check_public_url(settings),
        *check_domain(settings, facts.contents),
        *check_files(facts.files, settings),
        *check_database(facts.database, facts.integrity),
        *check_publisher(facts.publisher, facts.contents),
        *check_outbox(facts.contents),
        *check_authorities(facts.contents, facts.now),
        *check_credentials(facts.contents, facts.now),
        *check_feed(facts.contents, facts.server, settings, facts.now),
        *check_server(facts),
        *check_zones(facts.zones, facts.now),
        *check_clock(facts),
        *check_signer(facts.signer_problem),
        *check_unit(facts.unit, is_serving=is_serving),
        *check_backup(settings, facts.contents),
    ]
