"""The values of a policy file. Errors say what is expected; who reports them adds the key and what was found."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from policy.attributes import MAX_ATTRIBUTE_OCTETS

_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|h|d)?\Z")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATTERN_LABEL = re.compile(r"[a-z0-9_*](?:[a-z0-9_*-]*[a-z0-9*])?\Z")


class Model(BaseModel):
    """A mapping of the file. Unknown keys are errors, and no value is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FullModel(Model):
    """A mapping in which no key may stand without a value: a condition that is left empty would hold for everything."""

    @model_validator(mode="before")
    @classmethod
    def _has_values(cls, data: Any) -> Any:
        if isinstance(data, dict) and None in data.values():
            empty = next(key for key, value in data.items() if value is None)
            raise ValueError(f"{empty}: nothing found after the key, a value is expected")
        return data


def _duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a number of seconds, or a number with s, m, h or d, is expected")
    match = _DURATION.match(str(value).strip())
    if not match:
        raise ValueError("a number of seconds, or a number with s, m, h or d (for example 8h), is expected")
    return int(match[1]) * _UNIT_SECONDS[match[2] or "s"]


def number(value: Any) -> Any:
    """The value, unless it is a boolean: to Python, True is 1."""
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    return value


def version(value: Any) -> Any:
    """The version of the language."""
    if number(value) not in (1, 2):
        raise ValueError("1 or 2 is expected")
    return value


def pattern(value: str) -> str:
    """A pattern for device names, in lower case and without a trailing dot."""
    if not value.isascii():
        raise ValueError("ASCII is expected; an internationalized name needs its A-labels (xn--)")
    text = value.lower().removesuffix(".")
    labels = text.split(".")
    if len(labels) < 2:
        raise ValueError("at least two labels are expected; a pattern may not cover the whole DNS")
    if len(text) > MAX_ATTRIBUTE_OCTETS:
        raise ValueError(f"at most {MAX_ATTRIBUTE_OCTETS} octets are expected")
    for position, label in enumerate(labels):
        if label == "**":
            if position != 0:
                raise ValueError("'**' (any number of labels) is expected at the left end only")
        elif "**" in label or not 1 <= len(label) <= 63 or not _PATTERN_LABEL.match(label):
            raise ValueError(f"label {label!r}: letters, digits, '-', '_' and '*' (within one label) are expected")
    if any("*" in label for label in labels[-2:]):
        raise ValueError("the two rightmost labels are expected without '*': a pattern must name an organization")
    return text


def exact_name(value: str) -> str:
    """A DNS name, in lower case and without a trailing dot."""
    name = pattern(value)
    if "*" in name:
        raise ValueError("one exact name is expected, without '*'")
    return name


def text(value: str) -> str:
    """Text that fits an attribute."""
    if not 1 <= len(value.encode()) <= MAX_ATTRIBUTE_OCTETS or not value.isprintable():
        raise ValueError(f"1 to {MAX_ATTRIBUTE_OCTETS} printable octets are expected")
    return value


def _nas(value: str) -> str:
    if "/" in value or re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*", value):
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise ValueError(f"a NAS-Identifier, an IP address or a network is expected ({error})") from error
    return text(value)


def _vlan(value: int | str) -> int | str:
    if isinstance(value, int):
        if not 1 <= value <= 4094:
            raise ValueError("a VLAN ID from 1 to 4094 is expected (RFC 3580 section 3.31)")
        return value
    if value.isdigit():
        raise ValueError("a VLAN ID without quotes, or a VLAN name with at least one letter, is expected")
    return text(value)


_DURATION_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*[0-9]{1,9}\s*[smhd]?\s*$"}]}
)
_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MAX_ATTRIBUTE_OCTETS}
_PATTERN_SCHEMA = {
    "type": "string",
    "maxLength": MAX_ATTRIBUTE_OCTETS + 1,
    "pattern": r"^(\*\*\.)?([A-Za-z0-9_*][A-Za-z0-9_*-]*\.)*[A-Za-z0-9_][A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.?$",
}
_NAME_SCHEMA = {**_PATTERN_SCHEMA, "pattern": r"^([A-Za-z0-9_][A-Za-z0-9_-]*\.)+[A-Za-z0-9_-]+\.?$"}
_VLAN_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 4094},
        {**_TEXT_SCHEMA, "pattern": "[^0-9]"},
    ]
}

Duration = Annotated[int, BeforeValidator(_duration), _DURATION_SCHEMA]
Pattern = Annotated[str, AfterValidator(pattern), WithJsonSchema(_PATTERN_SCHEMA)]
Name = Annotated[str, AfterValidator(exact_name), WithJsonSchema(_NAME_SCHEMA)]
Text = Annotated[str, AfterValidator(text), WithJsonSchema(_TEXT_SCHEMA)]
Nas = Annotated[str, AfterValidator(_nas), WithJsonSchema(_TEXT_SCHEMA)]
Vlan = Annotated[int | str, AfterValidator(_vlan), WithJsonSchema(_VLAN_SCHEMA)]
RULE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z"
RULE_NAME_MEANING = "at most 63 letters, digits, '-', '_' and '.'"
RuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Mode = Literal["enforce", "monitor"]
Require = Literal["any", "no_ca", "pkix", "dane_ee"]
