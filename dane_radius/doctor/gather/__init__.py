"""Gathers the facts. Probes run at the same time, each with a deadline: all of them end within 40 seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dane_radius import __version__
from dane_radius.doctor.facts import Facts, RadiusdFacts, SyncFacts
from dane_radius.doctor.gather import files, resolver, server, services, trust
from dane_radius.doctor.gather.deadline import Pending
from dane_radius.doctor.installation import Installation, Names
from dane_radius.doctor.raddb import Block, expand
from dane_radius.local import CA_FOLDER, INDEX_FILE, ConfigError
from dane_radius.server import Config, load_config
from dane_radius.server.config import read_cui_key
from health_report import Fact, NotTried, read_account, read_paths, value

__all__ = ["gather"]

_SHORT_SECONDS = 8.0
_UNBOUND_SOCKET = "/run/unbound.ctl"
_SQL_MODULES = ("dane_sql", "sql")


def gather(installation: Installation, names: Names, sync_file: str, *, is_sync_named: bool) -> Facts:
    """All facts about an installation. Never raises: what cannot be gathered is a `NotTried`.

    sync_file: trust-sync.toml. is_sync_named: whether the operator named it, so that it must exist.
    """
    raddb = installation.raddb
    account = Pending(lambda: read_account(installation.user), _SHORT_SECONDS)
    conf = Pending(lambda: server.read_file(raddb / "radiusd.conf"), _SHORT_SECONDS)
    eap = Pending(lambda: server.read_file(raddb / "mods-enabled/dane_eap"), _SHORT_SECONDS)
    config = Pending(lambda: load_config(installation.config_file), _SHORT_SECONDS).result()
    found_account, found_conf = account.result(), conf.result()
    checked = Pending(lambda: server.check_configuration(raddb, value(found_account)), server.CHECK_SECONDS)
    program = Pending(
        lambda: server.read_program(None if isinstance(found_conf, NotTried) else found_conf), _SHORT_SECONDS
    )
    radiusd: Pending[RadiusdFacts] = Pending(lambda: server.read_radiusd(raddb, value(found_conf)), _SHORT_SECONDS)
    install = Pending(lambda: files.read_install(installation), _SHORT_SECONDS)
    found_eap = eap.result()
    certificate_files = Pending(lambda: _certificate_files(raddb, value(found_conf), value(found_eap)), _SHORT_SECONDS)
    sync: Pending[SyncFacts | None] = Pending(
        lambda: services.read_sync(sync_file, is_named=is_sync_named), _SHORT_SECONDS
    )
    running = Pending(lambda: services.read_running(value(config).control_socket), 2 * _SHORT_SECONDS)
    anchors = Pending(lambda: trust.read_anchors(value(config).anchors), _SHORT_SECONDS)
    policy = Pending(lambda: services.read_policy(value(config).policy), _SHORT_SECONDS).result()
    domains: Fact[tuple[str, ...]] = policy if isinstance(policy, NotTried) else policy.domains
    sockets = [path for path in (services.unbound_socket(sync_file), _UNBOUND_SOCKET) if path is not None]
    resolving = Pending(
        lambda: resolver.probe_resolver(value(config).resolver, names, domains, sockets), resolver.RESOLVER_SECONDS
    )
    found_files = certificate_files.result()
    certificate = Pending(
        lambda: trust.read_certificate(
            *value(found_files), names.server, config if isinstance(config, NotTried) else config.resolver.build()
        ),
        _SHORT_SECONDS + 10,
    )
    cui_key = Pending(lambda: _cui_key_problem(value(config)), _SHORT_SECONDS)
    hint = Pending(lambda: services.accepts(value(config).hint.socket), _SHORT_SECONDS)
    paths = Pending(lambda: read_paths(_paths(installation, config, found_files)), _SHORT_SECONDS)
    found_sync = sync.result()
    accounting = Pending(
        lambda: services.read_accounting(found_sync.database if isinstance(found_sync, SyncFacts) else None),
        _SHORT_SECONDS,
    )
    return Facts(
        package_version=__version__,
        now=datetime.now(UTC),
        config_file=installation.config_file,
        config=config,
        account=found_account,
        install=install.result(),
        program=program.result(),
        configuration_check=checked.result(),
        radiusd=radiusd.result(),
        paths={} if isinstance(found_paths := paths.result(), NotTried) else found_paths,
        cui_key=cui_key.result(),
        running=running.result(),
        policy=policy,
        resolver=resolving.result(),
        anchors=anchors.result(),
        certificate=certificate.result(),
        sync=found_sync,
        accounting=accounting.result(),
        hint_accepts=hint.result(),
        sql_modules=tuple(name for name in _SQL_MODULES if (raddb / "mods-enabled" / name).exists()),
    )


def _certificate_files(raddb: Path, conf: Block, eap: Block) -> tuple[str, str]:
    variables = server.variables_of(raddb, conf)
    certificate, key = trust.certificate_files(eap)
    return expand(certificate, variables), expand(key, variables)


def _paths(
    installation: Installation, config: Fact[Config], certificate: Fact[tuple[str, str]]
) -> dict[str, str | None]:
    """The paths whose owners and modes are checked, by the keys that the checks use. None: there is no such path."""
    paths: dict[str, str | None] = {"settings": installation.config_file}
    if not isinstance(certificate, NotTried):
        paths["server_key"] = certificate[1]
    if isinstance(config, NotTried):
        return paths
    log = config.log.destination
    is_log_file = log not in ("stderr", "none")
    return {
        **paths,
        "policy": config.policy,
        "session_directory": config.session.directory,
        "control_socket": config.control_socket,
        "cui_key": config.cui_key_file,
        "anchors": config.anchors,
        "anchor_folder": str(Path(config.anchors, CA_FOLDER)),
        "anchor_index": str(Path(config.anchors, INDEX_FILE)),
        "log": log if is_log_file else None,
        "log_folder": str(Path(log).parent) if is_log_file else None,
        "hint_socket": config.hint.socket,
    }


def _cui_key_problem(config: Config) -> str | None:
    """What is wrong with the key for Chargeable-User-Identity, or None."""
    if config.cui_key_file is not None:
        try:
            read_cui_key(config.cui_key_file)
        except ConfigError as error:
            return str(error)
    return None
