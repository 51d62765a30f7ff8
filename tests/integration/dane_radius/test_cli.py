"""`dane-radius check`, `tlsa`, `status` and `flush` against the running site."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dane_radius.core.tlsa import TlsaRecord
from dane_radius.local import Entry, Header
from policy import Standing
from tests.harness.pki import Identity
from tests.integration.dane_radius.conftest import Site

pytestmark = pytest.mark.daemons

PROGRAM = Path(sys.executable).with_name("dane-radius")


def run(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def check(site: Site, certificate: Path | str, *options: str, stdin: bytes | None = None) -> tuple[int, dict[str, Any]]:
    done = run("check", certificate, "--config", site.radius.config_file, "--json", *options, stdin=stdin)
    return done.returncode, json.loads(done.stdout)


def saved(site: Site, device: Identity, name: str = "cli") -> Path:
    return device.save(site.folder / "cli", name)[0]


def test_check_gives_the_servers_own_decision(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    for records, expected in ((None, "tlsa_absent"), (device.tlsa(), "dane_match")):
        if records:
            site.publish(name, records)
            site.unbound.flush(name)
            run("flush", name, "--socket", site.radius.control_socket)
        result, served = site.authenticate(device, ssid="iot")
        code, local = check(site, saved(site, device), "--ssid", "iot", "--nas", "ap-1")
        assert local["reason"] == served["reason"] == expected
        assert local["verdict"] == served["verdict"]
        assert code == (0 if result.accepted else 1)
        assert local["evidence"]["certificate"] == served["evidence"]["certificate"]
        assert local["rule"] == served["rule"]


def test_check_names_the_record_that_is_missing(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    _, decision = check(site, saved(site, device))
    assert decision["publish"] == f"{name}. IN TLSA {device.tlsa()}"
    done = run("check", saved(site, device), "--config", site.radius.config_file)
    assert done.returncode == 1
    assert str(device.tlsa()) in done.stdout.decode()
    assert "tlsa_absent" in done.stdout.decode()


def test_check_without_policy(site: Site) -> None:
    name = site.name("unheard-of")
    device = site.ca.issue(name)
    site.publish(name, device.tlsa())
    code, decision = check(site, saved(site, device))
    assert (code, decision["reason"]) == (1, "policy_no_rule")
    code, decision = check(site, saved(site, device), "--any-name")
    assert (code, decision["reason"]) == (0, "dane_match")


@pytest.mark.parametrize("octets", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"])
def test_check_of_no_certificate(site: Site, octets: bytes) -> None:
    code, decision = check(site, "-", stdin=octets)
    assert (code, decision["reason"]) == (1, "certificate_malformed")


def test_a_large_san_and_an_oversized_file(site: Site) -> None:
    device = site.ca.issue(*[f"n{i:05}.camera._device.iot.example" for i in range(3000)])
    assert len(device.der) > 100_000
    assert check(site, saved(site, device))[1]["reason"] == "san_oversized"
    assert check(site, "-", stdin=b"\x30" * 300_000)[1]["reason"] == "certificate_oversized"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "/nonexistent.pem", "--any-name"], "No such file"),
        (["check", "/dev/null", "--policy", "/nonexistent.yaml"], "/nonexistent.yaml: cannot be read"),
        (["check", "/dev/null", "--any-name", "--config", "/nonexistent.toml"], "/nonexistent.toml: cannot be read"),
        (["check"], "Missing argument"),
        (["flush"], "give either a NAME or --all"),
        (["tlsa", "/dev/null", "--record", "9 9 9"], "9 9 9"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_a_resolver_elsewhere_without_tls_is_refused(site: Site) -> None:
    path = saved(site, site.ca.issue(site.name()))
    done = run("check", path, "--any-name", "--resolver", "192.0.2.53")
    assert done.returncode == 2
    assert "plain DNS could be forged" in done.stderr.decode()


def test_tlsa_prints_what_an_independent_parser_reads(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    path = saved(site, device)
    out = run("tlsa", path, "--record", "3 1 1", "--record", "3 0 2", "--ttl", "120").stdout.decode().splitlines()
    assert out == [f"{name}. 120 IN TLSA {device.tlsa(3, 1, 1)}", f"{name}. 120 IN TLSA {device.tlsa(3, 0, 2)}"]
    # danetool computes the same digests from the same file.
    said = subprocess.run(
        ["danetool", "--tlsa-rr", "--load-certificate", path, "--host", name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digest = said.split("(")[1].split(")")[0].replace(" ", "").strip().lower()
    assert digest.endswith(device.tlsa(3, 1, 1).data.hex())


def test_tlsa_verify_compares_with_the_dns(site: Site) -> None:
    name = site.name()
    device = site.ca.issue(name)
    path = saved(site, device)
    options = ["--verify", "--resolver", f"127.0.0.1:{site.unbound.port}", "--json"]
    done = run("tlsa", path, *options)
    assert done.returncode == 1
    assert "absent" in json.loads(done.stdout)["verify"]["state"]
    site.publish(name, TlsaRecord(3, 1, 1, bytes(32)))
    site.unbound.flush(name)
    done = run("tlsa", path, *options)
    assert done.returncode == 1
    assert json.loads(done.stdout)["verify"]["published"][0]["verdict"] == "for another certificate"
    site.publish(name, device.tlsa())
    site.unbound.flush(name)
    done = run("tlsa", path, *options)
    assert done.returncode == 0
    assert json.loads(done.stdout)["verify"]["missing"] == []


def test_status_and_flush_speak_to_the_running_server(site: Site) -> None:
    done = run("status", "--socket", site.radius.control_socket, "--json")
    status = json.loads(done.stdout)
    assert status["policy"]["file"] == str(site.radius.policy_file)
    assert status["policy"]["problems"] == []
    done = run("flush", "--all", "--socket", site.radius.control_socket)
    assert done.returncode == 0
    assert done.stdout.startswith(b"forgot ")
    done = run("flush", "*.example", "--socket", site.radius.control_socket)
    assert done.returncode == 1
    assert "wildcard" in done.stderr.decode()
    done = run("status", "--socket", "/nonexistent.sock")
    assert done.returncode == 1


@pytest.mark.parametrize("command", [[], ["check"], ["tlsa"], ["install"], ["status"], ["flush"]])
def test_help_has_an_example(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert f"dane-radius {command[0] if command else 'check'}" in done.stdout.decode()


def test_check_says_what_to_publish_for_the_rule(site: Site) -> None:
    name = site.name("lock")
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(1, 1, 1))
    _, decision = check(site, saved(site, device), "--ssid", "iot")
    assert decision["reason"] == "policy_strength"
    assert decision["publish"] == f"{name}. IN TLSA {device.tlsa(3, 1, 1)}"
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(2, 0, 1))
    _, decision = check(site, saved(site, device), "--ssid", "iot")
    assert decision["reason"] == "chain_invalid"
    assert decision["evidence"]["chain_failures"]
    assert decision["publish"] == f"{name}. IN TLSA {device.tlsa(3, 1, 1)}"


def test_check_decides_by_the_standing_that_is_given_or_that_the_journal_has(site: Site, tmp_path: Path) -> None:
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa())
    policy, config = tmp_path / "policy.yaml", tmp_path / "dane-radius.toml"
    policy.write_text(
        "version: 2\nzones: {home: {vlan: 1}, quarantine: {vlan: 666}}\nstanding: {quarantined: {zone: quarantine}}\n"
        f"rules:\n  - {{name: all, identity: ['{name}'], zone: home}}\n"
    )
    config.write_text(f'standing = "{tmp_path}/standing"\n' + site.radius.config_file.read_text())
    certificate = saved(site, device)

    def decide(*options: str) -> tuple[str, str | None]:
        done = run("check", certificate, "--config", config, "--policy", policy, "--json", *options)
        decision = json.loads(done.stdout)
        return decision["reason"], decision["evidence"].get("zone")

    assert decide("--standing", "normal") == ("dane_match", "home")
    assert decide("--standing", "quarantined") == ("dane_match", "quarantine")
    assert decide("--standing", "blocked")[0] == "device_blocked"
    # As in the server, nobody is admitted before the standing could be read.
    assert decide()[0] == "standing_unavailable"
    (tmp_path / "standing").mkdir()
    (tmp_path / "standing" / "journal").write_bytes(
        b"".join(line + b"\n" for line in (Header("x", 1).to_line(), Entry(name, standing=Standing.BLOCKED).to_line(1)))
    )
    assert decide()[0] == "device_blocked"
    done = run("check", certificate, "--config", config, "--policy", policy)
    assert b"standing" in done.stdout
