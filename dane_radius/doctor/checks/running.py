"""Checks of the running module, of its process, and of the policy that it should use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dane_radius.doctor.checks.replies import entries, mapping, number
from dane_radius.doctor.facts import Facts, PolicyFacts, ProcessFacts, RadiusdFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from dane_radius.server import Config
from health_report import Fact, NotTried

# `dane_radius.server.waits` keeps the descriptors below this for FreeRADIUS, and a few spare ones.
_RESERVED_DESCRIPTORS = 1024 + 4
_RESTART = "run `systemctl restart freeradius`"


def check_running(facts: Facts) -> list[Finding]:
    """The running module's state, and what differs from the files on disk."""
    running = facts.running
    if isinstance(running, NotTried):
        fix = "run `systemctl start freeradius`, and read `journalctl -u freeradius` if it does not start"
        return [error(Check.RUNNING_SERVER, running.why, "a running server", fix)]
    status = running.status
    findings = [ok(Check.RUNNING_SERVER, f"the module has run since {status.get('started', 'an unknown time')}")]
    findings += _check_version(status, facts.package_version)
    findings += _check_policy(status, facts.policy)
    findings += _check_anchors(status)
    findings += _check_lookups(mapping(status, "lookups"), facts.config)
    findings += check_process(running.process, facts.config, facts.radiusd)
    return findings


def _check_version(status: Mapping[str, Any], installed: str) -> list[Finding]:
    version = str(status.get("version"))
    if version == installed:
        return [ok(Check.RUNNING_VERSION, f"version {version} runs")]
    found = f"version {version} runs, and version {installed} is installed"
    return [warning(Check.RUNNING_VERSION, found, "the same version", _RESTART)]


def _check_policy(status: Mapping[str, Any], on_disk: Fact[PolicyFacts]) -> list[Finding]:
    policy = mapping(status, "policy")
    problems = entries(policy, "problems")
    if problems:
        found = f"the server uses an older policy: {'; '.join(map(str, problems))}"
        return [error(Check.RUNNING_POLICY, found, "the policy on disk", "correct the policy file")]
    digest = str(policy.get("digest"))
    if not isinstance(on_disk, NotTried) and not on_disk.digest.startswith(digest):
        found = f"the server uses policy {digest} of {policy.get('file')}, and {on_disk.file} is another one"
        fix = "wait two seconds and repeat this command, or compare `policy` in dane-radius.toml with --config"
        return [warning(Check.RUNNING_POLICY, found, "the policy on disk", fix)]
    return [ok(Check.RUNNING_POLICY, f"the server uses {policy.get('file')} ({policy.get('rules')} rules)")]


def _check_anchors(status: Mapping[str, Any]) -> list[Finding]:
    anchors = mapping(status, "anchors")
    if anchors.get("error"):
        fix = "correct the index or its permissions; `trust-sync once` writes it again"
        found = f"the module cannot use the anchors: {anchors['error']}"
        return [error(Check.RUNNING_ANCHORS, found, "an index that it can read", fix)]
    return [ok(Check.RUNNING_ANCHORS, f"the module holds {anchors.get('count', 0)} anchors of the index")]


def _check_lookups(lookups: Mapping[str, Any], config: Fact[Config]) -> list[Finding]:
    findings = []
    slow = [str(item.get("domain")) for item in entries(lookups, "slow_domains") if isinstance(item, Mapping)]
    if slow:
        found = f"{len(slow)} domains do not answer: {', '.join(slow[:5])}"
        fix = "ask the operators of these zones, or check the resolver's route to their servers"
        findings.append(warning(Check.RUNNING_SLOW_DOMAINS, found, "all domains answer", fix))
    else:
        findings.append(ok(Check.RUNNING_SLOW_DOMAINS, "no domain is slow"))
    waiting, allowed = number(lookups, "waiting") or 0, number(lookups, "may_wait") or 0
    found = f"{waiting} of {allowed} possible requests wait for the DNS"
    if not isinstance(config, NotTried) and allowed != config.cache.max_waiting:
        found += f"; max_waiting in dane-radius.toml is {config.cache.max_waiting}"
        findings.append(warning(Check.RUNNING_WAITING, found, "the configured number", _RESTART))
    elif waiting * 4 >= allowed * 3:
        fix = "check the resolver, and raise the thread pool with `dane-radius install --threads N`"
        findings.append(warning(Check.RUNNING_WAITING, found, "less than three quarters", fix))
    else:
        findings.append(ok(Check.RUNNING_WAITING, found))
    return findings


def check_process(process: Fact[ProcessFacts], config: Fact[Config], radiusd: Fact[RadiusdFacts]) -> list[Finding]:
    """The limit on descriptors (LimitNOFILE), and how much of the thread pool is in use."""
    if isinstance(process, NotTried):
        found = f"not checked: {process.why}"
        fix = "run this command as root on the server's host"
        return [info(Check.RUNNING_DESCRIPTORS, found, "", fix)]
    findings = []
    waiting = 0 if isinstance(config, NotTried) else config.cache.max_waiting
    needed = _RESERVED_DESCRIPTORS + waiting
    limit = process.max_descriptors
    used = "" if isinstance(process.open_descriptors, NotTried) else f", {process.open_descriptors} are open"
    found = f"process {process.pid} may open {'any number of' if limit is None else limit} descriptors{used}"
    if limit is not None and limit < needed:
        fix = "set `LimitNOFILE=16384` with `systemctl edit freeradius`, and restart the server"
        findings.append(error(Check.RUNNING_DESCRIPTORS, found, f"at least {needed} for {waiting} waits", fix))
    elif (
        limit is not None
        and not isinstance(process.open_descriptors, NotTried)
        and (process.open_descriptors > limit * 9 // 10)
    ):
        fix = "raise LimitNOFILE with `systemctl edit freeradius`, and restart the server"
        findings.append(warning(Check.RUNNING_DESCRIPTORS, found, "some are free", fix))
    else:
        findings.append(ok(Check.RUNNING_DESCRIPTORS, found))
    pool = None if isinstance(radiusd, NotTried) else radiusd.pool.get("max_servers")
    said = f"{process.threads} threads run" + (f"; the pool may have {pool}" if pool else "")
    if pool and process.threads > pool * 9 // 10:
        fix = "raise the thread pool with `dane-radius install --threads N`, and restart the server"
        findings.append(warning(Check.RUNNING_THREADS, said, "some are free", fix))
    else:
        findings.append(ok(Check.RUNNING_THREADS, said))
    return findings


def check_policy(policy: Fact[PolicyFacts]) -> list[Finding]:
    """The policy file on disk."""
    if isinstance(policy, NotTried):
        fix = "correct the file; docs/policy.md explains each key"
        return [error(Check.POLICY_FILE, policy.why, "a valid policy", fix)]
    findings = [ok(Check.POLICY_FILE, f"{policy.file} is valid, with {policy.rules} rules")]
    if policy.rules == 0:
        fix = "write a rule for your devices' names (docs/policy.md)"
        findings.append(warning(Check.POLICY_RULES, "no rule: every device is refused", "at least one rule", fix))
    elif policy.is_monitor:
        found = "mode is monitor: devices that the rules or the DNS would refuse are admitted"
        fix = "set `mode: enforce` once the log no longer names your own devices"
        findings.append(warning(Check.POLICY_RULES, found, "enforce", fix))
    else:
        findings.append(
            ok(Check.POLICY_RULES, f"mode is enforce; access below {', '.join(policy.domains[:3]) or 'no name'}")
        )
    return findings
