"""Gathers facts about the resolver: questions, their answers, and the time that they take."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Mapping
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
from dane_radius.doctor.facts import ColdName, DnsReply, Fact, NotTried, ResolverFacts
from dane_radius.doctor.gather.deadline import CannotTry, Pending
from dane_radius.doctor.installation import Names
from dane_radius.local import ResolverConfig

RESOLVER_SECONDS = 22.0
# With each transmission, Unbound starts anew to count its 1.9 seconds until it drops a late reply.
_TRANSMISSIONS, _WAIT_SECONDS = 3, 1.5
_PROBE_SECONDS = _TRANSMISSIONS * _WAIT_SECONDS + 1
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

Ask = Callable[[dns.message.Message], dns.message.Message]


def probe_resolver(
    config: ResolverConfig, names: Names, domains: Fact[tuple[str, ...]], control_sockets: list[str]
) -> ResolverFacts:
    """Ask the configured resolver. `domains`: those of policy. `control_sockets`: where Unbound's may be."""
    unbound = Pending(lambda: read_unbound(config, control_sockets), _PROBE_SECONDS)
    ask = _transport(config)
    # Only the resolver itself is needed for this one.
    reach = Pending(lambda: ask_once(ask, "version.bind", "TXT", rdclass="CH"), _PROBE_SECONDS)
    good_name = names.good or _GOOD
    good_type = "TLSA" if names.good else _GOOD_TYPE
    good = Pending(lambda: ask_once(ask, good_name, good_type), _PROBE_SECONDS).result()
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
        pending_bad = Pending(lambda: _ask_bad(ask, names.bad or _BAD), 2 * _PROBE_SECONDS)
        cold = _ask_cold(ask, domains)
        again = Pending(lambda: ask_once(ask, good_name, good_type), _PROBE_SECONDS).result()
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
                _WAIT_SECONDS,
                config.port or 853,
                ssl_context=context,
                server_hostname=config.server_name,
            )

        return over_tls

    def over_udp(query: dns.message.Message) -> dns.message.Message:
        answer, _ = dns.query.udp_with_fallback(
            query, config.address, _WAIT_SECONDS, config.port or 53, ignore_unexpected=True
        )
        return answer

    return over_udp


def ask_once(ask: Ask, name: str, rdtype: str, *, rdclass: str = "IN", checking: bool = True) -> DnsReply:
    """One question with its retransmissions. `checking`: whether the resolver is to validate (CD is not set)."""
    query = dns.message.make_query(name, rdtype, rdclass, use_edns=0, want_dnssec=True, payload=1232)
    query.flags |= dns.flags.AD
    if not checking:
        query.flags |= dns.flags.CD
    failure = ""
    began = time.monotonic()
    for _ in range(_TRANSMISSIONS):
        try:
            answer = ask(query)
        except dns.exception.Timeout:
            failure = f"no answer within {_TRANSMISSIONS * _WAIT_SECONDS:g} s"
        except (OSError, dns.exception.DNSException) as error:
            failure = str(error) or type(error).__name__
        else:
            return _reply(answer, name, rdtype, time.monotonic() - began)
    return DnsReply(name, rdtype, 0.0, failure)


def _reply(answer: dns.message.Message, name: str, rdtype: str, seconds: float) -> DnsReply:
    errors = [option for option in answer.options if isinstance(option, dns.edns.EDEOption)]
    windows = [
        (int(record.inception), int(record.expiration))
        for rrset in (*answer.answer, *answer.authority)
        if rrset.rdtype == dns.rdatatype.RRSIG
        for record in rrset
    ]
    return DnsReply(
        name,
        rdtype,
        seconds,
        rcode=dns.rcode.to_text(answer.rcode()),
        authentic=bool(answer.flags & dns.flags.AD),
        extended_errors=tuple((int(option.code), _printable(option.text or "")) for option in errors),
        windows=tuple(windows),
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])


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

    probes = [(domain, Pending(partial(probe, domain), 2 * _PROBE_SECONDS)) for domain in domains[:_MAX_DOMAINS]]
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
