"""The reference pages of the documentation site, made from the code: commands, configuration, metrics, HTTP APIs."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import inspect
import json
import re
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dane_radius.dns import LoopbackResolver
from dane_radius.dns.lookups import Lookups
from dane_radius.server import Config as ModuleConfig
from dane_radius.server.metrics import Metrics as ModuleMetrics
from dane_radius.server.waits import Waits
from iot_registry.local.config import Settings as RegistrySettings
from iot_registry.local.metrics import REGISTRY as REGISTRY_METRICS
from iot_registry.web.openapi import document as registry_document
from iot_registry.web.route_table import ROUTES as REGISTRY_ROUTES
from trust_sync.shared.config import Config as WorkerConfig
from trust_sync.worker.metrics import Metrics as WorkerMetrics

_ROOT = Path(__file__).resolve().parent.parent
# A checkout may lack this part.
_OPERATIONS = importlib.util.find_spec("operations") is not None
_COMMENT = re.compile(r"^\s*# ?(.*)$")


# --- commands --------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """The help of every command."""
    parts = ["# Commands\n\nEach command prints this with `--help`.\n"]
    for name, program in _programs():
        parts += _command(name, program, None, 2)
    return "\n".join(parts)


def _programs() -> Iterator[tuple[str, click.Command]]:
    """The programs that `setup.cfg` installs."""
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg", encoding="utf-8")
    for line in setup["options.entry_points"]["console_scripts"].split("\n"):
        if line.strip():
            name, place = (part.strip() for part in line.split("="))
            module, function = place.split(":")
            yield name, getattr(importlib.import_module(module), function)


def _command(name: str, command: click.Command, parent: click.Context | None, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    yield f"{'#' * min(level, 4)} {context.command_path}\n\n```text\n{command.get_help(context).strip()}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _command(child, found, context, level + 1)


# --- configuration files ---------------------------------------------------------------------------------------------


def configuration_page() -> str:
    """Every key of the configuration files."""
    files: list[tuple[str, str, type[BaseModel]]] = [
        ("dane-radius.toml", "The FreeRADIUS module and `dane-radius`.", ModuleConfig),
        ("trust-sync.toml", "The trust sync worker.", WorkerConfig),
        ("iot-registry.toml", "The IoT registry.", RegistrySettings),
    ]
    if _OPERATIONS:
        settings = importlib.import_module("operations.local.config").Settings
        files.append(("dane-operations.toml", "The control plane of a network.", settings))
    parts = [
        "# Configuration files\n\nAll of them are TOML. An unknown key, and a value of another type, is an error.\n"
    ]
    for name, text, model in files:
        parts.append(f"## {name}\n\n{text}\n")
        parts += _section(model, "")
    return "\n".join(parts)


def _section(model: type[BaseModel], path: str) -> Iterator[str]:
    notes = _notes(model)
    rows = []
    inner: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        section = _model_of(field.annotation)
        if section is not None:
            many = get_origin(field.annotation) is list
            name = f"{path}.{key}" if path else key
            inner.append((f"[[{name}]]" if many else f"[{name}]", section))
        else:
            rows.append((f"`{key}`", _type(field), _default(field), notes.get(key, "")))
    if path:
        yield f"### {path}\n\n{_summary(model)}\n"
    if rows:
        yield _table(("key", "value", "default", "meaning"), rows)
    for name, section in inner:
        yield from _section(section, name)


def _summary(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split("\n\n")[0].split())


def _notes(model: type[BaseModel]) -> dict[str, str]:
    """What each key means: the comment above it, or its `key: text` in the docstring. Base classes count, too."""
    notes: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            notes |= _own_notes(base, model)
    return notes


def _own_notes(model: type[BaseModel], described: type[BaseModel]) -> dict[str, str]:
    """What the text of one class says about the keys of `described`, which is this class or inherits from it."""
    documented = " ".join(inspect.cleandoc(model.__doc__ or "").split())
    keys = "|".join(described.model_fields)
    parts = re.split(rf"(?:^|(?<=[.;] ))((?:{keys})(?:, (?:{keys}))*): ", documented)
    notes = {
        key: text.strip() for names, text in zip(parts[1::2], parts[2::2], strict=True) for key in names.split(", ")
    }
    comment: list[str] = []
    for line in inspect.getsource(model).splitlines():
        match = _COMMENT.match(line)
        if match:
            comment.append(match[1])
            continue
        key = re.match(r"\s+(\w+)\s*:", line)
        if key and key[1] in described.model_fields and comment:
            notes[key[1]] = " ".join(comment)
        comment = []
    return notes


def _model_of(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{word} {value}"
        for item in field.metadata
        for kind, word, value in (
            (annotated_types.Ge, "at least", getattr(item, "ge", None)),
            (annotated_types.Gt, "more than", getattr(item, "gt", None)),
            (annotated_types.Le, "at most", getattr(item, "le", None)),
            (annotated_types.Lt, "less than", getattr(item, "lt", None)),
        )
        if isinstance(item, kind)
    ]
    return ", ".join([_type_name(field.annotation), *bounds])


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type_name(get_args(annotation)[0])
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(part) for part in get_args(annotation) if part is not type(None))
    if origin in (list, tuple):
        return f"list of {_type_name(get_args(annotation)[0])}"
    if origin is dict:
        return "table"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}
    name = str(getattr(annotation, "__name__", annotation))
    return names.get(name, name)


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None:
        factory: Callable[[], Any] = field.default_factory  # type: ignore[assignment]  # none of ours takes the data
        value = factory()
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{json.dumps(value, default=str)}`"


# --- metrics ---------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    """Every metric of every process."""
    module, worker = ModuleMetrics(), WorkerMetrics(())
    lookups = Lookups(LoopbackResolver())
    module.watch(lookups, Waits(lookups, 0.0))
    processes = [
        ("The FreeRADIUS module (port 9812)", module.registry),
        ("trust-sync (port 9813)", worker.registry),
        ("iot-registry (`/metrics`)", REGISTRY_METRICS),
    ]
    if _OPERATIONS:
        registry = importlib.import_module("operations.local.metrics").REGISTRY
        processes.append(("dane-operations (`/metrics`)", registry))
    parts = ["# Metrics\n\nLabel values come from closed sets. Every series exists from the start.\n"]
    for title, found in processes:
        parts.append(f"## {title}\n\n{_table(('metric', 'type', 'labels', 'meaning'), _metrics(found))}")
    return "\n".join(parts)


def _metrics(registry: CollectorRegistry) -> Iterable[tuple[str, str, str, str]]:
    for metric in sorted(registry.collect(), key=lambda metric: metric.name):
        if metric.name.startswith(("process_", "python_")):
            continue
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        yield f"`{name}`", metric.type, ", ".join(f"`{label}`" for label in labels), metric.documentation


# --- APIs ------------------------------------------------------------------------------------------------------------


def api_page() -> str:
    """Every operation of the HTTP APIs."""
    apis = [("The registry", registry_document(REGISTRY_ROUTES))]
    if _OPERATIONS:
        routes = importlib.import_module("operations.web.route_table").ROUTES
        apis.append(("Operations", importlib.import_module("operations.web.openapi").document(routes)))
    parts = ["# HTTP APIs\n\nA running server has its complete OpenAPI document at `/v1/openapi.json`.\n"]
    for title, document in apis:
        rows = [
            (f"`{method.upper()} {path}`", ", ".join(operation.get("tags", ())), operation.get("summary", ""))
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if isinstance(operation, dict)
        ]
        parts.append(f"## {title}\n\n" + _table(("operation", "group", "function"), rows))
    return "\n".join(parts)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/configuration.md": configuration_page,
    "reference/metrics.md": metrics_page,
    "reference/api.md": api_page,
}
