"""Key files, TSIG files and the configuration: what is accepted, and how other input is refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from iot_registry.local import config, private_keys, tsig_keys
from web_service.core import ConfigurationError
from web_service.local import write_private

SECRET = base64.b64encode(bytes(range(32))).decode()


def test_a_key_is_for_its_owner_only_and_needs_its_passphrase(tmp_path: Path) -> None:
    path, key = tmp_path / "ca" / "a.key", private_keys.generate()
    private_keys.save(path, key, b"open sesame")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert private_keys.load(path, b"open sesame").public_key() == key.public_key()
    with pytest.raises(ConfigurationError, match="the key is encrypted, and no passphrase is configured"):
        private_keys.load(path)
    with pytest.raises(ConfigurationError, match="passphrase is wrong"):
        private_keys.load(path, b"open")
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="mode is 0640, expected 0600"):
        private_keys.load(path, b"open sesame")
    path.unlink()
    with pytest.raises(ConfigurationError, match="kept offline"):
        private_keys.load(path)


def test_only_p_256_keys_are_ca_keys(tmp_path: Path) -> None:
    path = tmp_path / "rsa.key"
    other = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, other)
    with pytest.raises(ConfigurationError, match="expected P-256"):
        private_keys.load(path)
    write_private(path, b"nonsense")
    with pytest.raises(ConfigurationError, match="not a PKCS #8 key"):
        private_keys.load(path)


@pytest.mark.parametrize(
    "text",
    [
        f"# comment\nkey:\n  - id: reg-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n",
        f'key "reg-key" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n',
        f"hmac-sha256:reg-key:{SECRET}\n",
        f"reg-key:{SECRET}",
    ],
)
def test_a_tsig_key_is_read_in_every_usual_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tsig"
    write_private(path, text.encode())
    key = tsig_keys.load(path)
    assert (key.name, key.secret) == ("reg-key", bytes(range(32)))
    assert SECRET not in repr(key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no TSIG key"),
        (f"hmac-md5:reg-key:{SECRET}", "found algorithm hmac-md5, expected hmac-sha256"),
        (f'key "k" {{ algorithm hmac-sha1; secret "{SECRET}"; }};', "found algorithm hmac-sha1"),
        ("hmac-sha256:reg-key:AAAA", "found a secret of 3 octets, expected at least 16"),
        ("hmac-sha256:reg-key:AAAAA", "not base64"),
    ],
)
def test_a_bad_tsig_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tsig"
    write_private(path, text.encode())
    with pytest.raises(ConfigurationError, match=message):
        tsig_keys.load(path)


def test_a_tsig_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tsig"
    made = tsig_keys.load_or_create(path)
    assert (len(made.secret), path.stat().st_mode & 0o777) == (32, 0o600)
    assert tsig_keys.load_or_create(path) == made
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="others can read it"):
        tsig_keys.load(path)


def test_no_configuration_is_a_configuration() -> None:
    settings = config.load(None)
    assert settings.database_url == "sqlite:////var/lib/iot-registry/registry.db"
    assert settings.public_url == "https://127.0.0.1:8443"
    assert str(settings.publication.profile) == "3 1 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[registry", "not TOML"),
        ("[registry]\ncolour = 1", "registry.colour: Extra inputs"),
        ("[registry]\nlisten = 'here'", "registry.listen: .*expected host:port.*found 'here'"),
        ("[registry]\npublic_url = 'http://a.example'", "registry.public_url"),
        ("[registry]\ndomain = '*.example'", "registry.domain"),
        ("[publication]\nserver = 'ns.example:53'", "publication.server"),
        ("[publication]\nttl = -1", "publication.ttl: .*found -1"),
        ("[publication]\nprofile = '3 3 3'", "publication.profile"),
        ("[ca]\ndevice_days = 0", "ca.device_days"),
        ("[tls]\nkey = '/k.pem'", "give all three or none"),
        ("registry = 1", "registry"),
    ],
)
def test_a_bad_configuration_is_named_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as error:
        config.load(path)
    assert str(path) in str(error.value)


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_text("[registry]\nlisten = '127.0.0.1:1'\ndomain = 'a.example'")
    settings = config.load(path, {"registry": {"listen": "[::1]:2", "domain": None}})
    assert (settings.registry.listen, settings.registry.domain) == ("[::1]:2", "a.example")
    assert settings.public_url == "https://[::1]:2"
