"""The page of a JSON Schema says what each key may be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "script"))

from schema_page import schema_page  # noqa: E402  # a script, not a package

SCHEMA = {
    "properties": {
        "version": {"const": 2, "description": "The version\n of the language."},
        "mode": {"enum": ["enforce", "monitor"], "default": "enforce", "description": "What a reject becomes."},
        "rules": {"type": "array", "items": {"$ref": "#/$defs/RuleModel"}, "description": "From top to bottom."},
        "zones": {"type": "object", "additionalProperties": {"$ref": "#/$defs/RuleModel"}, "description": "By name."},
        "ttl": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}], "description": "a | b"},
        "lists": {
            "type": "object",
            "patternProperties": {"^[a-z]+$": {"type": "string"}},
            "additionalProperties": False,
        },
        "plain": {"type": ["string", "number"]},
    },
    "required": ["version"],
    "$defs": {
        "RuleModel": {"properties": {"name": {"type": "string"}}, "description": "One rule."},
        "Name": {"type": "string", "description": "A name."},
        "Bare": {"type": "string"},
    },
}


@pytest.mark.parametrize(
    "line",
    [
        "| `version` | `2` | required | The version of the language. |",
        '| `mode` | `"enforce"` or `"monitor"` | `"enforce"` | What a reject becomes. |',
        "| `rules` | list of [Rule](#rule) | none | From top to bottom. |",
        "| `zones` | mapping of names to [Rule](#rule) | none | By name. |",
        "| `ttl` | whole number, at least 1, at most 9 | none | a \\| b |",
        "| `plain` | text or number | none |  |",
        "| `lists` | mapping of names to text | none |  |",
        "## Rule\n\nOne rule.\n",
        "| key | value | default |\n| --- | --- | --- |\n| `name` | text | none |\n",
        "## Name\n\nA name.\n",
        "## Bare\n\ntext\n",
    ],
)
def test_a_key_is_listed_with_its_values_and_default(line: str) -> None:
    assert f"\n{line}" in schema_page("Title", "Introduction.\n", SCHEMA)
