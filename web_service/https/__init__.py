"""Accepting HTTPS connections: bounds and deadlines for each, TLS, and problem bodies for what is refused."""

from web_service.https.drop_log import DropLog
from web_service.https.http_connection import HttpConnection, connection_of, track_request
from web_service.https.listener import Listener, listener_of, require_files
from web_service.https.problem import MEDIA_TYPE, ProblemResponse, problem_response
from web_service.https.service_face import ServiceFace

__all__ = [
    "MEDIA_TYPE",
    "DropLog",
    "HttpConnection",
    "Listener",
    "ProblemResponse",
    "ServiceFace",
    "connection_of",
    "listener_of",
    "problem_response",
    "require_files",
    "track_request",
]
