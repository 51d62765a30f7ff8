"""The running module: everything around the pure decision that lives as long as the server does.

One object holds configuration, policy, cache, anchors, log and metrics. `check` is the one call of an authentication;
what can be done off that path is done by the housekeeping thread.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dane_radius import __version__
from dane_radius.core.anchor_record import Anchor
from dane_radius.core.answers import Answer, Unavailable
from dane_radius.core.certificate import parse_leaf
from dane_radius.core.decision import Decision, Prepared, conclude, needs_anchors, prepare, refuse, returning
from dane_radius.core.names import normalize
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.dns.domains import Domain
from dane_radius.dns.lookups import Cause, Lookup, Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.local.config import ConfigError
from dane_radius.local.control_socket import ControlServer
from dane_radius.local.log import open_log
from dane_radius.local.metrics_server import MetricsServer
from dane_radius.local.rate_limits import RateLimiter
from dane_radius.server.config import Config, read_cui_key
from dane_radius.server.hint import HINT_SLACK_SECONDS, Hinter, HintResult, claimed_name
from dane_radius.server.metrics import Metrics
from dane_radius.server.reporter import DecisionReporter
from dane_radius.server.session_file import read_resumed, read_session_file, to_store
from dane_radius.server.session_folder import make_session_directory, remove_session, sweep_sessions
from dane_radius.server.waits import HintUnderWay, Wait, Waits, reserve_descriptors
from policy import Policy, PolicyError, PolicyStore, RequestFacts

_HOUSEKEEPING_SECONDS = 1.0
_SWEEP_EVERY = 10
# Devices whose newest session file is known; those of the others go by their age.
_MAX_RESUMABLE = 16_384
# Handshakes between their last challenge and their decision; an abandoned one leaves its entry to be pushed out.
_MAX_LOOKED_AHEAD = 4096
# All other devices wait for a decision under way. On a machine that is busy, it may be interrupted meanwhile.
_MAX_DECISION_SECONDS = 0.25
# A device whose session ends is expected back then: its records are looked up so many seconds before.
_EXPECTED_AHEAD_SECONDS = 2.0

# A device that comes back presents the same certificate, at the same place mostly: what follows from that is kept.
_parse_leaf = lru_cache(maxsize=8192)(parse_leaf)
_prepare = lru_cache(maxsize=8192)(prepare)


@dataclass(frozen=True, slots=True)
class NotYet:
    """The DNS is being asked. `wait` says what to wait for: see `dane_radius.server.waits`."""

    wait: str


@dataclass(slots=True)
class _Undecided:
    """What an authentication has said so far: enough to decide once the DNS has answered."""

    session_path: str
    request: RequestFacts
    outer_identity: str | None
    stored: str | None
    began: float
    prepared: Prepared | None = None


class Service:
    """A configured module. Raises ConfigError or PolicyError when it is made from something unusable.

    Nothing is bound and no thread runs until `start`.
    """

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.metrics = Metrics()
        self.policies = PolicyStore(config.policy, self._policy_changed)
        self.cui_key = read_cui_key(config.cui_key_file) if config.cui_key_file else None
        self.lookups = Lookups(
            config.resolver.build(),
            config.cache.limits(),
            config.cache.wait_limits(config.resolver),
            warm=config.cache.warm_names,
        )
        self.waits: Waits[_Undecided] = Waits(self.lookups, config.resolver.timeout)
        self.hint_waits: Waits[str] = Waits(self.lookups, 0.0)
        # Requests that wait for hints are counted like those that wait for a domain.
        self._hinted = Domain("(hints)")
        self._early = RateLimiter(config.cache.early_rate, config.cache.early_rate_per_nas)
        # The newest session file of each device, by its certificate; the one before is of no use to it any more, and is
        # removed off the path.
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._spent: deque[str] = deque(maxlen=_MAX_LOOKED_AHEAD)
        self._looked_ahead: OrderedDict[str, Prepared] = OrderedDict()
        self.metrics.watch(self.lookups, self.waits)
        self.anchors = AnchorDirectory(config.anchors)
        hint = config.hint
        self.hinter = Hinter(hint.socket, hint.limits(), self.anchors.holds) if hint.socket else None
        self._asked_to_hint = self.hinter is None
        self._clock = clock
        try:
            self.log, self._log_file = open_log(config.log)
        except OSError as error:
            raise ConfigError(f"log.destination: {config.log.destination}: {error.strerror}") from error
        json_file = self._log_file if config.log.format == "json" else None
        self.reporter = DecisionReporter(
            self.log, self.metrics, config.log.interval, json_file, after=self._expect_back
        )
        self._control: ControlServer | None = None
        self._scraped: MetricsServer | None = None
        self._stop = threading.Event()
        self._housekeeper: threading.Thread | None = None
        self._anchor_error: str | None = None
        self._session_error: str | None = None
        self.started = datetime.fromtimestamp(clock(), UTC)

    def start(self) -> None:
        """Bind the metrics port and the control socket, and start the threads. Raises ConfigError."""
        try:
            make_session_directory(self.config.session.directory)
        except OSError as error:
            raise ConfigError(f"session.directory: {self.config.session.directory}: {error.strerror}") from error
        self.anchors.refresh()
        self.metrics.anchors.set(len(self.anchors))
        metrics = self.config.metrics
        if metrics.port:
            try:
                self._scraped = MetricsServer(metrics.address, metrics.port, self.metrics.registry)
            except OSError as error:
                raise ConfigError(f"metrics: {metrics.address} port {metrics.port}: {error.strerror}") from error
            self._scraped.start()
        if not self.config.session.resumption:
            # Whatever lies there is from a server that was killed: TLS secrets that nobody can use any more.
            self.metrics.sessions_swept.inc(sweep_sessions(self.config.session.directory, -1))
        places = self.config.cache.max_waiting
        if (enough := reserve_descriptors(places)) < places:
            self.log.error("too few descriptors: raise LimitNOFILE of the service", max_waiting=places, may_wait=enough)
        self.lookups.keep_warm(self.policies.current.suffixes())
        try:
            self.lookups.start()
        except OSError as error:
            raise ConfigError(f"resolver: no socket to ask {self.config.resolver.address}: {error.strerror}") from error
        if self.config.control_socket:
            self._control = ControlServer(self.config.control_socket, self._handle)
            try:
                self.lookups.run(self._control.start())
            except OSError as error:
                reason = error.strerror or str(error)
                raise ConfigError(f"control_socket: {self.config.control_socket}: {reason}") from error
        self.reporter.start()
        self._housekeeper = threading.Thread(target=self._housekeep, name="housekeeping", daemon=True)
        self._housekeeper.start()
        self.log.info("started", version=__version__, policy=self.config.policy, rules=len(self.policies.current.rules))

    def stop(self) -> None:
        """End threads and sockets."""
        self._stop.set()
        if self._housekeeper is not None:
            self._housekeeper.join(timeout=5)
        if self._control is not None:
            self.lookups.run(self._control.stop())
        self.lookups.stop()
        self.waits.close()
        self.hint_waits.close()
        if self._scraped is not None:
            self._scraped.stop()
        self.reporter.stop()
        self.log.info("stopped")

    def look_ahead(self, session_path: str, request: RequestFacts) -> NotYet | None:
        """Start the DNS lookup for a certificate whose decision comes next. Raises Refused without a certificate.

        `NotYet` is for the decision: it had better wait for this before it is asked for (`check`, with `early`).
        """
        leaf = _parse_leaf(read_session_file(session_path, directory=self.config.session.directory))
        prepared = _prepare(leaf, self.policies.current, request)
        if isinstance(prepared, Prepared):
            self._looked_ahead[session_path] = prepared
            if len(self._looked_ahead) > _MAX_LOOKED_AHEAD:
                self._looked_ahead.popitem(last=False)
            lookup = self.lookups.start_lookup(prepared.name, Cause.CERTIFICATE)
            if isinstance(lookup, Lookup):
                wait = self.waits.enter_early(lookup, _Undecided(session_path, request, None, None, 0.0, prepared))
                if wait is not None:
                    return NotYet(wait.text)
        return None

    def to_store(self, decision: Decision, session_path: str) -> str | None:
        """What an accepted session must keep for its resumption; None where none is allowed, or none is new."""
        if not self.config.session.resumption or not decision.accepted or not session_path:
            return None
        certificate = decision.evidence.certificate or ""
        previous = self._sessions.pop(certificate, session_path)
        self._sessions[certificate] = session_path
        if previous != session_path:
            self._spent.append(previous)
        if len(self._sessions) > _MAX_RESUMABLE:
            self._sessions.popitem(last=False)
        return to_store(certificate, session_path)

    def _prepare(
        self, session_path: str, request: RequestFacts, policy: Policy, stored: str | None
    ) -> Prepared | Decision:
        """The certificate of a TLS session and what policy says of it; from looking ahead, if the policy is still that.

        Raises Refused when there is no certificate.
        """
        if self._looked_ahead:
            prepared = self._looked_ahead.pop(session_path, None)
            if prepared is not None and prepared.policy is policy:
                return prepared
        directory = self.config.session.directory
        if session_path or stored is None or not self.config.session.resumption:
            leaf = _parse_leaf(read_session_file(session_path, directory=directory))
        else:
            leaf = _parse_leaf(read_resumed(stored, directory=directory))
        return _prepare(leaf, policy, request)

    def check(
        self,
        session_path: str,
        request: RequestFacts,
        outer_identity: str | None = None,
        stored: str | None = None,
        early: str | None = None,
    ) -> Decision | NotYet:
        """Decide about the client certificate of a finished handshake. Never raises, and never waits.

        `session_path` is FreeRADIUS's TLS-Cache-Filename. `outer_identity` is the User-Name, for the log. `stored` is
        what a resumed session kept (see `to_store`). `early` is the wait that `look_ahead` gave, which is over.
        `NotYet` while the DNS is being asked: `resume` goes on.
        """
        began = time.perf_counter()
        if not self._asked_to_hint:
            self._asked_to_hint = True
            self.log.warning(
                "hint.socket is set, but the site does not ask for hints: run `dane-radius install --hint-socket ...`"
            )
        undecided = _Undecided(session_path, request, outer_identity, stored, began)
        try:
            outcome = self._decide(undecided, self._early_answer(early, session_path) if early else None)
        except Exception as error:
            outcome = self._internal_error(error)
        return outcome if isinstance(outcome, NotYet) else self._report(undecided, outcome)

    def resume(self, wait: str) -> Decision:
        """Decide after a wait, `wait` being the text of the `NotYet`. Never raises, and never waits."""
        found = self.waits.leave(wait)
        if found is None:
            # Given up by FreeRADIUS for longer than a wait can take.
            undecided = _Undecided("", RequestFacts(), None, None, time.perf_counter())
            return self._report(
                undecided,
                Decision(Verdict.REJECT, ReasonCode.DNS_UNAVAILABLE, "the wait for the DNS was over long ago"),
            )
        undecided = found.subject
        try:
            decision = self._decide_again(undecided, self.waits.answer(found))
        except Exception as error:
            decision = self._internal_error(error)
        return self._report(undecided, decision)

    def _internal_error(self, error: Exception) -> Decision:
        # Whatever it is, it must end in a reject with its reason, not in a traceback without one.
        self.log.exception("internal error")
        return Decision(Verdict.REJECT, ReasonCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}")

    def _report(self, undecided: _Undecided, decision: Decision) -> Decision:
        if undecided.stored is not None and decision.reason is not ReasonCode.INTERNAL_ERROR:
            decision = decision._replace(evidence=decision.evidence._replace(resumed=True))
        seconds = time.perf_counter() - undecided.began
        self.reporter.report(decision, seconds, undecided.request, undecided.outer_identity)
        return decision

    def _early_answer(self, wait: str, session_path: str) -> Answer | None:
        """What the lookup that was started for this session has said by now; None if nothing yet."""
        found = self.waits.leave(wait)
        if found is None or found.subject.session_path != session_path or found.awaited.answer is None:
            return None
        return self.waits.answer(found)

    def _decide(self, undecided: _Undecided, answer: Answer | None) -> Decision | NotYet:
        policy = self.policies.current
        try:
            prepared = self._prepare(undecided.session_path, undecided.request, policy, undecided.stored)
        except Refused as refusal:
            return refuse(refusal, policy)
        if isinstance(prepared, Decision):
            return prepared
        cached = answer is None
        answer = answer or self.lookups.find(prepared.name)
        if answer is not None:
            return self._conclude(prepared, answer, cached=cached)
        undecided.prepared = prepared
        outcome = self.waits.enter(prepared.name, undecided)
        if isinstance(outcome, Wait):
            return NotYet(outcome.text)
        return self._conclude(prepared, outcome, cached=False)

    def _decide_again(self, undecided: _Undecided, answer: Answer) -> Decision:
        """The decision after a wait, by the policy that is in force by now."""
        prepared = undecided.prepared
        assert prepared is not None
        policy = self.policies.current
        if prepared.policy is not policy:
            name = prepared.name
            again = _prepare(prepared.leaf, policy, undecided.request)
            if isinstance(again, Decision):
                return again
            prepared = again
            if prepared.name != name:
                answer = self.lookups.find(prepared.name) or Unavailable("the policy changed while the DNS was asked")
        return self._conclude(prepared, answer, cached=False)

    def _conclude(self, prepared: Prepared, answer: Answer, *, cached: bool) -> Decision:
        seconds = self._clock()
        decision = returning(prepared, answer, seconds, cached=cached, cui_key=self.cui_key)
        if decision is not None:
            return decision
        anchors = self._anchors(prepared.name) if needs_anchors(answer) else ()
        now = datetime.fromtimestamp(seconds, UTC)
        ends = time.perf_counter() + _MAX_DECISION_SECONDS
        return conclude(
            prepared,
            answer,
            anchors,
            now,
            cached=cached,
            cui_key=self.cui_key,
            out_of_time=lambda: time.perf_counter() > ends,
        )

    def _anchors(self, name: str) -> Sequence[Anchor]:
        """The anchors for a name, as they are now: one may just have been removed, or found for this very device."""
        self.anchors.refresh()
        return self.anchors.for_name(name)

    def identity(self, identity: str, request: RequestFacts) -> NotYet | None:
        """Begin to look for what an EAP identity will need: its records, and its trust anchor. Decides nothing.

        `NotYet` when the handshake should wait for the anchor: `identity_again` goes on.
        """
        self._look_early(identity, request)
        return self._hint(identity)

    def _look_early(self, identity: str, request: RequestFacts) -> None:
        name = claimed_name(identity)
        if name is None or not self.policies.current.could_grant(name):
            return
        nas = request.nas_identifier or request.nas_address or ""
        if not self.lookups.holds(name) and self._early.allow(nas, time.monotonic()):
            self.lookups.start_lookup(name, Cause.IDENTITY)

    def _hint(self, identity: str) -> NotYet | None:
        if self.hinter is None:
            return None
        self._asked_to_hint = True
        chosen = self.hinter.choose(identity, self.policies.current)
        if isinstance(chosen, HintResult):
            self.metrics.hints.labels(chosen).inc()
            return None
        hint = HintUnderWay(self._hinted)
        if not self.lookups.submit(self._send_hint(self.hinter, chosen, hint)):
            return None
        wait = self.hint_waits.enter_for_hint(
            hint, chosen, self.hinter.limits.wait + HINT_SLACK_SECONDS, self.lookups.wait_limits.places_of_slow
        )
        return NotYet(wait.text) if wait is not None else None

    async def _send_hint(self, hinter: Hinter, name: str, hint: HintUnderWay) -> None:
        result = HintResult.UNAVAILABLE
        try:
            result = await hinter.send(name)
        finally:
            self.metrics.hints.labels(result).inc()
            self.hint_waits.tell(hint, result)

    def identity_again(self, wait: str) -> None:
        """Go on after a wait for an anchor: it may be there by now."""
        if self.hint_waits.leave(wait) is not None:
            self.anchors.refresh()

    def _expect_back(self, decision: Decision) -> None:
        """A device whose session ends comes back then, and no cache may hold its records any more. Off the path."""
        if not decision.accepted or decision.name is None:
            return
        self.lookups.let_in(decision.name)
        for attribute, _, value in decision.attributes:
            if attribute == "Session-Timeout":
                self.lookups.expect(decision.name, int(value) - _EXPECTED_AHEAD_SECONDS)

    def _policy_changed(self, outcome: Policy | PolicyError) -> None:
        if isinstance(outcome, PolicyError):
            self.metrics.policy_reloads.labels("broken").inc()
            self.metrics.policy_broken.set(1)
            self.log.error("policy not replaced: the file cannot be used", problems=outcome.problems)
        else:
            self.metrics.policy_reloads.labels("loaded").inc()
            self.metrics.policy_broken.set(0)
            self.lookups.keep_warm(outcome.suffixes())
            self.log.info("policy loaded", rules=len(outcome.rules), digest=outcome.digest[:12])

    def _housekeep(self) -> None:
        rounds = 0
        while not self._stop.wait(_HOUSEKEEPING_SECONDS):
            try:
                self._tidy(sweep=rounds % _SWEEP_EVERY == 0)
            except Exception:
                # Housekeeping must outlive any single failure of it.
                self.log.exception("housekeeping failed")
            rounds += 1

    def _tidy(self, *, sweep: bool) -> None:
        self.policies.refresh()
        self.anchors.refresh()
        self.waits.sweep()
        self.hint_waits.sweep()
        if self._scraped is not None:
            self._scraped.close_overdue()
        self.metrics.anchors.set(len(self.anchors))
        if self.anchors.last_error != self._anchor_error:
            self._anchor_error = self.anchors.last_error
            if self._anchor_error:
                self.log.error("anchors", error=self._anchor_error)
        self._keep_session_directory()
        while self._spent:
            remove_session(self._spent.popleft())
        if self._log_file is not None:
            self._log_file.reopen_if_moved()
        if sweep:
            self.metrics.sessions_swept.inc(sweep_sessions(self.config.session.directory, self.config.session.max_age))

    def _keep_session_directory(self) -> None:
        """A cleaner of old files may take the folder: without it, everybody is refused."""
        directory, problem = self.config.session.directory, None
        try:
            if make_session_directory(directory):
                self.log.warning("session folder was gone, and is made again", directory=directory)
        except OSError as error:
            problem = error.strerror
        if problem and problem != self._session_error:
            self.log.error("session folder", directory=directory, error=problem)
        self._session_error = problem

    async def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"op": "flush", "name": str(name)}:
                try:
                    normal = normalize(name.encode("utf-8"))
                except Refused as refusal:
                    raise ValueError(refusal.detail) from refusal
                return {"flushed": self.lookups.flush(normal, below=bool(request.get("below")))}
            case {"op": "flush"} if "name" not in request:
                return {"flushed": self.lookups.flush()}
            case {"op": "status"}:
                return self.status()
        raise ValueError(f"op {request.get('op')!r} is not known; flush or status is expected")

    def status(self) -> dict[str, Any]:
        """What is in force, for `dane-radius status`."""
        policy = self.policies.current
        error = self.policies.last_error
        lookups = self.lookups
        return {
            "version": __version__,
            "started": self.started.isoformat(timespec="seconds"),
            "policy": {
                "file": policy.source,
                "digest": policy.digest[:12],
                "rules": len(policy.rules),
                "mode": "monitor" if policy.monitor else "enforce",
                "problems": error.problems if error else [],
            },
            "resolver": str(self.config.resolver.build()),
            "anchors": {"count": len(self.anchors), "error": self.anchors.last_error},
            "cache": {"names": len(lookups.cache), "octets": lookups.cache.octets, "hits": lookups.counts.hits},
            "lookups": {
                "under_way": lookups.under_way,
                "started": sum(lookups.counts.started.values()),
                "waiting": len(self.waits),
                "may_wait": lookups.wait_limits.places,
                "slow_domains": lookups.slow_domains(),
            },
        }
