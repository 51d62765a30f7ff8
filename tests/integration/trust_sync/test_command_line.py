"""The output of `trust-sync` at a terminal, in cron, and in a script."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority, new_key
from tests.harness.process import wait_for
from tests.harness.trust_sync import COMMAND, TrustSync, WebServer, anchor_json
from tests.harness.unbound import Unbound

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
SPELLED_OUT = f"door._device.{ZONE}"
POLICY = f"""\
version: 1
rules:
  - {{name: door, identity: ["{SPELLED_OUT}"], grant: {{vlan: 7}}}}
  - {{name: denied, identity: ["**._denied.{ZONE}"], deny: true}}
  - {{name: all, identity: ["**.{ZONE}"], pkix_cd: true, grant: {{vlan: 1}}}}
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Desk:
    """A worker's configuration with a real resolver and a registry, and commands that use it."""

    def __init__(self, folder: Path, knot: Knot, unbound: Unbound, web: WebServer) -> None:
        self.knot, self.unbound, self.web = knot, unbound, web
        (folder / "policy.yaml").write_text(POLICY)
        module = folder / "dane-radius.toml"
        module.write_text(
            f'policy = "{folder}/policy.yaml"\nanchors = "{folder}/anchors"\ncontrol_socket = "{folder}/none.sock"\n'
            f"[resolver]\nport = {unbound.port}\ntimeout = 1.0\n"
        )
        self.sync = TrustSync(
            folder / "sync",
            module,
            f"[[registry]]\nname = 'home'\nurl = 'https://localhost:{web.port}'\ndomains = ['registry.example']\n"
            f"api_key_file = '{web.key_file}'\nca_file = '{web.ca_file}'\nwait = 2\n"
            f"[discovery]\nallow_networks = ['127.0.0.0/8']\nport = {web.port}\nca_file = '{web.ca_file}'\n"
            "refresh_min = 1.0\nrefresh_max = 1.0\nretire_after = 3600.0\n",
        )

    def publish(self, name: str, *records: Any, ttl: int = 60) -> None:
        for record in records:
            self.knot.add_tlsa(ZONE, name, str(record), ttl)
        # An earlier test may have looked it up.
        self.unbound.flush(name)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Without a terminal."""
        self.sync.write_config()
        return subprocess.run(
            [str(COMMAND), *arguments, "--config", str(self.sync.config)], capture_output=True, text=True, timeout=60
        )

    def at_a_terminal(self, *arguments: str) -> tuple[int, str]:
        """The exit code and the terminal's output, control sequences included."""
        self.sync.write_config()
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(COMMAND), *arguments, "--config", str(self.sync.config)],
            stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )  # fmt: skip
        os.close(theirs)
        octets = b""
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 65536):
                octets += chunk
        os.close(ours)
        return process.wait(30), octets.decode()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Knot, Unbound]]:
    folder = tmp_path_factory.mktemp("parts")
    with Knot(folder / "knot", [Zone(ZONE, f"device A 127.0.0.1\nkeep._device TLSA 3 1 1 {'00' * 32}\n")]) as knot:
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        with Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)) as unbound:
            yield knot, unbound


@pytest.fixture
def desk(parts: tuple[Knot, Unbound], tmp_path: Path) -> Iterator[Desk]:
    with WebServer(tmp_path / "web", ["localhost", f"device.{ZONE}"]) as web:
        yield Desk(tmp_path, *parts, web)


def test_once_shows_how_far_it_is_and_then_a_summary(desk: Desk) -> None:
    keys = [new_key() for _ in range(4)]
    desk.web.anchors += [anchor_json(authority(f"CA {n}", key=keys[n % 4]), "registry.example") for n in range(300)]
    code, seen = desk.at_a_terminal("once")
    assert code == 0, seen
    # The totals: three sources (registry, the literal name of the policy, live sessions), and the registry's anchors.
    text = ESCAPE.sub("", seen)
    assert re.search(r"registry home[^\n]* 0/3", text)
    assert re.search(r"anchors[^\n]* \d+/300", text)
    assert re.search(r"live sessions[^\n]* 3/3", text)
    # The bars disappear. The summary and the warnings remain.
    assert "\x1b[2K" in seen
    *_, summary, warning = text.strip().splitlines()
    assert warning.startswith("warning: cache not flushed")
    assert summary.strip() == (
        "300 anchors (300 added, 0 removed), 1 registries, 1 names refreshed, 0 names with live sessions"
    )


def test_once_without_a_terminal_is_the_summary_alone(desk: Desk) -> None:
    desk.web.anchors.append(anchor_json(authority("CA"), "registry.example"))
    done = desk.command("once")
    assert done.returncode == 0
    # Here is no RADIUS server whose cache could be flushed.
    assert re.fullmatch(r"warning: cache not flushed.*: cache module, error .*\n", done.stderr), done.stderr
    assert (
        done.stdout == "1 anchors (1 added, 0 removed), 1 registries, 1 names refreshed, 0 names with live sessions\n"
    )
    desk.web.broken_status = 500
    done = desk.command("once")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("failed: registry home: ")
    assert len(done.stdout.splitlines()) == 1


