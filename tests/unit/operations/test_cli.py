"""The commands on a database of their own: exit codes, options, output."""

from __future__ import annotations

import datetime as dt
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from operations.cli import main
from operations.local import config
from operations.local.config import OperationsSection, Settings, TlsSection
from operations.web.server_tls import LIFETIME_DAYS, RENEWAL_DAYS, ServerTls, own_certificate
from tests.unit.operations.conftest import CAMERA, NOW, POLICY
from web_service.core import ConfigurationError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "DEFAULT_CONFIG", tmp_path / "none.toml")
    folder = tmp_path / "state"
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "operations.toml").write_text(
        f'[operations]\nstate_dir = "{folder}"\npolicy = "{tmp_path / "policy.yaml"}"\n'
    )
    run(folder, "init")
    return folder


def run(state: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments, "--config", str(state.parent / "operations.toml")])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def data(state: Path, *arguments: str) -> Any:
    return json.loads(run(state, *arguments, "--json").stdout)


def test_a_device_goes_into_quarantine_and_out_of_it(state: Path) -> None:
    found = data(state, "quarantine", CAMERA, "--reason", "scans", "--for", "24h", "--zone", "waiting")
    assert (found["standing"], found["zone"], found["changed"]) == ("quarantined", "waiting", True)
    run(state, "release", CAMERA, code=2)
    run(state, "release", CAMERA, "--reason", "new firmware")
    history = data(state, "history", CAMERA)["entries"]
    assert [entry["standing"] for entry in history] == ["normal", "quarantined"]
    assert "new firmware" in run(state, "history", CAMERA).stdout


def test_watch_block_and_approve(state: Path) -> None:
    assert data(state, "watch", CAMERA)["standing"] == "watched"
    assert data(state, "block", CAMERA, "--for", "365d", "--then", "watched")["standing"] == "blocked"
    assert data(state, "approve", "b.example.net")["approved"]
    assert data(state, "approve", "c.example.net", "--answer", "no")["standing"] == "blocked"
    assert data(state, "approve", "d.lock._device.maker.example", "--answer", "always")["approved"]
    assert not data(state, "approve", "maker.example", "--maker", "--withdraw")["approved"]
    run(state, "approve", "maker.example", "--maker", "--answer", "always", code=2)
    assert data(state, "questions") == {"questions": []}


def test_nothing_is_approved_if_the_maker_cannot_be(state: Path) -> None:
    run(state, "approve", "a1._device.lan", "--answer", "always", code=1)
    assert data(state, "approve", "a1._device.lan", "--withdraw")["changed"] is False


def test_a_withdrawal_says_that_the_approval_of_the_maker_still_counts(state: Path) -> None:
    run(state, "approve", "example.net", "--maker")
    run(state, "approve", CAMERA)
    assert "counts as approved, since its maker is" in run(state, "approve", CAMERA, "--withdraw").output
    run(state, "approve", "example.net", "--maker", "--withdraw")
    assert "since its maker is" not in run(state, "approve", CAMERA, "--withdraw").output


