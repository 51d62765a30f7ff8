"""The JSON Schema of the policy language, for editors and for checks without this software."""

from __future__ import annotations

from typing import Any

from policy.model.version_2 import PolicyModel

SCHEMA_ID = "policy-2.schema.json"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy file of version 2.

    Every valid file matches it. It knows the keys and the form of values, but not what a file refers to.
    """
    schema = _without_null(PolicyModel.model_json_schema(by_alias=True))
    schema.pop("title", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Policy for DANE-authenticated devices, version 2",
        **schema,
    }


def _without_null(part: Any) -> Any:
    """A schema without null, which pydantic allows for every key that may be left out. In a file, it is a mistake."""
    if isinstance(part, list):
        return [_without_null(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: _without_null(value) for key, value in part.items() if not (key == "default" and value is None)}
    choices = found.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        choices.remove({"type": "null"})
        if len(choices) == 1:
            del found["anyOf"]
            found.update(choices[0])
    return found
