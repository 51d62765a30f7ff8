"""Checks of FreeRADIUS itself: its program, its own check of its configuration, its limits, and its clients."""

from __future__ import annotations

from dane_radius.doctor.facts import ConfigurationCheck, InstallFacts, Program, RadiusClient, RadiusdFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from dane_radius.server import Config
from health_report import Fact, NotTried

# The oldest and the first unknown version that the sites were written for.
_OLDEST, _UNKNOWN = (3, 2, 0), (4,)
# From this version on, radiusd.conf has the settings against CVE-2024-3596 (BlastRADIUS).
_HAS_SECURITY_SETTINGS = (3, 2, 5)
# NASes repeat a request after 3, 6 and 12 seconds.
_CLEANUP_DELAY_SECONDS = 10
_MAX_REQUESTS = 65_536
_LEAST_SECRET_OCTETS = 16
_RAISE = "run `dane-radius install` again, which raises it"


def check_program(program: Fact[Program]) -> list[Finding]:
    """The version of FreeRADIUS, and the modules that the sites need."""
    if isinstance(program, NotTried):
        fix = "install it with `apt-get install freeradius freeradius-python3`, or run this command where it is"
        return [error(Check.SERVER_PROGRAM, program.why, "FreeRADIUS 3.2", fix)]
    text = ".".join(map(str, program.version)) or "of an unknown version"
    found = f"{program.path} is FreeRADIUS {text}"
    if _OLDEST <= program.version < _UNKNOWN:
        findings = [ok(Check.SERVER_PROGRAM, found)]
    else:
        findings = [error(Check.SERVER_PROGRAM, found, "FreeRADIUS 3.2", "install the package of Debian 12 or 13")]
    if program.missing_modules:
        packages = {"rlm_python3": "freeradius-python3"}
        wanted = " ".join(sorted({packages.get(name, "freeradius") for name in program.missing_modules}))
        said = f"{program.library_folder} lacks {', '.join(program.missing_modules)}"
        fix = f"run `apt-get install --reinstall {wanted}`"
        findings.append(error(Check.SERVER_MODULES, said, "rlm_python3 and rlm_perl", fix))
    else:
        findings.append(ok(Check.SERVER_MODULES, "rlm_python3 and rlm_perl are installed"))
    return findings


def check_configuration(result: Fact[ConfigurationCheck]) -> list[Finding]:
    """The server's own check of its configuration."""
    expected = "the configuration is good"
    if isinstance(result, NotTried):
        return [warning(Check.SERVER_CONFIGURATION, f"not checked: {result.why}", expected, "run `freeradius -CX`")]
    if result.passed:
        return [ok(Check.SERVER_CONFIGURATION, f"{result.command}, as user {result.user}: the configuration is good")]
    found = f"{result.command}, as user {result.user}, refuses the configuration: {result.output}"
    fix = "correct what the last lines name; `freeradius -CX` prints all of them"
    return [error(Check.SERVER_CONFIGURATION, found, expected, fix)]


def check_limits(radiusd: Fact[RadiusdFacts], config: Fact[Config]) -> list[Finding]:
    """The limits of radiusd.conf, against the number of requests that may wait for the DNS."""
    if isinstance(radiusd, NotTried):
        fix = "run this command as root, and give the folder with --raddb"
        return [warning(Check.SERVER_THREADS, f"not checked: {radiusd.why}", "a readable radiusd.conf", fix)]
    waiting = 0 if isinstance(config, NotTried) else config.cache.max_waiting
    return [*_check_threads(radiusd, waiting), *_check_requests(radiusd, waiting), *_check_cleanup(radiusd)]


def _check_threads(radiusd: RadiusdFacts, waiting: int) -> list[Finding]:
    threads = radiusd.pool.get("max_servers")
    expected = f"more than max_waiting in dane-radius.toml, which is {waiting}"
    if threads is None:
        found = f"{radiusd.file} does not set max_servers"
        fix = "set max_servers in the block `thread pool` of radiusd.conf"
        return [warning(Check.SERVER_THREADS, found, expected, fix)]
    found = f"max_servers is {threads}, and up to {waiting} requests may wait for the DNS"
    if threads <= waiting:
        fix = "run `dane-radius install` again, which raises max_servers, and restart the server"
        return [error(Check.SERVER_THREADS, found, expected, fix)]
    if waiting > threads * 7 // 8:
        fix = "run `dane-radius install` again, or lower max_waiting"
        return [warning(Check.SERVER_THREADS, found, "max_waiting is at most seven eighths of max_servers", fix)]
    pool = ", ".join(f"{key} {value}" for key, value in sorted(radiusd.pool.items()) if key != "max_servers")
    return [ok(Check.SERVER_THREADS, f"{found}; {pool}" if pool else found)]


