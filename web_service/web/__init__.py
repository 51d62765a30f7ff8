"""HTTP over a table of routes: the application and the OpenAPI document are both made from it."""

from web_service.web.application import Gate, web_application
from web_service.web.call import Call
from web_service.web.change_watch import ChangeTicket, ChangeWatch
from web_service.web.context import WebContext
from web_service.web.long_poll import next_batch
from web_service.web.openapi import DOCUMENT, openapi_document
from web_service.web.request_reading import (
    api_key,
    bounded_integer,
    json_data,
    query_parameters,
    raw_body,
)
from web_service.web.route import MAX_BODY, Content, Credential, Json, OtherAnswer, QueryParameter, Route, integer

__all__ = [
    "DOCUMENT",
    "MAX_BODY",
    "Call",
    "ChangeTicket",
    "ChangeWatch",
    "Content",
    "Credential",
    "Gate",
    "Json",
    "OtherAnswer",
    "QueryParameter",
    "Route",
    "WebContext",
    "api_key",
    "bounded_integer",
    "integer",
    "json_data",
    "next_batch",
    "openapi_document",
    "query_parameters",
    "raw_body",
    "web_application",
]
