"""Asks a resolver or a name server one question, with DNSSEC, and says how it was answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

# With each transmission, Unbound starts anew to count its 1.9 seconds until it drops a late reply.
_TRANSMISSIONS, WAIT_SECONDS = 3, 1.5
# The most that one question takes.
QUESTION_SECONDS = _TRANSMISSIONS * WAIT_SECONDS + 1
_SHOWN_CHARACTERS = 200

# Sends a question once. Raises OSError or DNSException.
Ask = Callable[[dns.message.Message], dns.message.Message]


@dataclass(frozen=True, slots=True)
class DnsReply:
    """A question to the resolver. `failure`: why there is no reply, or None.

    windows: inception and expiration of each signature, in seconds since 1970. seconds: the time that it took.
    """

    name: str
    rdtype: str
    seconds: float
    failure: str | None = None
    rcode: str = ""
    authentic: bool = False
    extended_errors: tuple[tuple[int, str], ...] = ()
    windows: tuple[tuple[int, int], ...] = ()


def over_udp(address: str, port: int) -> Ask:
    """A function that sends a question over UDP, and over TCP if the answer is truncated."""

    def ask(query: dns.message.Message) -> dns.message.Message:
        answer, _ = dns.query.udp_with_fallback(query, address, WAIT_SECONDS, port, ignore_unexpected=True)
        return answer

    return ask


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
            failure = f"no answer within {_TRANSMISSIONS * WAIT_SECONDS:g} s"
        except (OSError, dns.exception.DNSException) as error:
            failure = str(error) or type(error).__name__
        else:
            return to_reply(answer, name, rdtype, time.monotonic() - began)
    return DnsReply(name, rdtype, 0.0, failure)


def to_reply(answer: dns.message.Message, name: str, rdtype: str, seconds: float) -> DnsReply:
    """What an answer says about its question."""
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
    return "".join(character if character.isprintable() else "?" for character in text[:_SHOWN_CHARACTERS])
