"""compose.yaml, run: every service in its own namespaces, with the user, mounts, secrets and networks of the file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.deploy import REPOSITORY
from tests.harness.process import tail
from tests.integration.containers.compose_model import COMPOSE_FILE, Compose, Service
from tests.integration.containers.container import Mount, Spec
from tests.integration.containers.engine import Engine, ImageConfig
from tests.integration.containers.virtual_networks import VirtualNetworks

_UNITS = {"s": 1, "m": 60}
HEALTHY_SECONDS = 120.0
STOP_SECONDS = 30.0


class SiteError(RuntimeError):
    """A service did not do what the file promises. The message carries the end of its log."""


def target_of(service: Service) -> str:
    """The target whose image stands for the service's image."""
    return service.build.target if service.build else service.image.rsplit("/", 1)[-1].split(":")[0]


def order(compose: Compose, names: Iterable[str]) -> list[str]:
    """The services and all that they depend on, each after its dependencies. Raises SiteError for a cycle."""
    done: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise SiteError(f"services depend on each other: {' -> '.join((*path, name))}")
        for other in compose.services[name].depends_on:
            visit(other, (*path, name))
        if name not in done:
            done.append(name)

    for name in names:
        visit(name, ())
    return done


@dataclass
class Running:
    """One container that was started."""

    name: str
    service: Service
    spec: Spec
    config: ImageConfig
    process: subprocess.Popen[bytes]
    log: Path
    command: list[str]

    @property
    def pid(self) -> int:
        """The process ID of the container's first process."""
        return int(Path(self.spec.pid_file).read_text())

    def failed(self, what: str) -> SiteError:
        """What to raise, with the end of the log."""
        return SiteError(f"{self.name}: {what}\n{tail(self.log, 30)}")


