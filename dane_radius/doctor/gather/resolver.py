"""Gathers facts about the resolver: questions, their answers, and the time that they take."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from functools import partial

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from dane_radius.dns.tls import tls_context
from dane_radius.doctor.facts import ColdName, ResolverFacts
from dane_radius.doctor.gather.deadline import Pending
from dane_radius.doctor.installation import Names
from dane_radius.local import ResolverConfig
from health_report import (
    QUESTION_SECONDS,
    WAIT_SECONDS,
    Ask,
    CannotTry,
    DnsReply,
    Fact,
    NotTried,
    ask_once,
    over_udp,
)

RESOLVER_SECONDS = 22.0
# The root is signed. The other name is broken on purpose, for tests of resolvers.
_GOOD, _GOOD_TYPE, _BAD = ".", "SOA", "dnssec-failed.org"
_MAX_DOMAINS = 4
_CONTROL_SECONDS = 2.0
_OPTIONS = (
    "port",
    "serve-expired",
    "val-permissive-mode",
    "val-sig-skew-min",
    "val-sig-skew-max",
    "aggressive-nsec",
    "ede",
    "qname-minimisation",
)


def probe_resolver(
    config: ResolverConfig, names: Names, domains: Fact[tuple[str, ...]], control_sockets: list[str]
) -> ResolverFacts:
    """Ask the configured resolver. `domains`: those of policy. `control_sockets`: where Unbound's may be."""
    unbound = Pending(lambda: read_unbound(config, control_sockets), QUESTION_SECONDS)
    ask = _transport(config)
    # Only the resolver itself is needed for this one.
    reach = Pending(lambda: ask_once(ask, "version.bind", "TXT", rdclass="CH"), QUESTION_SECONDS)
    good_name = names.good or _GOOD
    good_type = "TLSA" if names.good else _GOOD_TYPE
    good = Pending(lambda: ask_once(ask, good_name, good_type), QUESTION_SECONDS).result()
    reached = reach.result()
    if isinstance(reached, NotTried):
        reached = DnsReply("version.bind", "TXT", 0.0, reached.why)
    answers = reached.failure is None or (not isinstance(good, NotTried) and good.failure is None)
    silent = NotTried("the resolver does not answer")
    again: Fact[DnsReply] = silent
    bad: Fact[DnsReply] = silent
    unchecked: Fact[DnsReply] = silent
    cold: Fact[tuple[ColdName, ...]] = silent
    if answers:
        pending_bad = Pending(lambda: _ask_bad(ask, names.bad or _BAD), 2 * QUESTION_SECONDS)
        cold = _ask_cold(ask, domains)
        again = Pending(lambda: ask_once(ask, good_name, good_type), QUESTION_SECONDS).result()
        both = pending_bad.result()
        bad, unchecked = (both, both) if isinstance(both, NotTried) else both
    return ResolverFacts(
        title=str(config.build()),
        timeout=config.timeout,
        is_named_good=names.good is not None,
        is_named_bad=names.bad is not None,
        reach=reached,
        good=good,
        again=again,
        bad=bad,
        bad_unchecked=unchecked,
        cold=cold,
        unbound=unbound.result(),
    )


def _transport(config: ResolverConfig) -> Ask:
    """A function that sends a question once, as the module would."""
    if config.transport == "tls":
        context = tls_context(config.ca_file)

        def over_tls(query: dns.message.Message) -> dns.message.Message:
            return dns.query.tls(
                query,
                config.address,
                WAIT_SECONDS,
                config.port or 853,
                ssl_context=context,
                server_hostname=config.server_name,
            )

        return over_tls

    return over_udp(config.address, config.port or 53)


def _ask_bad(ask: Ask, name: str) -> tuple[DnsReply, DnsReply]:
    """The question for the name with invalid signatures, and the same without validation."""
    return ask_once(ask, name, "TLSA"), ask_once(ask, name, "TLSA", checking=False)


def _ask_cold(ask: Ask, domains: Fact[tuple[str, ...]]) -> Fact[tuple[ColdName, ...]]:
    """Two random names below each of the first domains. All domains at the same time."""
    if isinstance(domains, NotTried):
        return domains
    if not domains:
        return NotTried("policy grants access below no domain")

    def probe(domain: str) -> ColdName:
        first = ask_once(ask, f"doctor-{secrets.token_hex(8)}.{domain}", "TLSA")
        return ColdName(domain, first, ask_once(ask, f"doctor-{secrets.token_hex(8)}.{domain}", "TLSA"))

    probes = [(domain, Pending(partial(probe, domain), 2 * QUESTION_SECONDS)) for domain in domains[:_MAX_DOMAINS]]
    found = []
    for domain, pending in probes:
        result = pending.result()
        if isinstance(result, NotTried):
            failed = DnsReply(domain, "TLSA", 0.0, result.why)
            result = ColdName(domain, failed, failed)
        found.append(result)
    return tuple(found)


def read_unbound(config: ResolverConfig, sockets: list[str]) -> Mapping[str, str]:
    """Settings of the Unbound that is the configured resolver, over its control socket. Raises CannotTry."""
    if config.transport == "tls":
        raise CannotTry("the resolver is on another host")
    problem = "no control socket of Unbound is known"
    for path in sockets:
        try:
            options = {name: text for name in _OPTIONS if (text := _option(path, name)) is not None}
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
            continue
        if options.get("port") == str(config.port or 53):
            return options
        problem = f"{path} belongs to another Unbound (port {options.get('port')})"
    raise CannotTry(problem)


def _option(path: str, name: str) -> str | None:
    """One setting, or None if this version of Unbound does not have it. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(_CONTROL_SECONDS)
        connection.connect(path)
        connection.sendall(f"UBCT1 get_option {name}\n".encode())
        octets = b""
        while (chunk := connection.recv(4096)) and len(octets) < 65536:
            octets += chunk
    text = octets.decode("utf-8", "replace").strip()
    return None if text.startswith("error") or not text else text.splitlines()[0]
