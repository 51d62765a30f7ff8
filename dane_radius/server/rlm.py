"""The functions that FreeRADIUS's rlm_python3 calls: RADIUS attributes in, RADIUS attributes out.

rlm_python3 is strict about types. It takes None for *ok* and an enum member for *fail*, and it silently drops a list
where it expects a tuple. Every path here therefore returns a plain `int` or `(int, {list name: tuple of (str, str,
str)})`. Only `config:Auth-Type := Accept` grants access: without it, the virtual server that made the call rejects.
"""

from __future__ import annotations

import gc
import getopt
import re
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from dane_radius.core.ruling import Decision
from dane_radius.local.config import ConfigError
from dane_radius.server.authentication import Authentication, NotYet
from dane_radius.server.config import DEFAULT_CONFIG, load_config
from dane_radius.server.service import Service
from policy import PolicyError, RequestFacts, ssid_of

# src/include/radiusd.h, rlm_rcode_t. Plain integers: see above.
RLM_MODULE_REJECT = 0
RLM_MODULE_OK = 2
RLM_MODULE_NOOP = 7
RLM_MODULE_UPDATED = 8

# src/include/log.h, log_type_t.
_L_INFO, _L_ERR = 3, 4

Pairs = tuple[tuple[str, str], ...]
Update = dict[str, tuple[tuple[str, str, str], ...]]

_ACCEPT = (("Auth-Type", ":=", "Accept"),)
# What the server has to wait for. It passes the text in its next call: sites-available/dane and dane-check.
_WAIT = "Tmp-String-9"
# The same, from `post_auth`: the check server waits before its first call.
_EARLY_WAIT = "Tmp-String-7"
# The value of _WAIT when the outer server refuses a device that was accepted.
_NOT_SENT = "accept-not-sent"

_REALM = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?\Z")
_MAX_REALM = 253

_LOST_LOG = (
    'log.destination = "stderr": FreeRADIUS closes its standard error once it has started, and decisions are lost; '
    'a file, or "/dev/stdout" in a container, is expected'
)

_service: Service | None = None


def _radlog(level: int, message: str) -> None:
    """Write to the server's own log, where an operator looks first. Outside FreeRADIUS: to stderr."""
    try:
        import radiusd  # type: ignore[import-not-found]  # exists only inside the server
    except ImportError:
        print(message, file=sys.stderr)
        return
    for line in message.splitlines():
        radiusd.radlog(level, f"dane_radius: {line}")


def _config_path() -> str:
    try:
        import radiusd
    except ImportError:
        return DEFAULT_CONFIG
    return str(getattr(radiusd, "config", {}).get("config_file", DEFAULT_CONFIG))


def is_config_check(command_line: bytes) -> bool:
    """Whether this process only checks its configuration (`radiusd -C`), from /proc/self/cmdline.

    Such a process loads every module while another server may be running, so it must not bind anything.
    """
    arguments = command_line.decode("utf-8", "replace").split("\0")[1:]
    try:
        # The option string of src/main/radiusd.c.
        options, _ = getopt.getopt([a for a in arguments if a], "Cd:D:fhi:l:L:Mmn:p:PstTvxX")
    except getopt.GetoptError:
        return False
    return any(option == "-C" for option, _ in options)


def only_checks() -> bool:
    """Whether this process is a `radiusd -C`."""
    return is_config_check(Path("/proc/self/cmdline").read_bytes())


def check_configuration() -> None:
    """Load the configuration and the policy, and start nothing.

    Raises ImportError after an error: during the import of the module, only an exception makes the check fail.
    """
    try:
        Service(load_config(_config_path()))
    except (ConfigError, PolicyError) as error:
        _radlog(_L_ERR, str(error))
        raise ImportError(str(error)) from None
    _radlog(_L_INFO, "configuration and policy are good")


def instantiate(_: Any) -> int:
    """Load the configuration and the policy. After an error, the server does not start, and its log says why."""
    global _service
    if only_checks():
        # `radiusd -C` calls this before 3.2.7. The import has done the check.
        return 0
    try:
        service = Service(load_config(_config_path()))
        if service.config.log.destination == "stderr":
            _radlog(_L_ERR, _LOST_LOG)
        service.start()
        # The objects that exist now are permanent: the garbage collector does not need to traverse them.
        gc.collect()
        gc.freeze()
        _service = service
    except (ConfigError, PolicyError) as error:
        _radlog(_L_ERR, str(error))
        return -1
    except Exception:
        _radlog(_L_ERR, traceback.format_exc())
        return -1
    return 0


def detach(_: Any) -> int:
    """Stop the threads and close the sockets when the server exits."""
    global _service
    service, _service = _service, None
    if service is not None:
        try:
            service.stop()
        except Exception:
            _radlog(_L_ERR, traceback.format_exc())
    return RLM_MODULE_OK


def authorize(lists: Any) -> int | tuple[int, Update]:
    """Called in the outer server, on the EAP identity: start the lookup and the trust anchor hint for the claimed name.

    Decides nothing, because the identity is unauthenticated (RFC 9190 section 5.6). *updated* means that the server
    should wait for the anchor, as `config:Tmp-String-9` says, before the handshake.
    """
    try:
        service = _service
        if service is None:
            return RLM_MODULE_NOOP
        wait = _pairs(lists, "config").get(_WAIT)
        if wait is not None:
            service.early_work.resume(wait)
            return RLM_MODULE_NOOP
        pairs = _pairs(lists, "request")
        identity = pairs.get("User-Name")
        not_yet = service.early_work.begin(identity, request_facts(pairs)) if identity else None
        if not_yet is not None:
            return RLM_MODULE_UPDATED, {"config": ((_WAIT, ":=", not_yet.wait),)}
    except Exception:
        _radlog(_L_ERR, traceback.format_exc())
    return RLM_MODULE_NOOP


