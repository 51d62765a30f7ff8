"""The command line with a registry at a URL: the same results as on its machine, within the scopes of the key."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from iot_registry.cli import main
from tests.harness.process import free_port, start
from tests.integration.iot_registry.parts import DeviceKey, Registry


class Elsewhere:
    """An administrator's machine: no state directory, no configuration, only a URL, a key and a certificate."""

    def __init__(self, registry: Registry, folder: Path, key: str) -> None:
        self.key_file = folder / "api.key"
        self.key_file.write_text(key + "\n")
        self.key_file.chmod(0o600)
        self.ca_file = folder / "anchor.pem"
        self.ca_file.write_text(registry.run("anchor").stdout)
        self.options = ["--url", registry.url, "--api-key-file", str(self.key_file), "--ca-file", str(self.ca_file)]

    def run(self, *arguments: str, options: list[str] | None = None) -> Result:
        # In this process: starting a process for each of many commands would take long.
        environment = {name: None for name in os.environ if name.startswith("IOT_REGISTRY_")}
        return CliRunner().invoke(main, [*arguments, *(self.options if options is None else options)], env=environment)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        if done.exit_code != 0:
            raise RuntimeError(f"{arguments}: code {done.exit_code}: {done.stderr}")
        return json.loads(done.stdout)


@pytest.fixture
def elsewhere(sqlite_registry: Registry, tmp_path: Path) -> Elsewhere:
    return Elsewhere(sqlite_registry, tmp_path, sqlite_registry.admin)


def test_each_command_does_the_same_as_on_the_registrys_machine(
    sqlite_registry: Registry, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    registry = sqlite_registry
    created = elsewhere.json("device", "add", "away1", "--type", "lock", "--mud-url", "https://maker.example/l.json")
    name = created["device"]["name"]
    assert created["device"]["mud_url"] == "https://maker.example/l.json"
    # The bundle works like one that was made on the registry's machine.
    assert registry.enroll(created["bundle"], DeviceKey.make(tmp_path, "device").csr(name)).status == 200
    assert elsewhere.json("token", name)["bundle"].startswith("iotreg1.")
    plain = elsewhere.run("device", "add", "away2.lock._device.home.example")
    assert len(plain.stdout.splitlines()) == 1
    assert elsewhere.json("device", "add", "away3", "--type", "lock", "--no-token")["bundle"] is None

    same: list[tuple[str, ...]] = [
        ("device", "show", name),
        ("device", "list", "--search", "away", "--status", "registered", "--limit", "1"),
        ("device", "list", "--domain", "home.example", "--type", "lock", "--after", name),
        ("domain", "list"),
        ("key", "list"),
        ("audit", "--limit", "1000"),
    ]
    for arguments in same:
        assert elsewhere.json(*arguments) == registry.json(*arguments), arguments
    assert elsewhere.run("device", "list").stdout == registry.run("device", "list").stdout
    assert elsewhere.run("device", "export").stdout == registry.run("device", "export").stdout

    # The audit log names the API key, not a user of that machine.
    entry = next(e for e in registry.json("audit", "--limit", "1000")["entries"] if e["target"] == name)
    assert re.match(r"key:[0-9a-f]{12} \(test\)\Z", entry["actor"])

    revoked = elsewhere.json("device", "revoke", name, "--reason", "stolen")
    assert (revoked["status"], revoked["pending"], revoked["revoke_reason"]) == ("revoked", False, "stolen")
    assert registry.knot.tlsa(name) == set()
    restored = elsewhere.json("device", "restore", name)
    assert (restored["status"], restored["pending"]) == ("active", False)
    assert registry.knot.tlsa(name)
    domain = elsewhere.json("domain", "add", "away.homes.example")
    assert domain["admin_key"].startswith("irk_")
    assert registry.knot.ask("away.homes.example", "DNSKEY").answer
    moved = elsewhere.json("device", "rehome", name, "away.homes.example")
    assert moved["device"]["rehomed_from"] == name
    key = elsewhere.json("key", "add", "feed", "--scope", "feed:read", "--domain", "away.homes.example", "--days", "1")
    assert (key["key"]["domain"], key["key"]["scopes"]) == ("away.homes.example", ["feed:read"])
    assert "is revoked" in elsewhere.run("key", "revoke", key["key"]["id"]).stderr
    assert elsewhere.json("status")["devices"] == registry.json("status")["devices"]


def test_an_import_from_elsewhere(sqlite_registry: Registry, elsewhere: Elsewhere, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        {"label": "imp1", "type": "t"},
        {"label": "*", "type": "t"},
        {"label": "imp2", "type": "t", "token": False},
        {"label": "imp3", "type": "t", "csr": "MIIB"},
        {"label": "imp4", "type": "t", "color": "red"},
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines) + "garbage\n[1]\n")
    done = elsewhere.run("device", "import", str(source), "--output", str(output))
    assert (done.exit_code, "2 registered, 5 refused" in done.stderr) == (1, True), done.stderr
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert [r.get("name") or (r["line"], r["error"]["reason"], r["error"]["field"]) for r in results] == [
        "imp1.t._device.home.example",
        (2, "invalid-name", "label"),
        "imp2.t._device.home.example",
        (4, "invalid-field", "csr"),
        (5, "unknown-field", "color"),
        (6, "malformed", None),
        (7, "invalid-field", None),
    ]
    assert results[0]["bundle"].startswith("iotreg1.")
    assert "bundle" not in results[2]


