"""Checking data against a model, with a refusal that names the field at fault. Pure."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from web_service.core.refusals import Reason, Refused

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: object) -> Model:
    """`data` as `model`. Raises Refused with the first fault that pydantic found."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        unknown = first["type"] == "extra_forbidden"
        found = "" if unknown or first["type"] == "missing" else f", found {str(first['input'])[:80]!r}"
        raise Refused(
            Reason.UNKNOWN_FIELD if unknown else Reason.INVALID_FIELD,
            f"{field}: {first['msg']}{found}",
            field=field,
        ) from None