def _check_requests(radiusd: RadiusdFacts, waiting: int) -> list[Finding]:
    requests = radiusd.numbers.get("max_requests")
    expected = f"at least {_MAX_REQUESTS}"
    if requests is None:
        fix = f"set `max_requests = {_MAX_REQUESTS}` in radiusd.conf"
        return [warning(Check.SERVER_REQUESTS, f"{radiusd.file} does not set max_requests", expected, fix)]
    if requests <= waiting:
        found = f"max_requests is {requests}, and up to {waiting} requests may wait for the DNS"
        return [error(Check.SERVER_REQUESTS, found, expected, _RAISE)]
    if requests < _MAX_REQUESTS:
        return [warning(Check.SERVER_REQUESTS, f"max_requests is {requests}", expected, _RAISE)]
    return [ok(Check.SERVER_REQUESTS, f"max_requests is {requests}")]


def _check_cleanup(radiusd: RadiusdFacts) -> list[Finding]:
    delay = radiusd.numbers.get("cleanup_delay")
    if delay is not None and delay >= _CLEANUP_DELAY_SECONDS:
        return [ok(Check.SERVER_CLEANUP_DELAY, f"cleanup_delay is {delay} s")]
    found = "cleanup_delay is not set" if delay is None else f"cleanup_delay is {delay} s"
    fix = f"set `cleanup_delay = {_CLEANUP_DELAY_SECONDS}` in radiusd.conf, so that repeated requests get their answer"
    return [warning(Check.SERVER_CLEANUP_DELAY, found, f"at least {_CLEANUP_DELAY_SECONDS} s", fix)]


def check_blastradius(
    program: Fact[Program], radiusd: Fact[RadiusdFacts], install: Fact[InstallFacts]
) -> list[Finding]:
    """CVE-2024-3596: whether the server answers requests without a Message-Authenticator."""
    if isinstance(radiusd, NotTried):
        return []
    is_known = not isinstance(program, NotTried) and program.version >= _HAS_SECURITY_SETTINGS
    findings = [] if isinstance(program, NotTried) else _check_security(radiusd, is_known=is_known)
    site_refuses = not isinstance(install, NotTried) and any(
        item.is_present for item in install.essentials if item.statement == "dane_eap_only"
    )
    for client in radiusd.clients:
        findings += _check_client(client, radiusd, is_known=is_known, site_refuses=site_refuses)
        findings += _check_secret(client)
    if not radiusd.clients:
        fix = "add each access point and switch to clients.conf, with a secret of its own"
        findings.append(warning(Check.SERVER_CLIENT, "no client is defined", "a client for each NAS", fix))
    return findings


def _check_security(radiusd: RadiusdFacts, *, is_known: bool) -> list[Finding]:
    if not is_known:
        found = "this version has no global setting; each client must have its own (before FreeRADIUS 3.2.5)"
        return [
            info(Check.SERVER_MESSAGE_AUTHENTICATOR, found),
            info(Check.SERVER_PROXY_STATE, "this version has no limit_proxy_state (before FreeRADIUS 3.2.5)"),
        ]
    findings = []
    for check, key in (
        (Check.SERVER_MESSAGE_AUTHENTICATOR, "require_message_authenticator"),
        (Check.SERVER_PROXY_STATE, "limit_proxy_state"),
    ):
        value = radiusd.security.get(key, "auto (the default)")
        if value == "yes":
            findings.append(ok(check, f"{key} is yes in the block `security`"))
            continue
        kind = error if value == "no" else warning
        fix = f"set `{key} = yes` in the block `security` of radiusd.conf"
        findings.append(kind(check, f"{key} is {value}", "yes", fix))
    return findings


def _check_client(client: RadiusClient, radiusd: RadiusdFacts, *, is_known: bool, site_refuses: bool) -> list[Finding]:
    title = f"client {client.name} ({client.file})"
    by_default = radiusd.security.get("require_message_authenticator") if is_known else None
    value = client.require_message_authenticator or by_default
    if value == "yes":
        return [ok(Check.SERVER_CLIENT, f"{title} requires Message-Authenticators")]
    own = client.require_message_authenticator
    found = f"{title} has require_message_authenticator = {own}" if own else f"{title} requires none"
    limited = client.limit_proxy_state or (radiusd.security.get("limit_proxy_state") if is_known else None)
    if limited == "yes":
        found += ", but limits Proxy-State"
    fix = f"set `require_message_authenticator = yes` in client {client.name}, or delete the client"
    if client.is_loopback or site_refuses or limited == "yes":
        return [warning(Check.SERVER_CLIENT, found, "require_message_authenticator = yes", fix)]
    found += "; the site does not refuse such requests either"
    return [error(Check.SERVER_CLIENT, found, "require_message_authenticator = yes", fix)]


def _check_secret(client: RadiusClient) -> list[Finding]:
    title = f"client {client.name} ({client.file})"
    fix = f"give client {client.name} a secret of its own, for example from `openssl rand -base64 24`"
    expected = f"a random secret of at least {_LEAST_SECRET_OCTETS} octets"
    if client.is_known_secret:
        kind = warning if client.is_loopback else error
        return [kind(Check.SERVER_CLIENT_SECRET, f"{title} has a secret from a sample file", expected, fix)]
    if client.secret_octets < _LEAST_SECRET_OCTETS:
        found = f"{title} has a secret of {client.secret_octets} octets"
        return [warning(Check.SERVER_CLIENT_SECRET, found, expected, fix)]
    return [ok(Check.SERVER_CLIENT_SECRET, f"{title} has a secret of {client.secret_octets} octets")]
