"""compose.yaml and all that it mounts: valid, hardened, and the same site that `script/images check` runs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dane_radius.local import read_secret
from dane_radius.server import load_config as load_module_config
from policy import load_policy
from tests.harness.deploy import REPOSITORY
from tests.integration.containers.compose_model import COMPOSE_FILE, load_compose, read_settings
from tests.integration.containers.dockerfile import lineage, parse
from tests.integration.containers.engine import DOCKERFILE
from tests.integration.containers.site import SiteError, order, target_of
from tests.integration.containers.story import NOT_RUN, own_services
from trust_sync.shared import DEFAULT_CONFIG, load_config

FOLDER = COMPOSE_FILE.parent
COMPOSE = load_compose()
TEXT = COMPOSE_FILE.read_text()
NODES = ("radius-1", "radius-2")
OPERATIONS_PORT = 8444


def sync_settings(node: str) -> dict[str, Any]:
    """The settings of a node's trust-sync."""
    return tomllib.loads((FOLDER / "config" / "trust-sync" / f"{node}.toml").read_text())


def writable(name: str, folder: str) -> bool:
    """Whether a service may write what is mounted at `folder`."""
    (volume,) = (volume for volume in COMPOSE.services[name].volumes if volume.split(":")[1] == folder)
    return not volume.endswith(":ro")


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Against the schema of the Compose Specification, which check-jsonschema ships."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_file_is_valid_by_the_schema_of_the_specification(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="not installed: check-jsonschema, which ships the schema")
    done = validate(COMPOSE_FILE)
    assert done.returncode == 0, done.stdout
    # The control: the schema knows the keys.
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(TEXT.replace("  read_only: true", "  readonly: true"))
    assert validate(misspelt).returncode == 1


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("  read_only: true", "  read_only: false"),
        ("  cap_drop: [ALL]", "  cap_drop: [NET_RAW]"),
        ("  cap_drop: [ALL]", "  cap_drop: [ALL]\n  cap_add: [SYS_ADMIN]"),
        ("  read_only: true", "  read_only: true\n  privileged: true"),
        ("no-new-privileges:true", "no-new-privileges:false"),
        ('user: "601:601"', 'user: "0:0"'),
        ("postgres:15.14-bookworm", "postgres"),
        ("    deploy: {resources: {limits: {cpus: \"1\", memory: 1G, pids: 128}}}\n", ""),
        ("network_mode: none", "network_mode: host"),
    ],
)  # fmt: skip
def test_a_weaker_service_is_refused(text: str, instead: str) -> None:
    assert text in TEXT
    with pytest.raises(ValidationError):
        load_compose(text=TEXT.replace(text, instead))


def test_everything_that_is_named_exists() -> None:
    used_volumes, used_secrets = set(), set()
    for service in COMPOSE.services.values():
        assert set(service.networks) <= set(COMPOSE.networks)
        used_secrets |= set(service.secrets)
        for volume in service.volumes:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
                assert volume.endswith(":ro"), volume
            else:
                used_volumes.add(source)
    assert used_volumes == set(COMPOSE.volumes)
    assert used_secrets == set(COMPOSE.secrets)
    assert {net for service in COMPOSE.services.values() for net in service.networks} == set(COMPOSE.networks)


def test_each_service_has_a_health_check_and_dependencies_that_wait_for_it() -> None:
    stages = parse(DOCKERFILE)
    for name, service in COMPOSE.services.items():
        if service.build:
            image = service.image.partition(":")[0].rpartition("/")[2]
            assert image == service.build.target
            in_image = any(stage.all("HEALTHCHECK") for stage in lineage(stages, service.build.target))
        else:
            in_image = False
        check = service.healthcheck
        if service.is_job:
            assert check is not None
            assert check.disable
        elif check is None:
            assert in_image, name
        else:
            assert check.test[0] == "CMD", name
        for other, dependency in service.depends_on.items():
            finishes = dependency.condition == "service_completed_successfully"
            assert finishes == COMPOSE.services[other].is_job, f"{name} waits for {other}"


