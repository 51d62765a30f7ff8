"""`dane-radius tlsa`: the TLSA records to publish for a certificate, and whether the DNS has them."""

from __future__ import annotations

import sys
from typing import Any

import click

from dane_radius.cli.common import REFUSED, fail, parse_resolver, print_json, read_certificate, read_config
from dane_radius.core.answers import Answer, Bogus, Insecure, Secure, SecureAbsent
from dane_radius.core.certificate import Leaf, candidate_names, parse_leaf
from dane_radius.core.names import normalize
from dane_radius.core.reasons import Refused
from dane_radius.core.tlsa import TlsaRecord, association, matches, select

_CHOICES: dict[str, tuple[int, int, int]] = {
    f"{usage} {selector} {matching}": (usage, selector, matching)
    for usage in (0, 1, 2, 3, 4)
    for selector in (0, 1)
    for matching in (0, 1, 2)
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("certificate", metavar="CERT.pem")
@click.option(
    "--record",
    "records",
    multiple=True,
    type=click.Choice(sorted(_CHOICES)),
    metavar="'U S M'",
    help="The usage, selector and matching type, for example '3 0 1'. May be repeated. Default: '3 1 1'.",
)
@click.option("--name", help="The owner name. Required for a CA certificate and one with several dNSNames.")
@click.option("--ttl", type=click.IntRange(0, 604800), default=300, show_default=True, help="The TTL in seconds.")
@click.option("--verify", is_flag=True, help="Compare the records with those in the DNS.")
@click.option("--resolver", help="ADDRESS[:PORT] on loopback, or tls://NAME@ADDRESS[:PORT]. Default: as configured.")
@click.option("--config", "config_file", help="The configuration file. Default: the installed one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tlsa(
    certificate: str,
    records: tuple[str, ...],
    name: str | None,
    ttl: int,
    verify: bool,
    resolver: str | None,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Print the TLSA records to publish for a device certificate.

    \b
    3 1 1         the device's key: the usual choice, which stays valid for a new certificate of the same key
    3 0 1         exactly this certificate
    2 x x         the CA that issued it: give the CA's certificate and --name
    1 x x, 0 x x  as 3 and 2, but the network also requires a chain to one of its anchors

    \b
    Example:
      dane-radius tlsa device.pem
      dane-radius tlsa device.pem --record '3 1 1' --record '3 0 1' --verify

    Exit code 1 with --verify: the DNS does not vouch for this certificate.
    """
    try:
        leaf = parse_leaf(read_certificate(certificate))
        owner = _owner(leaf, name)
    except Refused as refusal:
        fail(f"{certificate}: {refusal.code.value}: {refusal.detail}", REFUSED)
    wanted = [
        TlsaRecord(*_CHOICES[choice], association(leaf.der, leaf.spki, *_CHOICES[choice][1:]))
        for choice in records or ("3 1 1",)
    ]
    outcome = None
    if verify:
        source = parse_resolver(resolver) if resolver else read_config(config_file).resolver.build()
        outcome = _compare(source.lookup(owner), wanted, leaf)
    if as_json:
        print_json(
            {
                "owner": owner,
                "ttl": ttl,
                "records": [
                    {"usage": r.usage, "selector": r.selector, "matching_type": r.matching_type, "data": r.data.hex()}
                    for r in wanted
                ],
                "verify": outcome,
            }
        )
    else:
        for record in wanted:
            click.echo(f"{owner}. {ttl} IN TLSA {record}")
        if outcome is not None:
            _print_outcome(outcome)
    sys.exit(REFUSED if outcome is not None and not outcome["vouched"] else 0)


def _owner(leaf: Leaf, name: str | None) -> str:
    if name is not None:
        return normalize(name.encode("utf-8"))
    names = candidate_names(leaf)
    if len(names) > 1:
        fail(f"the certificate has {len(names)} dNSNames ({', '.join(names[:4])}); choose one with --name")
    return names[0]


def _compare(answer: Answer, wanted: list[TlsaRecord], leaf: Leaf) -> dict[str, Any]:
    """The published records, each with its verdict. `vouched`: whether a usable one matches the certificate."""
    outcome: dict[str, Any] = {"vouched": False, "state": "", "published": [], "missing": [str(r) for r in wanted]}
    match answer:
        case Secure(records, ttl):
            outcome["state"] = "secure"
            outcome["ttl"] = ttl
            selection = select(records)
            aside = dict(selection.set_aside)
            for record in records:
                matching = record in selection.usable and matches(record, leaf.der, leaf.spki)
                verdict = aside.get(record) or ("matches this certificate" if matching else "for another certificate")
                outcome["published"].append({"record": str(record), "verdict": verdict})
                outcome["vouched"] = outcome["vouched"] or matching
            outcome["missing"] = [str(record) for record in wanted if record not in records]
        case SecureAbsent(absence):
            outcome["state"] = f"provably absent ({absence})"
        case Insecure(detail):
            outcome["state"] = f"insecure: {detail}"
        case Bogus(code, text):
            outcome["state"] = f"bogus: EDE {code} {text}".rstrip()
        case _:
            outcome["state"] = f"unavailable: {answer.detail}"
    return outcome


def _print_outcome(outcome: dict[str, Any]) -> None:
    click.echo(f"; DNS: {outcome['state']}")
    for entry in outcome["published"]:
        click.echo(f"; published: {entry['record']}  ({entry['verdict']})")
    for record in outcome["missing"]:
        click.echo(f"; not published: {record}")
    click.echo("; the DNS vouches for this certificate" if outcome["vouched"] else "; the DNS does not vouch for it")
