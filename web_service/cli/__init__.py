"""What the commands of services share: output, failures, secrets, and the client of a JSON API."""

from web_service.cli.failures import CommandFailed, CommandGroup
from web_service.cli.json_client import JsonClient, RemoteError, query_string
from web_service.cli.options import SecretOutput, json_option, out_option
from web_service.cli.output import format_time, people, print_json, print_table
from web_service.cli.remote import Remote, remote_options, remote_service

__all__ = [
    "CommandFailed",
    "CommandGroup",
    "JsonClient",
    "Remote",
    "RemoteError",
    "SecretOutput",
    "format_time",
    "json_option",
    "out_option",
    "people",
    "print_json",
    "print_table",
    "query_string",
    "remote_options",
    "remote_service",
]
