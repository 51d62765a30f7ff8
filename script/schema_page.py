"""The reference page of a JSON Schema: a table for each object, and the schema itself for editors and validators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "nothing",
    "object": "mapping",
    "array": "list",
}


def schema_page(title: str, introduction: str, schema: Schema) -> str:
    """The page, in Markdown."""
    parts = [f"# {title}\n", introduction, *_object("The file", schema)]
    for name, definition in schema.get("$defs", {}).items():
        parts += _object(_title(name), definition)
    parts.append(f"## The schema\n\n```json\n{json.dumps(schema, indent=2, ensure_ascii=False)}\n```\n")
    return "\n".join(parts)


def _title(name: str) -> str:
    """What the page calls a definition: classes end with "Model", what they describe does not."""
    return name.removesuffix("Model") or name


def _object(name: str, schema: Schema) -> Iterator[str]:
    if "properties" not in schema:
        # A type with a name, such as a pattern: the rows that refer to it say the rest.
        yield f"## {name}\n\n{_text(schema) or _value(schema)}\n"
        return
    yield f"## {name}\n"
    if description := _text(schema):
        yield f"{description}\n"
    required = set(schema.get("required", ()))
    rows = [
        (f"`{key}`", _value(value), _default(key, value, required), _text(value))
        for key, value in schema["properties"].items()
    ]
    lines: list[tuple[str, ...]] = [("key", "value", "default", "meaning"), ("---", "---", "---", "---"), *rows]
    if not any(text for _, _, _, text in rows):
        lines = [line[:3] for line in lines]
    yield "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _text(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split())


def _default(key: str, schema: Schema, required: set[str]) -> str:
    if key in required:
        return "required"
    if schema.get("default") is None:
        return "none"
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`"


def _value(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = _title(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_value(part) for part in schema[word] if part.get("type") != "null"))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind: str | list[str] = schema.get("type", "any value")
    if isinstance(kind, list):
        return " or ".join(_TYPES.get(part, part) for part in kind)
    if kind == "array":
        return f"list of {_value(schema.get('items', {}))}"
    if kind == "object" and (values := _mapped(schema)):
        return f"mapping of names to {_value(values)}"
    bounds = [
        f"{word} {schema[name]}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if name in schema
    ]
    return ", ".join([_TYPES.get(kind, kind), *bounds])


def _mapped(schema: Schema) -> Schema | None:
    """What the values of a mapping are, if the schema says so."""
    patterns = [value for value in schema.get("patternProperties", {}).values() if isinstance(value, dict)]
    further = schema.get("additionalProperties")
    return patterns[0] if patterns else further if isinstance(further, dict) else None