def test_a_restored_database_gets_another_origin(state: Path) -> None:
    before = data(state, "status")["origin"]
    found = data(state, "restored", "--reason", "disk replaced")
    assert (found["before"], data(state, "status")["origin"]) == (before, found["origin"])
    assert found["origin"] != before
    assert "disk replaced" in run(state, "audit", "--json").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("quarantine", "no name"), 1, "invalid-name"),
        (("quarantine", CAMERA, "--zone", "nowhere"), 1, "unknown-zone"),
        (("quarantine", CAMERA, "--for", "0h"), 2, "found '0h'"),
        (("quarantine", CAMERA, "--for", "1h", "--until", "2999-01-01"), 2, "exclude each other"),
        (("quarantine", CAMERA, "--then", "watched"), 2, "needs --for or --until"),
        (("quarantine", CAMERA, "--until", "2001-01-01T00:00Z"), 1, "in the future"),
        (("quarantine", CAMERA, "--until", "2999-01-01T00:00Z"), 1, "within ten years"),
        (("approve", "a1._device.lan", "--answer", "always"), 1, "invalid-name"),
        (("quarantine", CAMERA, "--until", "soon"), 2, "found 'soon'"),
        (("release", CAMERA, "--reason", "x", "--for", "1h"), 1, "needs `then`"),
        (("show", CAMERA), 1, "not-found"),
        (("key", "add", "x"), 2, "--scope"),
        (("key", "revoke", "x"), 1, "not-found"),
        (("list", "--url", "https://localhost"), 2, "--key-file"),
        (("list", "--limit", "0"), 2, "--limit"),
    ],
)
def test_what_is_refused(state: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    command = [*arguments] if "--url" in arguments else [*arguments, "--config", str(state.parent / "operations.toml")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


def test_a_broken_policy_file_hinders_no_quarantine(state: Path) -> None:
    (state.parent / "policy.yaml").write_text("nonsense")
    assert data(state, "quarantine", CAMERA)["standing"] == "quarantined"
    assert data(state, "status")["policy"]["error"]
    assert "INVALID" in run(state, "status").output


def test_keys(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "ids.key"
    run(state, "key", "add", "ids", "--scope", "standing:quarantine", "--days", "30", "--out", str(out))
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_text().startswith("dok_")
    (key,) = data(state, "key", "list")["keys"]
    assert key["scopes"] == ["standing:quarantine"]
    assert data(state, "key", "revoke", key["id"])["revoked_at"]
    assert out.read_text().strip() not in (run(state, "audit").stdout + run(state, "key", "list").stdout)


def test_every_command_has_help_with_an_example(state: Path) -> None:
    def check(command: Any, path: tuple[str, ...]) -> int:
        text = CliRunner().invoke(main, [*path, "--help"]).output
        assert "Example:" in text, path
        return 1 + sum(check(child, (*path, name)) for name, child in getattr(command, "commands", {}).items())

    assert check(main, ()) > 15


def test_a_state_directory_that_others_can_read_is_refused(state: Path) -> None:
    state.chmod(0o755)
    assert "chmod 700" in " ".join(run(state, "list", code=1).output.split())


# --- the server's certificate


def test_the_own_certificate_is_kept_renewed_and_follows_its_names(tmp_path: Path) -> None:
    settings = Settings(operations=OperationsSection(state_dir=tmp_path, listen="192.0.2.1:8444"))
    certificate, key = own_certificate(settings, NOW)
    first = certificate.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    anchor = x509.load_pem_x509_certificate((tmp_path / "tls" / "ca.pem").read_bytes())
    loaded = x509.load_pem_x509_certificate(first)
    loaded.verify_directly_issued_by(anchor)
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "192.0.2.1" in map(str, names.get_values_for_type(x509.IPAddress))
    own_certificate(settings, NOW + dt.timedelta(days=LIFETIME_DAYS - RENEWAL_DAYS - 1))
    assert certificate.read_bytes() == first
    own_certificate(settings, NOW + dt.timedelta(days=LIFETIME_DAYS - RENEWAL_DAYS + 1))
    assert certificate.read_bytes() != first
    named = Settings(operations=settings.operations, tls=TlsSection(names=("operations.example.net",)))
    own_certificate(named, NOW)
    assert x509.load_pem_x509_certificate((tmp_path / "tls" / "ca.pem").read_bytes()) == anchor
    new = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "operations.example.net" in names.get_values_for_type(x509.DNSName)


def test_changed_files_are_taken_and_broken_ones_are_not(tmp_path: Path) -> None:
    own = Settings(operations=OperationsSection(state_dir=tmp_path))
    certificate, key = own_certificate(own, NOW)
    settings = Settings(operations=own.operations, tls=TlsSection(certificate=certificate, key=key))
    tls = ServerTls(settings)
    assert tls.refresh(NOW)
    first: ssl.SSLContext = tls.context
    assert not tls.refresh(NOW)
    certificate.write_text("nonsense")
    with pytest.raises(ConfigurationError, match="not usable"):
        tls.refresh(NOW)
    assert tls.context is first
    own_certificate(own, NOW)
    assert tls.refresh(NOW)
    assert tls.context is not first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[operations]\nlisten = 5\n", "operations.listen"),
        ("[tls]\ncertificate = '/x'\n", "both or none"),
        ("[feed]\nretention_days = 0\n", "feed.retention_days"),
        ("[nonsense]\n", "nonsense"),
        ("nonsense", "not TOML"),
    ],
)
def test_a_bad_configuration_is_named_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        config.load(path)
    assert str(path) in str(caught.value)
