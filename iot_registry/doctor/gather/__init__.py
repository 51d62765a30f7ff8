"""Gathers the facts. Probes run at the same time, each with a deadline: all of them end within 40 seconds."""

from __future__ import annotations

from health_report import CannotTry, Fact, NotTried, value
from iot_registry import __version__
from iot_registry.doctor.facts import Contents, DomainFacts, Facts, Subject
from iot_registry.doctor.gather import contents, database, files, server, surroundings, zones
from iot_registry.doctor.gather.probe import Pending
from iot_registry.local import config
from iot_registry.local.config import Settings
from iot_registry.signer import create_signer
from web_service.local import utc_now

__all__ = ["gather"]

_SHORT_SECONDS = 8.0
_CONTENTS_SECONDS = 11.0


def gather(subject: Subject) -> Facts:
    """All facts about a registry. Never raises: what cannot be gathered is a `NotTried`."""
    unit = Pending(lambda: surroundings.read_unit(subject.unit), _SHORT_SECONDS)
    settings = Pending(lambda: config.load(subject.config_file, dict(subject.overrides)), _SHORT_SECONDS).result()
    file_facts = Pending(lambda: files.read_files(value(settings)), _SHORT_SECONDS)
    found_contents = Pending(lambda: contents.read_contents(value(settings)), _CONTENTS_SECONDS)
    database_facts = Pending(lambda: database.read_database(value(settings)), _CONTENTS_SECONDS)
    integrity = Pending(lambda: database.check_integrity(value(settings)), database.INTEGRITY_SECONDS)
    publisher = Pending(lambda: database.find_publisher(value(settings)), _CONTENTS_SECONDS)
    signer = Pending(lambda: _control_signer(value(settings)), _SHORT_SECONDS)
    held = found_contents.result()
    anchor = Pending(lambda: contents.read_anchor(value(settings)), _SHORT_SECONDS).result()
    served = Pending(lambda: server.read_server(value(settings), anchor), server.SERVER_SECONDS)
    domains = _domains(settings, held)
    zone_facts = Pending(
        lambda: zones.read_zones(
            value(settings), value(domains), () if isinstance(held, NotTried) else held.sample, subject.resolver
        ),
        zones.ZONES_SECONDS,
    )
    return Facts(
        package_version=__version__,
        title=subject.title,
        settings=settings,
        files=file_facts.result(),
        database=database_facts.result(),
        integrity=integrity.result(),
        publisher=publisher.result(),
        contents=held,
        server=served.result(),
        # Taken when the answers are there, so that the Date header can be compared with it.
        now=utc_now(),
        zones=zone_facts.result(),
        signer_problem=signer.result(),
        unit=unit.result(),
    )


def _domains(settings: Fact[Settings], held: Fact[Contents]) -> Fact[tuple[DomainFacts, ...]]:
    """The domains of the database. If that cannot be read, the configured one."""
    if isinstance(settings, NotTried):
        return settings
    if not isinstance(held, NotTried):
        return held.domains
    name = settings.registry.domain
    return NotTried("no domain is known") if name is None else (DomainFacts(name, name, settings.publication.ttl),)


def _control_signer(settings: Settings) -> str | None:
    if create_signer(settings) is None:
        raise CannotTry('[signer] kind is "none"')
    return surroundings.signer_problem(settings)
