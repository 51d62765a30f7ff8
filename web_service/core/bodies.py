"""What request and response bodies of a JSON API have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A request body. Unknown fields are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ResponseBody(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 7807 problem details. `reason` is from a closed list; `field` is the part of the request at fault."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    field: str | None = None
