"""`trust-sync discover`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

import click
from rich.markup import escape

from dane_radius.core import Refused, identity_domain, normalize
from dane_radius.local import AnchorDirectory, ConfigError, ControlError, ask
from policy import PolicyError, load_policy
from trust_sync.anchors import HeldAnchors
from trust_sync.cli.common import config_option, fail, json_option, out, print_json
from trust_sync.discovery import AnchorSearch, DiscoveryContext, DiscoveryStatus, DryRun, Outcome, build_fetcher
from trust_sync.shared import DnsClient, load_config

_WORKER_TIMEOUT_SECONDS = 60.0


@click.command()
@click.argument("name")
@config_option
@json_option
@click.option("--install", is_flag=True, help="Have the running worker install what it finds, within its limits.")
def discover(name: str, config_path: str, as_json: bool, install: bool) -> None:
    """Show, step by step, which trust anchor would be found for a device name. Changes nothing without --install.

    \b
    Example:
      trust-sync discover a1b2c3.camera._device.example.net
    """
    try:
        if install:
            outcome = _ask_worker(config_path, name)
        else:
            outcome = asyncio.run(_search(config_path, normalize(name.encode()))).to_json()
    except Refused as error:
        raise click.BadParameter(error.detail, param_hint="NAME") from error
    except (ConfigError, PolicyError, ControlError) as error:
        fail(str(error))
    refused = outcome["state"] == DiscoveryStatus.REFUSED
    if as_json:
        print_json(outcome)
    else:
        for step in outcome["steps"]:
            out.print(f"  {escape(step)}")
        colour = "red" if refused else "green"
        out.print(f"[{colour}]{outcome['state']}[/] ({outcome['reason']}): {escape(outcome['detail'])}")
    sys.exit(1 if refused else 0)


def _ask_worker(config_path: str, name: str) -> dict[str, Any]:
    """Have the running worker discover and install. Raises ConfigError, ControlError."""
    config, _ = load_config(config_path)
    wait = config.discovery.timeout
    return ask(config.socket, "discover", name=name, wait=wait, timeout=_WORKER_TIMEOUT_SECONDS)


async def _search(config_path: str, name: str) -> Outcome:
    """Search without installing anything. Raises ConfigError, PolicyError."""
    config, module = load_config(config_path)
    policy = load_policy(module.policy)
    dns = DnsClient(module.resolver)
    try:
        context = DiscoveryContext(config.discovery, lambda: policy, HeldAnchors(), dns)
        outcome = await AnchorSearch(context, build_fetcher(config.discovery, dns), DryRun()).find(name)
    finally:
        await dns.close()
    grant = "could grant access" if policy.could_grant(name) else "no rule gives this name access"
    domain = identity_domain(name)
    steps = (f"policy: {grant}", f"anchors held for {domain}: {_held_subjects(module.anchors, domain)}")
    return replace(outcome, steps=(*steps, *outcome.steps))


def _held_subjects(path: str, domain: str) -> str:
    directory = AnchorDirectory(path)
    directory.refresh()
    return ", ".join(anchor.record.subject for anchor in directory.for_name(f"device.{domain}")) or "none"
