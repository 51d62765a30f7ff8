"""The configuration file: an error names the file, the key, the value found, and what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.dns.cache import CacheLimits
from dane_radius.dns.resolver import LoopbackResolver, TlsResolver
from dane_radius.local.config import ConfigError
from dane_radius.server.config import Config, check_config, load_config, read_cui_key
from dane_radius.server.hint import HintLimits


def section(name: str, **values: Any) -> dict[str, Any]:
    return {name: values}


def test_an_empty_file_gives_the_defaults() -> None:
    config = check_config({}, "c.toml")
    assert config == Config()
    assert config.resolver.build() == LoopbackResolver("127.0.0.1", 53, 1.5, 0.2)
    assert config.cache.limits() == CacheLimits()
    waits = config.cache.wait_limits(config.resolver)
    # 24 of Debian's 32 threads, unless the installer sets another number.
    assert (waits.max_waiting, waits.max_waiting_per_slow_domain, waits.slow_after) == (24, 8, 1.0)


def test_obsolete_settings_are_accepted() -> None:
    config = check_config({"cache": {"wait_share": 0.2, "max_waiting": 16}, "hint": {"wait_share": 0.1}}, "c.toml")
    assert config.cache.wait_limits(config.resolver).max_waiting == 16
    assert config.hint.limits() == HintLimits()


def test_a_resolver_over_tls() -> None:
    config = check_config(
        section("resolver", transport="tls", address="192.0.2.1", server_name="dns.example", ca_file="/ca.pem"),
        "c.toml",
    )
    assert config.resolver.build() == TlsResolver("192.0.2.1", "dns.example", 853, ca_file="/ca.pem", timeout=1.5)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_needs_no_tls(address: str) -> None:
    assert check_config(section("resolver", address=address), "c").resolver.address == address


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"polcy": "x"}, "polcy: unknown key"),
        ({"policy": 5}, "policy: 5 found; input should be a valid string"),
        (section("resolver", port=0), "resolver.port: 0 found; "),
        (section("resolver", port=65536), "resolver.port: 65536 found; "),
        (section("resolver", port="53"), "resolver.port: '53' found; "),
        (section("resolver", port=True), "resolver.port: True found; "),
        (section("resolver", timeout=0), "resolver.timeout: 0 found; "),
        (section("resolver", timeout=11), "resolver.timeout: 11 found; "),
        (section("resolver", timeout=float("nan")), "resolver.timeout: nan found; "),
        (section("resolver", timeout=float("inf")), "resolver.timeout: inf found; "),
        (section("resolver", transport="tcp"), "resolver.transport: 'tcp' found; "),
        (section("resolver", address="192.0.2.1"), "resolver: address 192.0.2.1: plain DNS could be forged"),
        (section("resolver", address="0.0.0.0"), "resolver: address 0.0.0.0: plain DNS could be forged"),
        (section("resolver", address="::ffff:192.0.2.1"), "plain DNS could be forged"),
        (section("resolver", address="localhost"), "resolver: address 'localhost': an IP address is expected"),
        (section("resolver", transport="tls", address="192.0.2.1"), "resolver: server_name is expected"),
        (
            section("resolver", transport="tls", address="192.0.2.1", server_name=""),
            "resolver: server_name is expected",
        ),
        (section("cache", max_names=0), "cache.max_names: 0 found; "),
        (section("cache", max_waiting=0), "cache.max_waiting: 0 found; "),
        (section("cache", refresh_ahead=1), "cache.refresh_ahead: 1 found; "),
        (section("cache", stale_grace=-1), "cache.stale_grace: -1 found; "),
        (section("cache", failure_ttl=61), "cache.failure_ttl: 61 found; "),
        (section("session", max_age=9), "session.max_age: 9 found; "),
        (section("session", max_age=10.5), "session.max_age: 10.5 found; "),
        (section("metrics", port=-1), "metrics.port: -1 found; "),
        (section("log", format="xml"), "log.format: 'xml' found; "),
        (section("log", level="x"), "log.level: unknown key"),
        ({"cache": 5}, "cache: 5 found; "),
        ({"cache": []}, "cache: [] found; "),
    ],
)
def test_an_error_names_its_key_and_value(data: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(data, "/etc/c.toml")
    assert str(caught.value).startswith("/etc/c.toml: ")
    assert problem in str(caught.value)


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        check_config({"x": 1, "policy": 5, **section("cache", max_names=0)}, "c")
    assert len(str(caught.value).splitlines()) == 3


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigError, match=r"c\.toml: cannot be read: No such file"):
        load_config(path)
    path.write_bytes(b'policy = "\xff"')
    with pytest.raises(ConfigError, match=r"c\.toml: octet 10 is not UTF-8"):
        load_config(path)
    path.write_text("policy = ")
    with pytest.raises(ConfigError, match=r"c\.toml: not TOML: Invalid value"):
        load_config(path)
    path.write_text('policy = "a"\npolicy = "b"\n')
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)
    path.write_text('policy = "/p.yaml"\n[cache]\nstale_grace = 60\n')
    config = load_config(path)
    assert (config.policy, config.cache.stale_grace) == ("/p.yaml", 60.0)


KEYS = st.sampled_from([*Config.model_fields, "address", "port", "max_names", "timeout", "destination", "other"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_data_is_a_configuration_or_a_config_error(data: dict[str, Any]) -> None:
    try:
        config = check_config(data, "c.toml")
    except ConfigError as error:
        problem = str(error)
    else:
        problem = "c.toml" if config.resolver.build() else ""
    assert problem.startswith("c.toml")


def test_the_cui_key_is_secret_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match=r"cui_key_file: .*No such file"):
        read_cui_key(str(path))
    path.write_bytes(b"k" * 32 + b"\n")
    path.chmod(0o640)
    assert read_cui_key(str(path)) == b"k" * 32
    for mode in (0o644, 0o642, 0o641):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"mode {mode:04o} lets everybody read it; 0640 is expected"):
            read_cui_key(str(path))
    path.chmod(0o600)
    path.write_bytes(b"short\n")
    with pytest.raises(ConfigError, match="5 octets, at least 16 expected"):
        read_cui_key(str(path))