@dataclass
class Site:
    """All services of a compose file but those in `left_out`. say: gets one line for each step."""

    engine: Engine
    compose: Compose
    folder: Path
    left_out: frozenset[str] = frozenset()
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    running: dict[str, Running] = field(default_factory=dict)

    def __enter__(self) -> Site:
        services = {name: svc for name, svc in self.compose.services.items() if name not in self.left_out}
        self._services = services
        self._make_secrets()
        subnets = {name: net.ipam.config[0].subnet if net.ipam else None for name, net in self.compose.networks.items()}
        self.networks = VirtualNetworks(subnets)
        self.networks.__enter__()
        wanted: dict[str, Mapping[str, str | None]] = {
            name: {net: attachment.ipv4_address for net, attachment in svc.networks.items()}
            for name, svc in services.items()
        }
        self.addresses = self.networks.addresses(wanted)
        return self

    def __exit__(self, *exc: object) -> None:
        for running in reversed(self.running.values()):
            running.process.kill()
            running.process.wait(10)
        self.networks.__exit__()

    def _make_secrets(self) -> None:
        """The folder of the compose file, as an operator has it after make-secrets."""
        self.compose_folder = self.folder / "containers" / "compose"
        shutil.copytree(
            REPOSITORY / "containers", self.folder / "containers", ignore=shutil.ignore_patterns("secrets", ".env")
        )
        subprocess.run([self.compose_folder / "make-secrets"], check=True, capture_output=True)

    def add(self, name: str, service: Service) -> None:
        """One more service, in no network."""
        self._services[name] = service
        self.addresses[name] = {}

    def start(self, name: str, stdin: bytes | None = None) -> Running:
        """Start one service. Its dependencies must be running."""
        service = self._services[name]
        target = target_of(service)
        config = self.engine.config(target)
        root = self.engine.root(target)
        here = self.folder / "services" / name
        here.mkdir(parents=True)
        uid, gid = map(int, service.user.split(":"))
        namespace = self.networks.attach(name, self.addresses[name])
        command = service.command or config.command
        if service.command and service.build is None:
            command = [*config.command, *service.command]
        spec = Spec(
            name=name,
            root=str(root),
            command=command,
            uid=uid,
            gid=gid,
            groups=[int(group) for group in service.group_add],
            environment={"HOME": "/nonexistent", **config.environment, **service.environment},
            namespace=namespace,
            pid_file=str(here / "pid"),
            mounts=[*self._mounts(service, root, here), *self._hosts(name, here)],
            files=service.ulimits.get("nofile"),
        )
        log = here / "log"
        self.say(f"starting {name}: {' '.join(command)}")
        # For appending, because the process may open it a second time.
        with log.open("ab") as output:
            process = subprocess.Popen(
                self._container(spec.save(here / "spec.json")),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
            )
        running = self.running[name] = Running(name, service, spec, config, process, log, command)
        assert process.stdin is not None
        process.stdin.write(stdin or b"")
        process.stdin.close()
        return running

    @staticmethod
    def _container(*words: str | Path) -> list[str]:
        return [sys.executable, "-m", "tests.integration.containers.container", *map(str, words)]

    def _mounts(self, service: Service, root: Path, here: Path) -> list[Mount]:
        mounts = []
        for text in service.volumes:
            source, target, *mode = text.split(":")
            if source.startswith("."):
                path = (self.compose_folder / source).resolve()
            else:
                path = self.volume(source, root, target)
            mounts.append(Mount(target, str(path), mode == ["ro"]))
        for text in service.tmpfs:
            target, _, options = text.partition(":")
            mounts.append(Mount(target, options=options))
        for secret in service.secrets:
            path = self.compose_folder / self.compose.secrets[secret].file
            mounts.append(Mount(f"/run/secrets/{secret}", str(path), read_only=True))
        return mounts

    def volume(self, name: str, root: Path, target: str) -> Path:
        """A named volume. A new one gets the owner, the mode and the content of the folder that it covers."""
        path = self.folder / "volumes" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            below = Path(f"{root}{target}")
            below.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", below, path], check=True)
        return path

    def _hosts(self, name: str, here: Path) -> list[Mount]:
        """/etc/hosts with the services of common networks, in place of the engine's DNS."""
        lines = ["127.0.0.1 localhost"]
        for other, addresses in self.addresses.items():
            common = [net for net in self.addresses[name] if net in addresses]
            lines += [f"{addresses[net]} {other}" for net in common[:1]]
        hosts, resolv = here / "hosts", here / "resolv.conf"
        hosts.write_text("\n".join(lines) + "\n")
        resolv.write_text("")
        return [Mount("/etc/hosts", str(hosts), read_only=True), Mount("/etc/resolv.conf", str(resolv), read_only=True)]

    def execute(
        self, name: str, *command: str, root: bool = False, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a running container, as `docker compose exec` does."""
        running = self.running[name]
        spec = Path(running.spec.pid_file).with_name("spec.json")
        words = ["--in", *(["--root"] if root else []), str(running.pid), str(spec), *command]
        return subprocess.run(
            self._container(*words), capture_output=True, text=True, timeout=timeout, check=False, cwd=REPOSITORY
        )

    def health_command(self, running: Running) -> list[str]:
        """The health check: the service's own, else its image's. Empty: it has none."""
        check = running.service.healthcheck
        if check is None:
            return running.config.health
        if check.test and check.test[0] != "CMD":
            raise running.failed(f"its health check is {check.test}; CMD is expected")
        return check.test[1:]

    def wait(self, running: Running) -> float:
        """Until it is healthy, or has ended with 0 if it is a job; the seconds that this took. Raises SiteError."""
        began = time.monotonic()
        if running.service.is_job:
            try:
                code = running.process.wait(HEALTHY_SECONDS)
            except subprocess.TimeoutExpired:
                raise running.failed(f"has not ended within {HEALTHY_SECONDS:.0f} s") from None
            if code:
                raise running.failed(f"ended with code {code}")
            return time.monotonic() - began
        command = self.health_command(running)
        if not command:
            raise running.failed("has no health check")
        said = ""
        while time.monotonic() - began < HEALTHY_SECONDS:
            if running.process.poll() is not None:
                raise running.failed(f"ended with code {running.process.returncode}")
            if os.path.exists(running.spec.pid_file):
                done = self.execute(running.name, *command)
                if done.returncode == 0:
                    return time.monotonic() - began
                said = (done.stderr or done.stdout).strip()[-300:]
            time.sleep(0.2)
        raise running.failed(f"not healthy within {HEALTHY_SECONDS:.0f} s: {said}")

    def up(self, names: Iterable[str]) -> None:
        """Start services and their dependencies, each when its dependencies are ready."""
        for name in order(self.compose, names):
            if name not in self.running and name in self._services:
                running = self.start(name)
                seconds = self.wait(running)
                self.say(f"{name}: {'done' if running.service.is_job else 'healthy'} after {seconds:.1f} s")

    def stop(self, name: str) -> None:
        """Send SIGTERM. Raises SiteError if it takes longer than the grace period, or ends otherwise than by itself."""
        running = self.running[name]
        running.process.terminate()
        try:
            code = running.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise running.failed(f"did not end within {STOP_SECONDS:.0f} s of SIGTERM") from None
        if code not in (0, 128 + 15):
            raise running.failed(f"ended with code {code} after SIGTERM")


def read_only_proof(site: Site, name: str) -> None:
    """The root file system refuses writes, even of root. Raises SiteError if not."""
    for path in ("/", "/etc", "/usr/local/bin", "/opt"):
        done = site.execute(name, "/usr/bin/touch", f"{path}/probe", root=True)
        if done.returncode == 0 or "Read-only file system" not in done.stderr:
            raise SiteError(f"{name}: {path} can be written: {done.stderr}")


def privileges_proof(site: Site, name: str) -> None:
    """The process has no capabilities and cannot get any. Raises SiteError if not."""
    status = Path(f"/proc/{site.running[name].pid}/status").read_text()
    found = dict(re.findall(r"^(Cap\w+|NoNewPrivs|Uid):\s+(.*)$", status, re.MULTILINE))
    uid = site.running[name].service.user.split(":")[0]
    expected = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000")
    expected |= {"NoNewPrivs": "1", "Uid": "\t".join([uid] * 4)}
    if found != expected:
        raise SiteError(f"{name}: {found} found, {expected} expected")


__all__ = ["COMPOSE_FILE", "Running", "Site", "SiteError", "order", "privileges_proof", "read_only_proof", "target_of"]