def test_a_key_opens_its_own_domain_and_its_own_scopes_only(
    sqlite_registry: Registry, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    registry = sqlite_registry
    registry.add("foreign")
    other = tmp_path / "other"
    other.mkdir()
    confined = Elsewhere(registry, other, registry.json("domain", "add", "confined.example")["admin_key"])
    # Without a domain, the domain of the key is used.
    assert confined.json("device", "add", "x", "--type", "t")["device"]["domain"] == "confined.example"
    assert [d["name"] for d in confined.json("device", "list")["devices"]] == ["x.t._device.confined.example"]
    for arguments, reason in (
        (("device", "show", "foreign.camera._device.home.example"), "not-found"),
        (("device", "revoke", "foreign.camera._device.home.example"), "not-found"),
        (("device", "list", "--domain", "home.example"), "not-found"),
        (("device", "export", "--domain", "home.example"), "not-found"),
        (("domain", "add", "more.example"), "forbidden"),
        (("key", "add", "k", "--scope", "admin"), "forbidden"),
    ):
        done = confined.run(*arguments)
        assert (done.exit_code, f"refused, {reason}" in done.stderr) == (1, True), done.stderr
        assert isinstance(done.exception, SystemExit)


def test_what_cannot_be_reached_or_trusted_is_said_in_one_line(elsewhere: Elsewhere, tmp_path: Path) -> None:
    key, anchor = str(elsewhere.key_file), str(elsewhere.ca_file)
    url = elsewhere.options[1]
    wrong = tmp_path / "wrong.key"
    wrong.write_text("irk_000000000000_" + "A" * 43)
    wrong.chmod(0o600)
    open_to_all, empty = tmp_path / "open.key", tmp_path / "empty.key"
    open_to_all.write_text(elsewhere.key_file.read_text())
    open_to_all.chmod(0o644)
    empty.touch(0o600)
    (tmp_path / "garbage.pem").write_text("no certificate")
    nobody = f"https://127.0.0.1:{free_port()}"
    cases: list[tuple[list[str], int, str]] = [
        (["--url", url, "--api-key-file", str(wrong), "--ca-file", anchor], 1, "refused, unauthenticated"),
        (["--url", url, "--api-key-file", str(open_to_all), "--ca-file", anchor], 1, "mode is 0644, expected 0600"),
        (["--url", url, "--api-key-file", str(empty), "--ca-file", anchor], 1, "not an API key"),
        (["--url", url, "--api-key-file", str(tmp_path / "none"), "--ca-file", anchor], 1, "cannot read the API key"),
        (["--url", url, "--api-key-file", key], 1, "its certificate is refused"),
        (["--url", url, "--api-key-file", key, "--ca-file", str(tmp_path / "garbage.pem")], 1, "not a file of PEM"),
        (["--url", url.replace("127.0.0.1", "127.0.0.2"), "--api-key-file", key, "--ca-file", anchor], 1, "127.0.0.2"),
        (["--url", nobody, "--api-key-file", key, "--ca-file", anchor], 1, "refused"),
        (["--url", url.replace("https", "http"), "--api-key-file", key], 1, "expected https://HOST"),
        (["--url", f"{url}/v1", "--api-key-file", key], 1, "expected https://HOST"),
        (["--url", url], 2, "--url needs --api-key-file"),
        (["--url", url, "--api-key-file", key, "--state-dir", str(tmp_path)], 2, "exclude each other"),
        (["--state-dir", str(tmp_path), "--api-key-file", key], 2, "--api-key-file belongs to --url"),
    ]
    for options, code, message in cases:
        done = elsewhere.run("device", "list", options=options)
        assert (done.exit_code, message in done.stderr) == (code, True), (options, done.stderr)
        assert isinstance(done.exception, SystemExit)
        assert elsewhere.key_file.read_text().strip() not in done.stderr + done.stdout
    done = elsewhere.run("domain", "add", "x.example", "--root-key", key)
    assert (done.exit_code, "--root-key works on the registry's own machine only" in done.stderr) == (2, True)


def test_another_server_is_not_taken_for_a_registry(tmp_path: Path, elsewhere: Elsewhere) -> None:
    port = free_port()
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *name]
    subprocess.run([*command, "-keyout", tmp_path / "k", "-out", tmp_path / "c"], check=True, capture_output=True)
    serve = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", tmp_path / "c", "-key", tmp_path / "k"]
    log = tmp_path / "log"
    daemon = start("openssl", [*serve, "-www"], log=log, ready=lambda: "ACCEPT" in log.read_text(), cwd=tmp_path)
    try:
        options = ["--url", f"https://127.0.0.1:{port}", "--api-key-file", str(elsewhere.key_file)]
        done = elsewhere.run("device", "list", options=[*options, "--ca-file", str(tmp_path / "c")])
    finally:
        daemon.stop()
    assert (done.exit_code, "not an answer that this version understands" in done.stderr) == (1, True), done.stderr
