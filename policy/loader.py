"""Read a policy file. Every error names the file, the key, what was found and what is expected."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import reprlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from policy.matching import Grant, IdentityPattern, Network, Policy, Rule, Strength, compile_glob
from policy.model import GrantModel, NetworkModel, PolicyModel, RuleModel

MAX_POLICY_OCTETS = 16 * 1024 * 1024
_MAX_FOUND_CHARACTERS = 80
_PLAIN_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z")
# With aliases, a few lines of YAML can represent gigabytes. So the text of a value is bounded while it is built.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _MAX_FOUND_CHARACTERS


class PolicyError(ValueError):
    """An invalid policy file. `problems` has one line for each mistake, which names the key."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a duplicate key is an error. PyYAML silently uses the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a plain key is expected", key_node.start_mark)
            line = key_node.start_mark.line + 1
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"duplicate key {key_node.value!r} (first in line {seen[key_node.value]})",
                    key_node.start_mark,
                )
            seen[key_node.value] = line
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """YAML 1.1 reads 010 as 8 and 1:30 as 90. A VLAN ID or a timeout must mean what it looks like."""
        text = str(node.value)
        if not _PLAIN_NUMBER.match(text):
            raise yaml.constructor.ConstructorError(
                None, None, f"{text!r}: a plain number is expected", node.start_mark
            )
        return int(text)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def load_policy(path: str | Path) -> Policy:
    """The policy in a file. Raises PolicyError."""
    source = str(path)
    try:
        with open(path, "rb") as file:
            octets = file.read(MAX_POLICY_OCTETS + 1)
    except OSError as error:
        raise PolicyError(source, [f"cannot be read: {error.strerror}"]) from error
    if len(octets) > MAX_POLICY_OCTETS:
        raise PolicyError(source, [f"more than {MAX_POLICY_OCTETS} octets"])
    return parse_policy(octets, source)


def parse_policy(octets: bytes, source: str = "policy") -> Policy:
    """The policy in YAML text. Raises PolicyError with `source` as the file's name."""
    try:
        # _StrictLoader is a SafeLoader: it constructs no objects.
        data = yaml.load(octets.decode("utf-8"), Loader=_StrictLoader)  # noqa: S506
    except UnicodeDecodeError as error:
        raise PolicyError(source, [f"octet {error.start} is not UTF-8"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise PolicyError(source, [f"{where}{error.problem or error}"]) from error
    except Exception as error:
        # PyYAML's constructors raise various exceptions if a tag does not fit its node: KeyError, IndexError,
        # AttributeError and TypeError have been observed.
        raise PolicyError(source, [f"not YAML: {type(error).__name__}: {error}"]) from error
    if not isinstance(data, dict):
        raise PolicyError(source, [f"{_found(data)} found, a mapping with version and rules is expected"])
    try:
        model = PolicyModel.model_validate(data)
    except ValidationError as error:
        raise PolicyError(source, [_problem(item) for item in error.errors()]) from error
    except RecursionError as error:
        raise PolicyError(source, ["nested too deeply"]) from error
    return _compile(model, source, hashlib.sha256(octets).hexdigest())


def _problem(error: Any) -> str:
    where = ""
    for part in error["loc"]:
        if isinstance(part, int):
            where += f"[{part}]"
        elif part not in ("int", "str", "[key]"):
            where += f".{part}" if where else str(part)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{where}: nothing found, this key is expected"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    if where and error["type"] == "value_error" and isinstance(error["input"], dict | PolicyModel):
        return f"{where}: {message}"
    if not where:
        return str(message)
    return f"{where}: {_found(error['input'])} found; {message[:1].lower() + message[1:]}"


def _found(value: Any) -> str:
    text = _BRIEF.repr(value)
    return text if len(text) <= _MAX_FOUND_CHARACTERS else text[:_MAX_FOUND_CHARACTERS] + "…"


def _compile(model: PolicyModel, source: str, digest: str) -> Policy:
    networks = {name: _network(name, network) for name, network in model.networks.items()}
    quarantine = model.quarantine
    return Policy(
        rules=tuple(_rule(rule, networks) for rule in model.rules),
        monitor=model.mode == "monitor",
        ttl_factor=model.session.ttl_factor,
        minimum_session=model.session.minimum,
        quarantine=tuple(IdentityPattern.compile(text) for text in quarantine.identity) if quarantine else (),
        quarantine_grant=_grant(quarantine.grant) if quarantine else None,
        source=source,
        digest=digest,
    )


def _rule(model: RuleModel, networks: dict[str, Network]) -> Rule:
    return Rule(
        name=model.name,
        patterns=tuple(model.identity),
        networks=tuple(networks[name] for name in model.networks) if model.networks else None,
        require=Strength(model.require),
        allow_pkix_cd=model.pkix_cd,
        monitor=model.mode == "monitor",
        grant=None if model.grant is None else _grant(model.grant),
    )


def _grant(model: GrantModel) -> Grant:
    return Grant(
        vlan=model.vlan,
        filter_id=model.filter_id,
        nas_filter_rules=tuple(model.nas_filter_rules),
        session_timeout=model.session_timeout,
        idle_timeout=model.idle_timeout,
        reauthenticate=model.reauthenticate,
        class_=model.class_,
    )


def _network(name: str, model: NetworkModel) -> Network:
    identifiers, addresses = [], []
    for entry in model.nas or ():
        try:
            addresses.append(ipaddress.ip_network(entry))
        except ValueError:
            identifiers.append(compile_glob(entry))
    return Network(
        name=name,
        ssids=None if model.ssid is None else tuple(compile_glob(entry) for entry in model.ssid),
        nas_identifiers=tuple(identifiers),
        nas_networks=tuple(addresses),
        checks_nas=model.nas is not None,
        wired=model.wired,
    )
