"""The checks: pure functions from facts to findings. `all_findings` runs all of them."""

from __future__ import annotations

from dane_radius.doctor.checks.files import check_install, check_paths
from dane_radius.doctor.checks.resolver import check_resolver
from dane_radius.doctor.checks.running import check_policy, check_running
from dane_radius.doctor.checks.server import check_blastradius, check_configuration, check_limits, check_program
from dane_radius.doctor.checks.services import check_accounting, check_sync
from dane_radius.doctor.checks.standing import check_standing
from dane_radius.doctor.checks.trust import check_anchors, check_certificate
from dane_radius.doctor.facts import Facts
from dane_radius.doctor.findings import Check, Finding, error, info, ok
from health_report import NotTried

__all__ = ["all_findings"]


def all_findings(facts: Facts) -> list[Finding]:
    """The findings of all checks, by area, in the order in which a person would look for a fault."""
    return [
        *check_program(facts.program),
        *check_configuration(facts.configuration_check),
        *check_limits(facts.radiusd, facts.config),
        *check_blastradius(facts.program, facts.radiusd, facts.install),
        *_check_settings(facts),
        *check_install(facts.install),
        *check_paths(facts),
        *_check_configured(facts),
        *check_certificate(facts.certificate, facts.now),
        *check_sync(facts),
        *check_standing(facts),
        *check_accounting(facts.sync, facts.accounting, facts.sql_modules),
    ]


def _check_configured(facts: Facts) -> list[Finding]:
    """The checks of what dane-radius.toml names. Without it, they would all fail for the same reason."""
    if isinstance(facts.config, NotTried):
        untried = (Check.RUNNING_SERVER, Check.POLICY_FILE, Check.RESOLVER_REACHABLE, Check.ANCHORS_COUNT)
        return [info(check, "could not be tried: the configuration cannot be used") for check in untried]
    return [
        *check_running(facts),
        *check_policy(facts.policy),
        *check_resolver(facts.resolver, facts.now),
        *check_anchors(facts.anchors, facts.now),
    ]


def _check_settings(facts: Facts) -> list[Finding]:
    if isinstance(facts.config, NotTried):
        fix = "correct the file, or name another one with --config"
        return [error(Check.INSTALL_CONFIGURATION, facts.config.why, "a valid configuration", fix)]
    return [ok(Check.INSTALL_CONFIGURATION, f"{facts.config_file} is valid")]
