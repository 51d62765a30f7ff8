"""`dane-radius check`: the server's decision about a certificate in a file, with an explanation."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dane_radius.cli.common import REFUSED, fail, parse_resolver, print_json, read_certificate, read_config
from dane_radius.core.certificate import Leaf, parse_leaf
from dane_radius.core.decision import Prepared, StandingOf, conclude, nothing_known, prepare
from dane_radius.core.names import identity_domain
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.core.ruling import Decision, Ruling, refuse
from dane_radius.core.tlsa import TlsaRecord, Usage, association
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.local.standing_table import StandingTable
from dane_radius.server.config import Config
from dane_radius.server.standing import DeviceStandings
from policy import (
    DeviceStanding,
    Grant,
    Policy,
    PolicyError,
    RequestFacts,
    Rule,
    RuleKind,
    Standing,
    Strength,
    load_policy,
)

_PUBLISHING_HELPS = frozenset(
    {
        ReasonCode.TLSA_ABSENT,
        ReasonCode.TLSA_MISMATCH,
        ReasonCode.TLSA_UNUSABLE,
        ReasonCode.CHAIN_INVALID,
        ReasonCode.POLICY_STRENGTH,
    }
)


# A policy that covers every name, so that the result depends on the DNS alone.
_ANY_NAME = Policy(
    (
        Rule(
            "any-name", (), None, Strength.ANY, allow_pkix_cd=False, monitor=False, grant=Grant(), kind=RuleKind.DEFAULT
        ),
    ),
    source="--any-name",
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("certificate", metavar="CERT.pem")
@click.option("--ssid", help="The SSID of the network.")
@click.option("--nas", help="The NAS-Identifier or IP address of the access point or switch.")
@click.option("--wired", is_flag=True, help="The network is wired (NAS-Port-Type Ethernet).")
@click.option("--config", "config_file", help="The configuration file. Default: the installed one.")
@click.option("--policy", "policy_file", help="The policy file. Default: the configured one.")
@click.option("--any-name", is_flag=True, help="Ignore policy: decide by the DNS alone.")
@click.option("--anchors", help="The anchor directory. Default: the configured one.")
@click.option(
    "--resolver", help="ADDRESS[:PORT] on loopback, or tls://NAME@ADDRESS[:PORT]. Default: the configured resolver."
)
@click.option(
    "--standing",
    type=click.Choice([str(standing) for standing in Standing]),
    help="The standing of the device. Default: what the configured journal says now.",
)
@click.option("--approved", is_flag=True, help="Somebody has approved the device.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="Decide as of this UTC time instead of now.")
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
def check(
    certificate: str,
    ssid: str | None,
    nas: str | None,
    wired: bool,
    config_file: str | None,
    policy_file: str | None,
    any_name: bool,
    anchors: str | None,
    resolver: str | None,
    standing: str | None,
    approved: bool,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Decide about a certificate as the RADIUS server would, and explain the decision.

    \b
    Example:
      dane-radius check device.pem --ssid iot
      dane-radius check device.pem --ssid iot --standing quarantined
      dane-radius check device.pem --any-name --resolver 127.0.0.1 --json

    Exit code 0: accepted, 1: refused (the reason code says why), 2: wrong usage.
    """
    config = read_config(config_file)
    policy = _ANY_NAME if any_name else _load_policy(policy_file or config.policy, explicit=policy_file is not None)
    request = RequestFacts(
        ssid=ssid,
        nas_identifier=nas,
        # Policy ignores an address that is not one.
        nas_address=nas,
        nas_port_type="Ethernet" if wired else None,
    )
    now = at.replace(tzinfo=UTC) if at else datetime.now(UTC)
    leaf: Leaf | None = None
    try:
        leaf = parse_leaf(read_certificate(certificate))
    except Refused as refusal:
        decision = Decision(refuse(refusal, policy))
    else:
        standing_of = _standing_of(config, standing, now, approved=approved, any_name=any_name)
        decision = _decide(leaf, policy, request, standing_of, config, anchors, resolver, now)
    if as_json:
        print_json({**decision.to_json(), "publish": _to_publish(decision.ruling, leaf, policy)})
    else:
        _explain(decision, leaf, policy, now)
    sys.exit(0 if decision.accepted else REFUSED)


