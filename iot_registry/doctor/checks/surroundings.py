"""Checks of what surrounds the registry: its addresses, clock, name server's tools, systemd, backups."""

from __future__ import annotations

import datetime as dt

from health_report import Fact, NotTried
from iot_registry.doctor.facts import Contents, Facts, UnitFacts
from iot_registry.doctor.findings import Check, Finding, error, info, ok, warning
from iot_registry.local.config import Settings
from iot_registry.store.models import AuthorityKind
from web_service.local import parse_endpoint

_CLOCK = "set the clock: `timedatectl set-ntp true`"
# A certificate is valid from an hour before it was made.
_CLOCK_TOLERANCE = dt.timedelta(minutes=5)


def check_public_url(settings: Settings) -> list[Finding]:
    """Whether enrollment bundles name an address that devices can reach."""
    check = Check.CONFIGURATION_PUBLIC_URL
    url = settings.public_url
    listens_elsewhere = parse_endpoint(settings.registry.listen).host not in ("127.0.0.1", "::1", "localhost")
    if settings.registry.public_url is None and listens_elsewhere:
        found = f"public_url is not set: bundles name {url}"
        fix = "set [registry] public_url to the URL at which devices reach the registry, and restart the server"
        return [warning(check, found, "a URL that devices can reach", fix)]
    return [ok(check, f"bundles name {url}")]


def check_domain(settings: Settings, contents: Fact[Contents]) -> list[Finding]:
    """Whether the default domain exists. The server does not start without it."""
    check = Check.CONFIGURATION_DOMAIN
    if isinstance(contents, NotTried):
        return []
    names = [domain.name for domain in contents.domains]
    wanted = settings.registry.domain
    if wanted is not None and wanted not in names:
        found = f"[registry] domain is {wanted}, which the registry does not have: the server does not start"
        fix = f"name one of {', '.join(names[:5])}, or run `iot-registry domain add {wanted}`"
        return [error(check, found, "a domain of the registry", fix)]
    return [ok(check, f"the domains are {', '.join(names)}" if len(names) <= 5 else f"there are {len(names)} domains")]


def check_clock(facts: Facts) -> list[Finding]:
    """This machine's clock, against signatures of the zones, and against the server's Date header."""
    return [*_check_signatures(facts), *_check_date(facts)]


def _check_signatures(facts: Facts) -> list[Finding]:
    check = Check.CLOCK_SIGNATURES
    zones = () if isinstance(facts.zones, NotTried) else facts.zones
    begins = [(start, zone.zone) for zone in zones for start, _ in zone.primary.windows]
    if not begins:
        return [info(check, "could not be tried: there is no signature to compare with")]
    start, zone = max(begins)
    inception = dt.datetime.fromtimestamp(start, dt.UTC)
    if inception > facts.now + _CLOCK_TOLERANCE:
        found = f"a signature of {zone} begins at {inception:%Y-%m-%d %H:%M:%S}Z, and here it is {facts.now:%H:%M:%S}Z"
        return [error(check, found, "a clock that is not slow", _CLOCK)]
    return [ok(check, f"not before {inception:%Y-%m-%d %H:%M}Z, by the signatures of {zone}")]


def _check_date(facts: Facts) -> list[Finding]:
    check = Check.CLOCK_HTTP
    if isinstance(facts.server, NotTried) or isinstance(facts.server.health, NotTried):
        return []
    date = facts.server.health.date
    if date is None:
        return [info(check, "could not be tried: the server sends no Date")]
    # The facts are gathered within a minute.
    difference = abs(date - facts.now)
    found = f"{difference.total_seconds():.0f} s between this clock and that of {facts.server.url}"
    if difference > _CLOCK_TOLERANCE:
        return [warning(check, found, f"at most {_CLOCK_TOLERANCE.total_seconds():.0f} s", _CLOCK)]
    return [ok(check, found)]


def check_signer(problem: Fact[str | None]) -> list[Finding]:
    """Whether the registry can control the signing name server."""
    check = Check.SIGNER_CONTROL
    if isinstance(problem, NotTried):
        return [info(check, f"not used: {problem.why}")]
    if problem is not None:
        fix = "start knotd, install its tools, and let the registry's user control it (SupplementaryGroups=knot)"
        return [warning(check, problem, "`domain add` and `rollover` can control Knot", fix)]
    return [ok(check, "knotc controls the name server")]


def check_unit(unit: Fact[UnitFacts], *, is_serving: bool) -> list[Finding]:
    """The systemd unit of the server, if systemd runs. is_serving: whether the server answers."""
    check = Check.SERVICE_UNIT
    if isinstance(unit, NotTried):
        return [info(check, f"could not be tried: {unit.why}")]
    if unit.load == "not-found":
        fix = "install containers/systemd/iot-registry.service, or name the unit with --unit"
        return [info(check, f"systemd has no unit {unit.name}", "a unit that starts the server", fix)]
    start = f"run `systemctl enable --now {unit.name}`"
    if unit.active == "failed" or (unit.active != "active" and not is_serving):
        fix = f"see `journalctl -u {unit.name}`, and {start}"
        return [error(check, f"{unit.name} is {unit.active}", "active", fix)]
    if unit.active != "active":
        return [warning(check, f"{unit.name} is {unit.active}, and another process serves", "active", start)]
    if unit.enabled not in ("enabled", "enabled-runtime", "static", "alias", "generated", "indirect"):
        found = f"{unit.name} is active, but {unit.enabled}: it does not start with the machine"
        return [warning(check, found, "enabled", start)]
    return [ok(check, f"{unit.name} is active and {unit.enabled}")]


def check_backup(settings: Settings, contents: Fact[Contents]) -> list[Finding]:
    """What the operator has to save. Whether it is saved cannot be seen from here."""
    state = settings.state_dir
    dump = "`pg_dump`"
    if settings.database_url.startswith("sqlite:"):
        dump = f"`sqlite3 {settings.database_url.removeprefix('sqlite:///')} '.backup FILE'`"
    found = f"save {state} and the database ({dump}) together"
    passphrases = [str(path) for path in (settings.ca.passphrase_file, settings.ca.root_passphrase_file) if path]
    if passphrases:
        found += f", and elsewhere {' and '.join(passphrases)}"
    authorities = () if isinstance(contents, NotTried) else contents.authorities
    if any(authority.kind == AuthorityKind.ROOT and authority.has_key is False for authority in authorities):
        found += ", and keep a second copy of the root's key"
    return [info(Check.BACKUP_CONTENTS, found)]
