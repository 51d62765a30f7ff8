"""Values and decisions without I/O: refusals, principals, checks of bodies, admission of connections."""

from web_service.core.access import ADMIN, Principal, ScopeName
from web_service.core.bodies import Problem, RequestBody, ResponseBody
from web_service.core.connection_table import ClientConnection, ConnectionTable
from web_service.core.drop_reasons import DropReason
from web_service.core.refusals import ConfigurationError, Reason, RefusalReason, Refused
from web_service.core.validation import validate

__all__ = [
    "ADMIN",
    "ClientConnection",
    "ConfigurationError",
    "ConnectionTable",
    "DropReason",
    "Principal",
    "Problem",
    "Reason",
    "RefusalReason",
    "Refused",
    "RequestBody",
    "ResponseBody",
    "ScopeName",
    "validate",
]
