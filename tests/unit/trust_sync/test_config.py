"""The worker's configuration: mistakes are named, secrets stay hidden, and the documentation is right."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dane_radius.local import ConfigError
from tests.harness.deploy import REPOSITORY
from trust_sync.shared import check_config, load_config, read_secret

MISTAKES = {
    "discovery.rate: 0 found": {"discovery": {"rate": 0}},
    "discovery.allow_networks: '10.0.0.1/8': an IP address or network": {
        "discovery": {"allow_networks": ["10.0.0.1/8"]}
    },
    "discovery: refresh_min 100 is more than refresh_max 10": {
        "discovery": {"refresh_min": 100.0, "refresh_max": 10.0}
    },
    "nas.0: either secret or secret_file is expected": {"nas": [{"address": "10.0.0.1"}]},
    "sessions.database: sqlite:///PATH or postgresql": {"sessions": {"database": "mysql://x"}},
    "surprise: unknown key": {"surprise": 1},
    "registry.0.url: an https:// URL": {
        "registry": [{"name": "r", "url": "http://r.example", "api_key_file": "k", "domains": ["example.net"]}]
    },
    "registry.0.domains: nothing found": {"registry": [{"name": "r", "url": "https://r", "api_key_file": "k"}]},
    "registry 'operations': another name is expected": {
        "registry": [{"name": "operations", "url": "https://r", "api_key_file": "k", "domains": ["example.net"]}]
    },
    "operations.node: nothing found": {"operations": {"url": "https://o.example", "api_key_file": "k"}},
    "operations.url: an https:// URL": {"operations": {"url": "http://o.example", "api_key_file": "k", "node": "one"}},
    "overlaps with example.net of 'r'": {
        "registry": [
            {"name": n, "url": "https://r.example", "api_key_file": "k", "domains": [d]}
            for n, d in (("r", "example.net"), ("s", "iot.example.net"))
        ]
    },
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_in_the_configuration_is_named(message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(MISTAKES[message], "trust-sync.toml")
    assert str(caught.value).startswith("trust-sync.toml: ")
    assert message in str(caught.value)


def test_a_secret_is_never_shown_in_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        check_config({"nas": [{"address": "10.0.0.1", "secret": 12345678}]}, "f")
    assert "12345678" not in str(caught.value)


def test_a_secret_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="lets everybody read it"):
        read_secret(str(path), "nas.secret_file")
    path.chmod(0o640)
    assert read_secret(str(path), "nas.secret_file") == "s3cret"


def test_a_service_without_a_place_for_what_it_says_is_a_mistake(tmp_path: Path) -> None:
    module, worker = tmp_path / "dane-radius.toml", tmp_path / "trust-sync.toml"
    module.write_text("")
    worker.write_text(
        f'dane_radius = "{module}"\n[operations]\nurl = "https://o.example"\napi_key_file = "k"\nnode = "one"\n'
    )
    with pytest.raises(ConfigError, match=r"dane-radius.toml: standing: nothing found"):
        load_config(worker)
    module.write_text(f'standing = "{tmp_path}/standing"\n')
    assert load_config(worker)[0].operations is not None


def test_the_documented_configuration_is_a_good_one() -> None:
    text = (REPOSITORY / "docs" / "trust-sync.md").read_text().split("```toml\n")[1].split("```")[0]
    config = check_config(tomllib.loads(text), "docs/trust-sync.md")
    assert config.registry[0].domains == ["example.net"]
    # A commented-out value is the default.
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[] ").split("]")[0]
        match = re.match(r"# (\w+) = ([^#]+?)\s*(#.*)?$", line)
        if not match or match[1] in ("ca_file", "control_socket"):
            continue
        part: Any = {"registry": config.registry, "nas": config.nas}.get(section, [getattr(config, section, None)])[0]
        assert getattr(part, match[1]) == tomllib.loads(f"x = {match[2]}")["x"], line
