"""The worker follows a registry over outages and restarts, with real TLS and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dane_radius.local import AnchorDirectory
from tests.harness.pki import Authority, authority
from tests.harness.process import run, wait_for
from tests.harness.trust_sync import COMMAND, TrustSync, WebServer, anchor_json

pytestmark = pytest.mark.daemons

DOMAIN = "example.net"
POLICY = "version: 1\nrules:\n  - {name: all, identity: ['**.example.net'], grant: {vlan: 1}}\n"


class Setting:
    """A registry, and a worker with the configuration of a module that does not run."""

    def __init__(self, folder: Path, registry: WebServer) -> None:
        self.folder, self.registry = folder, registry
        (folder / "policy.yaml").write_text(POLICY)
        module = folder / "dane-radius.toml"
        module.write_text(
            f'policy = "{folder}/policy.yaml"\nanchors = "{folder}/anchors"\ncontrol_socket = "{folder}/none.sock"\n'
            "[resolver]\nport = 9\ntimeout = 0.2\n"
        )
        self.sync = TrustSync(
            folder / "sync",
            module,
            f"[[registry]]\nname = 'home'\nurl = 'https://localhost:{registry.port}'\ndomains = ['{DOMAIN}']\n"
            f"api_key_file = '{registry.key_file}'\nca_file = '{registry.ca_file}'\nwait = 2\n",
        )

    def anchors(self) -> set[str]:
        """What the module would see."""
        reader = AnchorDirectory(self.folder / "anchors")
        reader.refresh()
        assert reader.last_error is None
        return {anchor.record.fingerprint for anchor in reader.for_name(f"a1._device.{DOMAIN}")}

    def wait_for(self, *cas: Authority) -> None:
        wait_for(lambda: self.anchors() == {ca.fingerprint for ca in cas}, "the anchors", timeout=15)

    def metric(self, sample: str) -> float:
        text = run(["curl", "-sS", f"http://127.0.0.1:{self.sync.metrics_port}/metrics"])
        return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(sample + " ")), 0.0)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.sync.write_config()
        return subprocess.run(
            [str(COMMAND), *arguments, "--config", str(self.sync.config)], capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with WebServer(tmp_path / "web", ["localhost"]) as registry:
        yield Setting(tmp_path, registry)


def test_anchors_come_and_go_with_the_feed(setting: Setting) -> None:
    first, second = authority("First CA"), authority("Second CA")
    setting.registry.anchors.append(anchor_json(first, DOMAIN))
    with setting.sync:
        setting.wait_for(first)
        setting.registry.announce("anchor.added", domain=DOMAIN, anchor=second)
        setting.wait_for(first, second)
        setting.registry.announce("anchor.removed", domain=DOMAIN, anchor=first)
        setting.wait_for(second)
        # Foreign domains and invalid CAs change nothing. The changes after them apply.
        third = authority("Third CA")
        setting.registry.announce("anchor.added", domain="example.org", anchor=authority("Foreign CA"))
        setting.registry.announce("anchor.added", domain=DOMAIN, anchor=authority("No CA", ca=False))
        setting.registry.announce("anchor.added", domain=DOMAIN, anchor=authority("second  ca"))
        setting.registry.announce("something.new", domain=DOMAIN, name="a1.example.net")
        setting.registry.announce("device.revoked", domain=DOMAIN, name="victim.example.org")
        setting.registry.announce("anchor.added", domain=DOMAIN, anchor=third)
        setting.wait_for(second, third)
        for reason in ("outside_domain", "not_a_ca", "shadows"):
            assert setting.metric(f'trust_sync_anchors_refused_total{{reason="{reason}"}}') == 1
        assert setting.sync.events("change of a name that is not the registry's")
        wait_for(lambda: setting.metric('trust_sync_anchors{source="registry"}') == 2, "the metric")


def test_an_outage_of_the_registry_deletes_nothing(setting: Setting) -> None:
    ca, later = authority("Lasting CA"), authority("Later CA")
    setting.registry.anchors.append(anchor_json(ca, DOMAIN))
    with setting.sync as sync:
        setting.wait_for(ca)
        before = setting.metric('trust_sync_source_failures_total{reason="status",source="home"}')
        setting.registry.broken_status = 503
        setting.registry.announce("anchor.added", domain=DOMAIN, anchor=later)
        wait_for(
            lambda: setting.metric('trust_sync_source_failures_total{reason="status",source="home"}') > before,
            "failures",
        )
        assert setting.anchors() == {ca.fingerprint}
        assert "status 503" in sync.status()["registries"]["home"]["error"]
        setting.registry.broken_status = None
        setting.wait_for(ca, later)
        assert sync.status()["registries"]["home"]["error"] is None


def test_a_restart_goes_on_where_it_was_even_when_the_registry_is_down(setting: Setting) -> None:
    ca, later = authority("Old CA"), authority("New CA")
    setting.registry.anchors.append(anchor_json(ca, DOMAIN))
    with setting.sync:
        setting.wait_for(ca)
        setting.registry.announce("device.changed", domain=DOMAIN, name=f"a1._device.{DOMAIN}")
        wait_for(lambda: setting.sync.status()["registries"]["home"]["seq"] == 1, "the change")
    snapshots = setting.registry.requests.count("/v1/snapshot")
    setting.registry.broken_status = 500
    again = TrustSync(setting.folder / "sync", setting.sync.dane_radius, setting.sync.settings)
    with again:
        assert setting.anchors() == {ca.fingerprint}
        wait_for(lambda: again.status()["registries"]["home"]["failures"], "a failure")
        setting.registry.announce("anchor.added", domain=DOMAIN, anchor=later)
        setting.registry.broken_status = None
        setting.wait_for(ca, later)
    assert setting.registry.requests.count("/v1/snapshot") == snapshots


def test_forgotten_history_means_a_full_comparison(setting: Setting) -> None:
    gone, stays, new = authority("Gone CA"), authority("Staying CA"), authority("New CA")
    setting.registry.anchors += [anchor_json(gone, DOMAIN), anchor_json(stays, DOMAIN)]
    with setting.sync:
        setting.wait_for(gone, stays)
        # The registry was restored and renumbered: the worker's position is beyond its history.
        setting.registry.anchors[:] = [anchor_json(stays, DOMAIN), anchor_json(new, DOMAIN)]
        for _ in range(3):
            setting.registry.announce("domain.added", domain=DOMAIN)
        setting.registry.horizon = 100
        setting.wait_for(stays, new)
    assert setting.registry.requests.count("/v1/snapshot") >= 2


def test_a_wrong_key_is_said_so(setting: Setting) -> None:
    ca = authority("Kept CA")
    setting.registry.anchors.append(anchor_json(ca, DOMAIN))
    with setting.sync:
        setting.wait_for(ca)
    setting.registry.api_key = "another key"
    with TrustSync(setting.folder / "sync", setting.sync.dane_radius, setting.sync.settings) as again:
        wait_for(lambda: "check the API key" in str(again.status()["registries"]["home"]["error"]), "the error")
        assert setting.anchors() == {ca.fingerprint}


def test_killed_and_restarted_it_holds_what_it_held(setting: Setting) -> None:
    cas = [authority(f"CA {n}") for n in range(20)]
    with setting.sync as sync:
        for ca in cas:
            setting.registry.anchors.append(anchor_json(ca, DOMAIN))
            setting.registry.announce("anchor.added", domain=DOMAIN, anchor=ca)
        wait_for(lambda: len(setting.anchors()) >= 3, "some anchors", interval=0.001)
        assert sync.daemon is not None
        os.kill(sync.daemon.pid, signal.SIGKILL)
        sync.daemon.process.wait(5)
        held = setting.anchors()
    assert len(held) >= 3
    with TrustSync(setting.folder / "sync", setting.sync.dane_radius, setting.sync.settings):
        setting.wait_for(*cas)


def test_a_clock_that_is_far_off_keeps_what_is_there(setting: Setting) -> None:
    # One CA is not valid yet, and one has expired, by the local clock. The registry publishes both.
    ca = authority("Early CA", days=0.01)
    setting.registry.anchors.append(anchor_json(ca, DOMAIN))
    assert ca.certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(hours=1)
    with setting.sync:
        setting.wait_for(ca)
        wait_for(lambda: setting.metric("trust_sync_anchors_expired") == 1, "the metric to say so")


# the command line


def test_once_synchronizes_and_says_what_it_did(setting: Setting) -> None:
    ca = authority("Cron CA")
    setting.registry.anchors.append(anchor_json(ca, DOMAIN))
    done = setting.command("once", "--json")
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert (summary["added"], summary["anchors"], summary["failures"]) == (1, 1, [])
    assert setting.anchors() == {ca.fingerprint}
    assert "1 anchors (0 added, 0 removed)" in setting.command("once").stdout
    setting.registry.broken_status = 500
    done = setting.command("once")
    assert done.returncode == 1
    assert "status 500" in done.stderr
    assert setting.anchors() == {ca.fingerprint}


def test_status_and_discover(setting: Setting) -> None:
    done = setting.command("status")
    assert done.returncode == 1
    assert "is its server running" in done.stderr
    with setting.sync:
        done = setting.command("status")
        assert done.returncode == 0, done.stderr
        assert "registry home: last reached" in done.stdout or "never reached" in done.stdout
        done = setting.command("once")
        assert done.returncode == 1
        assert "only one may" in done.stderr
        done = setting.command("discover", f"a1._device.{DOMAIN}", "--json")
        assert done.returncode == 1
        # No resolver answers on this port.
        assert json.loads(done.stdout)["reason"] == "dns_unavailable"
        done = setting.command("discover", "a1._device.example.org", "--install", "--json")
        assert json.loads(done.stdout)["reason"] == "policy_no_rule"
    assert setting.command("discover", "*.example.net").returncode == 2
    assert setting.command("nonsense").returncode == 2


@pytest.mark.parametrize("command", [[], ["run"], ["once"], ["discover"], ["status"]])
def test_every_command_has_help(command: list[str]) -> None:
    done = subprocess.run([str(COMMAND), *command, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert not command or f"trust-sync {command[0]}" in done.stdout.split("Example:")[1]


def test_a_mistake_in_the_configuration_stops_the_start(setting: Setting) -> None:
    setting.sync.settings += "surprise = 1\n"
    done = setting.command("run")
    assert done.returncode == 1
    assert "registry.0.surprise: unknown key" in done.stderr