def _load_policy(path: str, *, explicit: bool) -> Policy:
    try:
        return load_policy(path)
    except PolicyError as error:
        hint = "" if explicit else "\ndane-radius: name a policy with --policy, or ignore policy with --any-name"
        fail(f"{error}{hint}")


def _standing_of(config: Config, standing: str | None, now: datetime, *, approved: bool, any_name: bool) -> StandingOf:
    """What is known of the device: what the options say, or else the journal that the server reads."""
    if standing is not None or approved:
        given = DeviceStanding(Standing(standing or Standing.NORMAL), approved)
        return lambda _name: given
    if any_name or config.standing is None:
        return nothing_known
    table = StandingTable(config.standing)
    table.refresh(paced=False)
    return DeviceStandings(table, now.timestamp).of


def _decide(
    leaf: Leaf,
    policy: Policy,
    request: RequestFacts,
    standing_of: StandingOf,
    config: Config,
    anchors: str | None,
    resolver: str | None,
    now: datetime,
) -> Decision:
    prepared = prepare(leaf, policy, request, standing_of, now=now.timestamp())
    if not isinstance(prepared, Prepared):
        return Decision(prepared)
    source = parse_resolver(resolver) if resolver else config.resolver.build()
    directory = AnchorDirectory(anchors or config.anchors)
    directory.refresh()
    return conclude(prepared, source.lookup(prepared.name), directory.for_name(prepared.name), now)


def _to_publish(ruling: Ruling, leaf: Leaf | None, policy: Policy) -> str | None:
    """The record that would vouch for this certificate, if a missing or wrong record may be the reason for the refusal.

    The record matches the device's key, with usage 3. If the rule requires a PKIX chain, it has usage 1, and the device
    also needs that chain.
    """
    if leaf is None or ruling.name is None or ruling.reason not in _PUBLISHING_HELPS:
        return None
    rule = next((rule for rule in policy.rules if rule.name == ruling.rule), None)
    usage = Usage.DANE_EE if rule is None or rule.require.allows(Usage.DANE_EE) else Usage.PKIX_EE
    record = TlsaRecord(usage, 1, 1, association(leaf.der, leaf.spki, 1, 1))
    return f"{ruling.name}. IN TLSA {record}"


def _explain(decision: Decision, leaf: Leaf | None, policy: Policy, now: datetime) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(what: str, text: str) -> None:
        table.add_row(what, escape(text))

    ruling = decision.ruling
    evidence = ruling.evidence
    if leaf is not None:
        row("certificate", f"SHA-256 {leaf.fingerprint}")
        row("valid", f"{leaf.not_before:%Y-%m-%d %H:%M}Z to {leaf.not_after:%Y-%m-%d %H:%M}Z")
        if not leaf.not_before <= now <= leaf.not_after:
            row("", "not valid at this time: OpenSSL refuses it in the handshake, before any decision")
    if ruling.name:
        row("identity", f"{ruling.name}  (domain {identity_domain(ruling.name)})")
    if evidence.standing and (evidence.standing != Standing.NORMAL or evidence.approved):
        row("standing", evidence.standing + (", approved" if evidence.approved else ""))
    row("rule", ruling.rule or "none")
    if evidence.zone:
        row("zone", evidence.zone)
    if evidence.dns:
        row("DNS", evidence.dns + (f", usable for {decision.ttl} s" if decision.ttl is not None else ""))
    for text in evidence.records:
        aside = next((why for short, why in evidence.set_aside if short == text), None)
        mark = "matches" if text == evidence.matched else f"set aside: {aside}" if aside else "no match"
        row("TLSA", f"{text}  {mark}")
    for short, why in evidence.set_aside:
        if short == "(malformed)":
            row("TLSA", f"set aside: {why}")
    if evidence.chain:
        row("chain", evidence.chain)
    for failure in evidence.chain_failures:
        row("chain", f"not valid: {failure}")
    for attribute in decision.attributes:
        row("reply", " ".join(attribute))
    console.print(table)
    publish = _to_publish(decision.ruling, leaf, policy)
    if publish:
        console.print(f"\nThis record would vouch for the certificate:\n  {escape(publish)}")
    colour = "green" if decision.accepted else "red"
    suffix = "  (monitored: a reject in enforce mode)" if ruling.monitored else ""
    console.print(f"\n[bold {colour}]{ruling.verdict.value}[/]  {ruling.reason.value}{suffix}")
    console.print(escape(ruling.detail))