def test_the_image_check_starts_every_command() -> None:
    """Site takes each command from this file or from the image: it has to reach every service, grafana left out."""
    reached = set(order(COMPOSE, [*own_services(COMPOSE), "device"])) - NOT_RUN
    assert reached == set(COMPOSE.services) - {"grafana"}
    stages = parse(DOCKERFILE)
    for name in reached:
        service = COMPOSE.services[name]
        if service.build and service.command is None:
            assert any(stage.all("CMD") for stage in lineage(stages, target_of(service))), name


def test_services_that_depend_on_each_other_are_refused() -> None:
    text = TEXT.replace("    depends_on:\n      postgres: {condition: service_healthy}\n    deploy",
                        "    depends_on:\n      registry: {condition: service_healthy}\n    deploy")  # fmt: skip
    assert text != TEXT
    with pytest.raises(SiteError, match="registry"):
        order(load_compose(text=text), ["registry"])


def test_only_the_database_network_reaches_the_database() -> None:
    networks = {name: set(service.networks) for name, service in COMPOSE.services.items()}
    assert networks["postgres"] == {"database"}
    assert {name for name, nets in networks.items() if "database" in nets} == {"postgres", "registry", "registry-setup"}
    assert COMPOSE.networks["database"].internal
    # Nothing is published that a stranger has no business with, and nothing beyond loopback unless asked for.
    published = {name for name, service in COMPOSE.services.items() if service.ports}
    assert published == {"registry", "operations", "radius-1", "radius-2", "grafana"}
    assert all(port.startswith("127.0.0.1:") for service in COMPOSE.services.values() for port in service.ports)


def test_the_example_settings_are_the_defaults() -> None:
    settings = read_settings(FOLDER / ".env.example")
    assert set(settings) == set(re.findall(r"\$\{([A-Z0-9_]+)", TEXT))
    assert load_compose(settings) == COMPOSE
    with pytest.raises(KeyError, match="NAMELESS"):
        load_compose(text=TEXT.replace("${TAG:-local}", "${NAMELESS}"))


def test_the_policy_covers_the_devices_of_the_registry_that_trust_sync_follows() -> None:
    assert load_policy(FOLDER / "config" / "node" / "policy.yaml")
    policy = yaml.safe_load((FOLDER / "config" / "node" / "policy.yaml").read_text())
    for node in NODES:
        (registry,) = sync_settings(node)["registry"]
        assert policy["rules"][0]["identity"] == [f"**._device.{domain}" for domain in registry["domains"]]
    assert policy["standing"]["quarantined"]["zone"] in policy["zones"]


def test_the_nodes_differ_in_their_names_and_keys_only() -> None:
    first, second = (sync_settings(node) for node in NODES)
    for node, settings in zip(NODES, (first, second), strict=True):
        assert settings["operations"].pop("node") == node
        assert settings["operations"].pop("api_key_file") == f"/var/lib/dane-operations-clients/{node}.key"
    assert first == second
    assert COMPOSE.services["operations-setup"].command == ["set-up-operations", *NODES]
    workers = {name for name in COMPOSE.services if name.startswith("trust-sync-")}
    assert workers == {node.replace("radius", "trust-sync") for node in NODES}


def test_a_file_that_is_mounted_over_another_one_finds_it_there() -> None:
    """In a read-only folder, an engine can make no place to mount to."""
    covered = 0
    for name in (*NODES, *(node.replace("radius", "trust-sync") for node in NODES)):
        places = {volume.split(":")[1]: volume.split(":")[0] for volume in COMPOSE.services[name].volumes}
        for target, source in places.items():
            folder = places.get(os.path.dirname(target))
            if folder is not None and (FOLDER / source).is_file():
                assert (FOLDER / folder / os.path.basename(target)).is_file(), target
                covered += 1
    assert covered == 4


def test_the_decision_log_is_where_its_readers_look_for_it() -> None:
    stages = lineage(parse(DOCKERFILE), "node")
    settings = dict(word.split("=", 1) for stage in stages for item in stage.all("ENV") for word in item.value.split())
    module = load_module_config(FOLDER / "config" / "node" / "dane-radius.toml")
    assert module.log.destination == settings["DECISION_LOG"]
    # trust-sync reports from a file of this format only.
    assert module.log.format == "json"