def test_once_as_json_is_json_alone_even_at_a_terminal(desk: Desk) -> None:
    code, seen = desk.at_a_terminal("once", "--json")
    assert code == 0
    assert json.loads(seen)["failures"] == []
    assert len(json.loads(seen)["warnings"]) == 1
    desk.web.broken_status = 503
    code, seen = desk.at_a_terminal("once", "--json")
    assert code == 1
    assert "status 503" in json.loads(seen)["failures"][0]


def test_once_finds_and_refreshes_what_the_dns_holds(desk: Desk) -> None:
    ca = authority("Door CA")
    desk.publish(SPELLED_OUT, ca.tlsa(2, 0, 0), ttl=1)
    try:
        summary = json.loads(desk.command("once", "--json").stdout)
        assert (summary["added"], summary["names"]) == (1, 1)
        # The zone proves that the record is gone. The CA is no longer backed, and stays for now.
        desk.knot.delete_tlsa(ZONE, SPELLED_OUT)
        wait_for(lambda: not desk.knot.query(SPELLED_OUT, "TLSA").answer, "the record to go")
        wait_for(
            lambda: desk.command("once") and _unbacked(desk), "the CA to be without backing", timeout=15, interval=0.5
        )
        assert json.loads(desk.command("once", "--json").stdout)["anchors"] == 1
    finally:
        desk.knot.delete_tlsa(ZONE, SPELLED_OUT)


def _unbacked(desk: Desk) -> bool:
    """Whether no known name leads to some anchor."""
    return bool(json.loads(desk.sync.state_file.read_text())["unbacked"])


def test_discover_shows_each_step_and_changes_nothing(desk: Desk) -> None:
    ca = authority("Stepwise CA")
    name = f"s1._device.{ZONE}"
    device = ca.issue(name)
    desk.publish(name, device.tlsa(4, 0, 0), device.tlsa(3, 1, 1))
    path = desk.web.publish_ca(ca)
    done = desk.command("discover", name)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.strip() for line in done.stdout.splitlines()]
    assert steps[0] == "policy: could grant access"
    assert steps[1] == f"anchors held for _device.{ZONE}: none"
    assert steps[2].startswith("TLSA: secure, ")
    assert "3 1 1" in steps[2]
    assert "4 0 0" in steps[2]
    assert steps[3] == f"PKIX-CD: https://device.{ZONE}{path}"
    assert steps[4] == f"pkix-cd: CN=Stepwise CA for _device.{ZONE}"
    assert steps[5].startswith("found (installed)")
    assert not list((desk.sync.folder.parent / "anchors" / "ca").glob("*.pem"))
    # A problem is shown at its step.
    desk.web.files[path] = authority("Impostor", ski=ca.ski).pem
    done = desk.command("discover", name, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["state"], found["reason"]) == ("refused", "wrong_signature")
    assert "wrong_signature" in found["steps"][-1]
    done = desk.command("discover", f"x._denied.{ZONE}")
    assert done.returncode == 1
    assert "policy: no rule gives this name access" in done.stdout


def test_status_shows_anchors_ages_failures_and_what_comes_next(desk: Desk) -> None:
    listed, found, orphan = authority("Listed CA"), authority("Found CA"), authority("Orphan CA")
    desk.web.anchors.append(anchor_json(listed, "registry.example"))
    names = {f"t1._device.{ZONE}": found, f"t2._other.{ZONE}": orphan}
    for name, ca in names.items():
        desk.publish(name, ca.tlsa(2, 0, 0), ttl=1)
    with desk.sync as sync:
        wait_for(lambda: sync.status()["anchor_count"] == 1, "the registry's anchor")
        for name in names:
            assert sync.ask("discover", name=name, wait=10, timeout=15)["state"] == "found"
        desk.knot.delete_tlsa(ZONE, f"t2._other.{ZONE}")
        wait_for(lambda: f"t2._other.{ZONE}" not in sync.status()["discovered"], "the look at it", timeout=15)
        desk.web.broken_status = 503
        wait_for(lambda: sync.status()["registries"]["home"]["failures"], "a failure", timeout=15)
        data = json.loads(desk.command("status", "--json").stdout)
        assert data["state_error"] is None
        anchors = {anchor["subject"]: anchor for anchor in data["anchors"]}
        assert {subject: a["source"] for subject, a in anchors.items()} == {
            "CN=Listed CA": "registry", "CN=Found CA": "dane-ta", "CN=Orphan CA": "dane-ta"
        }  # fmt: skip
        assert [anchors[f"CN={who} CA"]["names"] for who in ("Listed", "Found", "Orphan")] == [0, 1, 0]
        assert all(0 <= anchor["age_seconds"] < 60 for anchor in anchors.values())
        home = data["registries"]["home"]
        assert home["failures"] >= 1
        assert "status 503" in home["error"]
        assert 86_000 < home["comparison_in_seconds"] <= 86_400
        assert home["last_success_seconds"] is not None
        looked_after = data["discovered"][f"t1._device.{ZONE}"]
        assert looked_after["fingerprints"] == [found.fingerprint]
        assert looked_after["refresh_in_seconds"] <= 1
        assert data["discovered"][SPELLED_OUT]["fingerprints"] == []
        text = desk.command("status").stdout
        assert "registry home: last reached" in text
        assert "failures, last: " in text
        assert re.search(rf"name t1\._device\.{ZONE}: next refresh in \d+ s", text)
        assert f"name {SPELLED_OUT}: nothing found, next refresh in" in text
        assert "3 anchors" in text