def post_auth(lists: Any) -> int | tuple[int, Update]:
    """Called in the outer server, on each Access-Challenge once there is a TLS session: start the DNS lookup early.

    At this point FreeRADIUS has verified the certificate, and the decision follows with the device's next packet; the
    DNS can answer in between. Nothing is decided here, and nothing waits. `session-state:Tmp-String-7` says what the
    check server should wait for before it calls `authenticate`.

    Also called when the outer server refuses a device that was accepted, to log and count that.
    """
    try:
        service = _service
        if service is not None and _pairs(lists, "config").get(_WAIT) == _NOT_SENT:
            pairs = _pairs(lists, "request")
            service.accept_not_sent(request_facts(pairs), pairs.get("User-Name"))
            return RLM_MODULE_NOOP
        path = _pairs(lists, "session-state").get("TLS-Cache-Filename")
        if service is not None and path:
            not_yet = service.authenticator.look_ahead(path, request_facts(_pairs(lists, "request")))
            if not_yet is not None:
                return RLM_MODULE_UPDATED, {"session-state": ((_EARLY_WAIT, ":=", not_yet.wait),)}
    except Exception:
        # The decision encounters the same problem, and reports it.
        return RLM_MODULE_NOOP
    return RLM_MODULE_NOOP


def authenticate(lists: Any) -> int | tuple[int, Update]:
    """Called in the check server, once per handshake: decide about the client certificate.

    An accept sets `config:Auth-Type := Accept` and the reply. A reject sets `request:Module-Failure-Message` to its
    reason. *noop* means "not yet": the server waits as `config:Tmp-String-9` says, and calls again with that text.
    """
    try:
        service = _service
        if service is None:
            _radlog(_L_ERR, "called before it was instantiated")
            return RLM_MODULE_REJECT
        pairs = _pairs(lists, "request")
        session = pairs.get("TLS-Cache-Filename", "")
        control = _pairs(lists, "config")
        wait = control.get(_WAIT)
        outcome: Decision | NotYet
        if wait is not None:
            authentication, outcome = service.resume(wait)
        else:
            authentication = Authentication(
                session, request_facts(pairs), pairs.get("User-Name"), pairs.get("Cached-Session-Policy")
            )
            outcome = service.check(authentication, control.get(_EARLY_WAIT))
        if isinstance(outcome, NotYet):
            return RLM_MODULE_NOOP, {"config": ((_WAIT, ":=", outcome.wait),)}
        try:
            result = to_result(outcome, service.session_reference(outcome, session))
        except Exception as error:
            outcome = service.failed(error)
            result = to_result(outcome)
        # Last, so that the log contains what FreeRADIUS gets.
        service.report(authentication, outcome)
        return result
    except Exception:
        _radlog(_L_ERR, traceback.format_exc())
        return RLM_MODULE_REJECT


def _pairs(lists: Any, which: str) -> dict[str, str]:
    """An attribute list as a dictionary, with the first instance of each attribute."""
    return dict(reversed(lists.get(which) or ()))


def request_facts(pairs: dict[str, str]) -> RequestFacts:
    """What the NAS says about the network, from RADIUS attributes by their FreeRADIUS names."""
    return _facts(
        pairs.get("Called-Station-Id"),
        pairs.get("NAS-Identifier"),
        pairs.get("NAS-IP-Address") or pairs.get("NAS-IPv6-Address") or pairs.get("Packet-Src-IP-Address"),
        pairs.get("NAS-Port-Type"),
        pairs.get("Calling-Station-Id"),
        # RFC 4372 section 2.1: the NAS requests one by sending a single NUL octet.
        "Chargeable-User-Identity" in pairs,
        realm_of(pairs.get("User-Name")),
    )


# A device usually authenticates again at the same network.
@lru_cache(maxsize=8192)
def _facts(
    called: str | None,
    nas: str | None,
    address: str | None,
    port_type: str | None,
    station: str | None,
    wants_cui: bool,
    realm: str | None,
) -> RequestFacts:
    return RequestFacts(ssid_of(called), nas, address, port_type, station, wants_cui, realm)


def realm_of(identity: str | None) -> str | None:
    """The realm of an NAI (RFC 7542), in lower case. None: the identity has none, or one that is no host name."""
    if not identity:
        return None
    _, at, realm = identity.rpartition("@")
    realm = realm.lower().removesuffix(".")
    return realm if at and len(realm) <= _MAX_REALM and _REALM.match(realm) else None


def to_result(decision: Decision, session_reference: str | None = None) -> int | tuple[int, Update]:
    """A decision in the form that rlm_python3 expects. `session_reference`: stored with an accepted TLS session."""
    if not decision.accepted:
        summary = f"{decision.ruling.reason.value}: {decision.ruling.detail}"
        return RLM_MODULE_REJECT, {"request": (("Module-Failure-Message", "+=", _attribute_text(summary)),)}
    reply = decision.attributes
    if session_reference:
        # An internal attribute of FreeRADIUS: it is not sent to the NAS.
        reply = (*reply, ("Cached-Session-Policy", ":=", session_reference))
    return RLM_MODULE_OK, {"reply": reply, "config": _ACCEPT}


def _attribute_text(text: str) -> str:
    """The text cut to what one attribute holds, in printable ASCII because log files and terminals show it."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:240]
