"""`dane-radius policy explain`: which rule decides about a device, and why the rules above it do not."""

from __future__ import annotations

import sys

import click
from rich.table import Table

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.cli.policy_common import at_option, console, device_name, iso, policy_path, read_policy, shown
from dane_radius.core.decision import is_enforced, reason_of
from dane_radius.core.names import identity_domain
from policy import DeviceStanding, Match, Policy, RequestFacts, Standing
from policy.analysis import Explanation, explain

# More rules above the one that decides are counted only, unless --all asks for them.
_MAX_SHOWN = 20


@click.command("explain", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="NAME")
@click.option("--policy", "file", metavar="FILE", help="The policy file. Default: the configured one.")
@click.option("--ssid", help="The SSID of the network.")
@click.option("--nas", help="The NAS-Identifier or IP address of the access point or switch.")
@click.option("--nas-address", help="Its IP address, beside its NAS-Identifier.")
@click.option("--wired", is_flag=True, help="The network is wired (NAS-Port-Type Ethernet).")
@click.option("--port-type", help="The NAS-Port-Type, for example Wireless-802.11.")
@click.option("--realm", help="The realm of the outer identity.")
@at_option
@click.option("--standing", type=click.Choice([each.value for each in Standing]), help="What operations says of it.")
@click.option("--approved", is_flag=True, help="Somebody has approved the device.")
@click.option("--zone", help="The zone that operations has chosen for it.")
@click.option("--all", "show_all", is_flag=True, help="Show all rules that do not match.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_name(
    name: str,
    file: str | None,
    ssid: str | None,
    nas: str | None,
    nas_address: str | None,
    wired: bool,
    port_type: str | None,
    realm: str | None,
    at: float,
    standing: str | None,
    approved: bool,
    zone: str | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Say which rule decides about a device, why the rules above it do not, and what the device gets.

    The answer assumes that the DNS vouches for the device. `dane-radius check CERT` also asks the DNS.

    \b
    Example:
      dane-radius policy explain a1.camera._device.example.net --ssid iot
      dane-radius policy explain a1.camera._device.example.net --ssid iot --standing quarantined
      dane-radius policy explain x1.lab._device.campus.example --wired --nas sw-lab-3 --at '2027-02-02 09:00'

    Exit code 0: access; 1: refused; 2: wrong usage.
    """
    if wired and port_type is not None:
        fail("--wired and --port-type: one of the two is expected")
    device = None
    if standing is not None or approved or zone is not None:
        device = DeviceStanding(Standing(standing or "normal"), approved, zone)
    request = RequestFacts(
        ssid=ssid,
        nas_identifier=nas,
        # Policy ignores an address that is none.
        nas_address=nas_address or nas,
        nas_port_type="Ethernet" if wired else port_type,
        realm=realm.lower() if realm else None,
    )
    policy = read_policy(policy_path(file)).policy
    known = device_name(name)
    explanation = explain(policy, known, request, device, now=at)
    if as_json:
        print_json(_as_json(known, policy, explanation, at))
    else:
        _print(known, policy, explanation, at, show_all)
    sys.exit(0 if explanation.match.grant is not None else REFUSED)


def _is_monitored(policy: Policy, match: Match) -> bool:
    """Whether a refusal is only logged: this one or, for a match that gives access, one because of the DNS."""
    return policy.is_monitored(match.rule) and (match.grant is not None or not is_enforced(match))


def _as_json(name: str, policy: Policy, explanation: Explanation, at: float) -> dict[str, object]:
    match = explanation.match
    return {
        "name": name,
        "domain": identity_domain(name),
        "at": at,
        "access": match.grant is not None,
        "reason": reason_of(match).value if match.grant is None else None,
        "rule": match.rule.name if match.rule is not None else None,
        "standing": match.standing.value,
        "zone": match.zone,
        "detail": match.detail,
        "require": match.rule.require.value if match.grant is not None and match.rule is not None else None,
        "monitored": _is_monitored(policy, match),
        "expires": match.expires,
        "session_timeout": match.grant.session_timeout if match.grant is not None else None,
        "reply": [list(attribute) for attribute in explanation.reply],
        "rules": [
            {
                "rule": reason.rule.name,
                "line": reason.rule.line,
                "miss": reason.miss.value if reason.miss is not None else None,
                "why": reason.text,
            }
            for reason in explanation.reasons
        ],
    }


def _print(name: str, policy: Policy, explanation: Explanation, at: float, show_all: bool) -> None:
    out = console()
    match = explanation.match
    table = Table(box=None, pad_edge=False)
    for column in ("line", "rule", "", "why"):
        table.add_column(column, overflow="fold", no_wrap=column == "line")
    reasons = explanation.reasons
    hidden = 0 if show_all else max(0, len(reasons) - _MAX_SHOWN)
    for reason in reasons[hidden:]:
        decides = reason.miss is None
        mark = "[bold green]decides[/]" if decides else "no"
        table.add_row(str(reason.rule.line or ""), shown(reason.rule.name), mark, shown(reason.text))
    if hidden:
        out.print(f"{hidden} more rules above do not match (--all shows them)")
    if reasons:
        out.print(table)
        out.print()
    if match.grant is None:
        out.print(f"[bold red]refused[/]  {reason_of(match).value}")
        out.print(shown(match.detail))
        if _is_monitored(policy, match):
            out.print("mode: monitor admits it nevertheless, and logs this reason")
        elif policy.is_monitored(match.rule):
            out.print("mode: monitor does not change this")
    else:
        assert match.rule is not None
        zone = policy.zones.get(match.zone or "")
        what = f"zone {match.zone}" if match.zone is not None else f"rule {match.rule.name}"
        described = f"  ({shown(zone.description)})" if zone is not None and zone.description else ""
        out.print(f"[bold green]access[/]  {shown(what)}{described}")
        counts = {"any": "any usable TLSA record", "no_ca": "a TLSA record of usage 2 or 3"}
        counts |= {"pkix": "a TLSA record of usage 0 or 1", "dane_ee": "a TLSA record of usage 3"}
        out.print(f"if the DNS vouches for {shown(name)} with {counts[match.rule.require.value]}")
        for attribute in explanation.reply:
            out.print("  " + shown(" ".join(attribute)))
        out.print(f"  Session-Timeout := at most {match.grant.session_timeout}")
    if match.standing is not Standing.NORMAL:
        out.print(f"standing: {match.standing.value}")
    if match.expires is not None:
        out.print(f"this holds until {iso(match.expires)} (as of {iso(at)})")
