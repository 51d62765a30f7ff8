"""The Dockerfile by our own rules. `script/images check` builds and runs what it describes; this takes no builder."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY
from tests.integration.containers.compose_model import load_compose
from tests.integration.containers.dockerfile import (
    DockerfileError,
    Instruction,
    Stage,
    installed_packages,
    lineage,
    parse,
)
from tests.integration.containers.engine import DOCKERFILE, STAND_INS, TARGETS, base_name
from tests.integration.containers.site import target_of

STAGES = parse(DOCKERFILE)
_BUILD_TOOLS = re.compile(r"pip|venv|gcc|g\+\+|make|build-essential|git|curl|wget|.*-dev$")


def last(stages: list[Stage], keyword: str) -> Instruction:
    """The instruction that is in force."""
    return [item for stage in stages for item in stage.all(keyword)][-1]


def test_the_targets_are_stages() -> None:
    assert set(TARGETS) <= set(STAGES)
    used = {target_of(service) for service in load_compose().services.values() if service.build}
    assert used == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_its_own_user_with_a_health_check_in_exec_form(target: str) -> None:
    stages = lineage(STAGES, target)
    user = last(stages, "USER").value
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert STAGES[target].instructions[-1].keyword == "CMD"
    assert last(stages, "CMD").words
    assert last(stages, "HEALTHCHECK").words
    labels = " ".join(item.value for stage in stages for item in stage.all("LABEL"))
    for label in ("title", "description", "version", "licenses"):
        assert f"org.opencontainers.image.{label}=" in labels
    for service in load_compose().services.values():
        if service.build and service.build.target == target:
            assert service.user == user


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_no_build_tools(target: str) -> None:
    packages = installed_packages(lineage(STAGES, target))
    assert packages
    assert [name for name in packages if _BUILD_TOOLS.fullmatch(name.removeprefix("python3-"))] == []
    # The control: the stage that makes the wheels has some.
    assert "python3-pip" in installed_packages(lineage(STAGES, "build"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_commands_of_a_target_exist(target: str) -> None:
    stages = lineage(STAGES, target)
    copied = {Path(word).name for stage in stages for item in stage.all("COPY") for word in item.value.split()[:-1]}
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    ours = {line.split("=")[0].strip() for line in setup["options.entry_points"]["console_scripts"].split("\n") if line}
    for keyword in ("CMD", "HEALTHCHECK"):
        program = last(stages, keyword).words[0]
        # Debian's own programs come with the packages that the tests need anyway.
        assert program in ours | copied or shutil.which(program), program


@pytest.mark.parametrize("path", [DOCKERFILE, STAND_INS], ids=["images", "stand-ins"])
def test_packages_are_installed_without_leftovers(path: Path) -> None:
    stages = parse(path)
    runs = [item for stage in stages.values() for item in stage.all("RUN") if "apt-get" in item.value]
    assert runs
    for item in runs:
        assert "apt-get update" in item.value
        assert "--no-install-recommends" in item.value
        assert "rm -rf /var/lib/apt/lists/*" in item.value, item.line


def test_the_base_is_pinned_and_nothing_comes_from_elsewhere() -> None:
    assert re.fullmatch(r"docker\.io/library/debian:bookworm-\d{8}-slim", base_name())
    assert base_name(STAND_INS) == base_name()
    for stage in STAGES.values():
        assert stage.base == "${BASE}" or stage.base in STAGES
        assert stage.all("ADD") == []
        for item in [*stage.all("ENV"), *stage.all("ARG")]:
            assert not re.search(r"(?i)password|secret|token|key", item.value), item.value


def test_everything_that_is_copied_is_in_the_checkout_and_in_the_context() -> None:
    allowed = {
        line[1:] for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    sources = [
        word
        for stage in STAGES.values()
        for item in stage.all("COPY")
        if "--from=" not in item.value
        for word in item.value.split()[:-1]
    ]
    assert len(sources) > 10
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source
    # No secret can reach a build.
    assert not any("compose" in entry for entry in allowed)


@pytest.mark.parametrize(
    "name",
    [
        "set-up-registry",
        "registry-health",
        "set-up-operations",
        "operations-health",
        "radius-server",
        "trust-sync-health",
        "export-zones",
        "join-networks",
    ],
)
def test_an_entry_point_is_executable_and_well_formed(name: str) -> None:
    path = DOCKERFILE.with_name(name)
    assert path.stat().st_mode & 0o111
    if path.read_text().startswith("#!/bin/sh"):
        subprocess.run(["/bin/sh", "-n", path], check=True)
        assert "set -eu" in path.read_text()
    else:
        compile(path.read_text(), name, "exec")


@pytest.mark.parametrize(
    "text",
    [
        "RUN true\nFROM x AS a\n",
        "FROM x AS a\nRNU true\n",
        "FROM x\n",
        "FROM x AS a\nFROM y AS a\n",
        "FROM x AS a\nRUN a \\\n",
    ],
)
def test_a_file_that_is_no_dockerfile_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(text)
    with pytest.raises(DockerfileError):
        parse(path)


def test_the_installer_has_the_options_that_the_image_uses() -> None:
    (command,) = [
        part
        for item in STAGES["node"].all("RUN")
        for part in item.value.split("&&")
        if part.strip().startswith("dane-radius install")
    ]
    options = re.findall(r"--[a-z-]+", command)
    assert options
    program = Path(sys.executable).with_name("dane-radius")
    shown = subprocess.run([program, "install", "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert [option for option in options if option not in shown.stdout] == []