def test_the_registry_takes_its_configuration(tmp_path: Path) -> None:
    config = FOLDER / "config" / "registry" / "iot-registry.toml"
    command = [str(Path(sys.executable).with_name("iot-registry")), "init", "--config", str(config), "--state-dir"]
    command += [str(tmp_path / "state"), "--database-url", f"sqlite:///{tmp_path}/registry.db", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    settings = tomllib.loads(config.read_text())
    knot = COMPOSE.services["knot"].networks["zones"].ipv4_address
    assert settings["publication"]["server"] == f"{knot}:5300"
    assert f"{knot}@5300" in (COMPOSE.services["zone-setup"].command or [])


def test_operations_takes_its_configuration(tmp_path: Path) -> None:
    config = FOLDER / "config" / "operations" / "dane-operations.toml"
    command = [str(Path(sys.executable).with_name("dane-operations")), "init", "--config", str(config), "--state-dir"]
    done = subprocess.run([*command, str(tmp_path / "state")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    settings = tomllib.loads(config.read_text())
    volumes = {volume.split(":")[1]: volume.split(":")[0] for volume in COMPOSE.services["operations"].volumes}
    assert volumes[os.path.dirname(settings["operations"]["policy"])] == "./config/node"
    assert (FOLDER / "config" / "node" / "policy.yaml").exists()


def test_module_and_worker_agree_on_what_they_share(tmp_path: Path) -> None:
    worker_file = tmp_path / "trust-sync.toml"
    module_file = FOLDER / "config" / "node" / "dane-radius.toml"
    text = (FOLDER / "config" / "trust-sync" / "radius-1.toml").read_text()
    worker_file.write_text(text.replace("/etc/dane-radius/dane-radius.toml", str(module_file)))
    worker, module = load_config(worker_file)
    assert worker.operations is not None
    assert worker.operations.url.endswith(f"//operations:{OPERATIONS_PORT}")
    assert module.standing is not None
    assert module.resolver.transport == "tls"
    assert module.resolver.address == COMPOSE.services["unbound"].networks["resolver"].ipv4_address
    assert module.hint.socket == worker.socket
    assert module.control_socket is not None
    for number in ("1", "2"):
        server = {v.split(":")[1]: v.split(":")[0] for v in COMPOSE.services[f"radius-{number}"].volumes}
        sync = {v.split(":")[1]: v.split(":")[0] for v in COMPOSE.services[f"trust-sync-{number}"].volumes}
        shared = {worker.socket, module.control_socket, module.anchors + "/x", module.standing + "/x"}
        shared |= {module.log.destination, str(DEFAULT_CONFIG)}
        for folder in {os.path.dirname(path) for path in shared}:
            assert server[folder] == sync[folder]
            assert server[folder].endswith(f"-{number}") or folder == "/etc/dane-radius"
        # Each writes what is its own.
        assert writable(f"radius-{number}", os.path.dirname(module.log.destination))
        assert writable(f"trust-sync-{number}", module.standing)
        assert not writable(f"radius-{number}", module.standing)
        assert not writable(f"trust-sync-{number}", os.path.dirname(module.log.destination))
        assert server[DEFAULT_CONFIG] == sync[DEFAULT_CONFIG] == f"./config/trust-sync/radius-{number}.toml"
        assert sync[os.path.dirname(str(worker.operations.ca_file))] == "operations-clients"
        common = set(COMPOSE.services[f"trust-sync-{number}"].networks) & set(COMPOSE.services["operations"].networks)
        assert "operations" in common


def test_the_grafana_data_source_is_prometheus() -> None:
    (source,) = yaml.safe_load((FOLDER / "config" / "grafana" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    text = (REPOSITORY / "containers" / "prometheus" / "prometheus.yml").read_text()
    anchor = tmp_path / "anchor.pem"
    anchor.write_text("")
    config = tmp_path / "prometheus.yml"
    config.write_text(re.sub(r"/var/lib/[a-z-]+-clients/anchor.pem", str(anchor), text))
    done = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names = {target.split(":")[0] for job in yaml.safe_load(text)["scrape_configs"]
             for static in job["static_configs"] for target in static["targets"]} - {"localhost"}  # fmt: skip
    scraper = set(COMPOSE.services["prometheus"].networks)
    assert names
    for name in names:
        assert scraper & set(COMPOSE.services[name].networks), name


def test_unbound_takes_its_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "unbound"
    shutil.copytree(REPOSITORY / "containers" / "unbound", folder / "unbound.conf.d")
    (folder / "zones.d").mkdir()
    (folder / "zones.d" / "home.conf").write_text(
        'server:\n    trust-anchor: "home.example. DS 1 13 2 ' + "00" * 32 + '"\n'
        'stub-zone:\n    name: "home.example."\n    stub-addr: 10.83.2.53@5300\n'
    )
    for name in ("resolver.key", "resolver.pem"):
        (tmp_path / name).touch()
    (tmp_path / "root.key").write_text(f". IN DS 1 13 2 {'00' * 32}\n")
    text = (DOCKERFILE.with_name("unbound-container.conf")).read_text()
    for old, new in (("/etc/unbound", folder), ("/run/secrets", tmp_path), ("/var/lib/unbound", tmp_path)):
        text = text.replace(old, str(new))
    config = folder / "unbound.conf"
    config.write_text(text)
    done = subprocess.run(["unbound-checkconf", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = subprocess.run(
        ["unbound-checkconf", "-o", "val-sig-skew-max", config], capture_output=True, text=True, timeout=60
    )
    assert found.stdout.strip() == "0"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The compose folder as a checkout has it."""
    target = tmp_path / "compose"
    shutil.copytree(FOLDER, target, ignore=shutil.ignore_patterns("secrets", ".env", "resolver-ca.pem"))
    return target


def make_secrets(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(folder / "make-secrets"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_secrets_belong_to_the_users_that_read_them(copy: Path) -> None:
    done = make_secrets(copy)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (copy / "secrets").iterdir()} == set(COMPOSE.secrets)
    for name, service in COMPOSE.services.items():
        uid, gid = map(int, service.user.split(":"))
        for secret in service.secrets:
            status = (copy / "secrets" / secret).stat()
            readable = (
                status.st_mode & stat.S_IROTH
                or (status.st_uid == uid and status.st_mode & stat.S_IRUSR)
                or (status.st_gid in {gid, *map(int, service.group_add)} and status.st_mode & stat.S_IRGRP)
            )
            assert readable, f"{name} cannot read {secret}"
            if not secret.endswith(".pem"):
                assert not status.st_mode & stat.S_IRWXO, secret
                assert status.st_size > 8
    assert (copy / "secrets").stat().st_mode & 0o077 == 0
    read_secret(str(copy / "secrets" / "das.secret"), "nas.secret_file")
    assert "require_message_authenticator = yes" in (copy / "secrets" / "clients.conf").read_text()


def test_the_certificates_are_what_their_clients_check(copy: Path) -> None:
    assert make_secrets(copy, "--radius-name", "radius.home.example").returncode == 0
    for ca, certificate, name in (
        ("secrets/radius-ca.pem", "secrets/radius-server.pem", "radius.home.example"),
        ("config/node/resolver-ca.pem", "secrets/resolver.pem", "resolver.dane-radius.internal"),
    ):
        verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(copy / ca)]
        good = subprocess.run([*verify, "-verify_hostname", name, copy / certificate], capture_output=True, text=True)
        assert good.returncode == 0, good.stderr
        other = subprocess.run([*verify, "-verify_hostname", "other.example", copy / certificate], capture_output=True)
        assert other.returncode != 0


def test_secrets_that_are_there_stay(copy: Path) -> None:
    assert make_secrets(copy).returncode == 0
    before = {path.name: path.read_bytes() for path in (copy / "secrets").iterdir()}
    again = make_secrets(copy)
    assert again.returncode == 0
    assert again.stdout == ""
    assert {path.name: path.read_bytes() for path in (copy / "secrets").iterdir()} == before
    (copy / "secrets" / "das.secret").unlink()
    assert make_secrets(copy).stdout == "make-secrets: made secrets/das.secret\n"


def test_an_unknown_option_is_refused(copy: Path) -> None:
    done = make_secrets(copy, "--raduis-name", "x")
    assert done.returncode == 2
    assert not (copy / "secrets").exists()
