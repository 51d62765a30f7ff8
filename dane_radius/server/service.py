"""The running module: creates, starts and stops the objects that exist as long as the server runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from dane_radius import __version__
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.core.ruling import Decision, refuse
from dane_radius.dns.lookups import Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.local.config import ConfigError
from dane_radius.local.control_socket import ControlServer
from dane_radius.local.log import open_log
from dane_radius.local.metrics_server import MetricsServer
from dane_radius.local.rate_limits import RateLimiter
from dane_radius.local.standing_table import StandingTable
from dane_radius.server.authentication import Authentication, Authenticator, NotYet, internal_error
from dane_radius.server.config import Config, read_cui_key
from dane_radius.server.decision_log import request_fields
from dane_radius.server.early_work import EarlyWork
from dane_radius.server.hint import Hinter
from dane_radius.server.housekeeping import AnchorWatch, Housekeeper, SessionWatch
from dane_radius.server.metrics import Metrics
from dane_radius.server.operations import Operations
from dane_radius.server.reporter import DecisionReporter
from dane_radius.server.resumption import ResumableSessions
from dane_radius.server.session_folder import make_session_directory, sweep_sessions
from dane_radius.server.standing import DeviceStandings, StandingWatch
from dane_radius.server.waits import Waits, reserve_descriptors
from policy import Policy, PolicyError, PolicyStore, RequestFacts

# How long before a session ends, and its device authenticates again, its records are looked up.
_LOOKUP_BEFORE_END_SECONDS = 2.0


class Service:
    """A configured module. Raises ConfigError, or PolicyError, if the configuration or the policy is unusable.

    No socket is bound and no thread runs until `start`.
    """

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.metrics = Metrics()
        self.policies = PolicyStore(config.policy, self._policy_changed)
        self.anchors = AnchorDirectory(config.anchors)
        self.standings = DeviceStandings(StandingTable(config.standing) if config.standing else None, clock)
        resolver = config.resolver.build()
        self.lookups = Lookups(
            resolver,
            config.cache.limits(),
            config.cache.wait_limits(config.resolver),
            max_parent_names=config.cache.warm_names,
        )
        self.waits: Waits[Authentication] = Waits(self.lookups, config.resolver.timeout)
        self.metrics.watch(self.lookups, self.waits)
        cui_key = read_cui_key(config.cui_key_file) if config.cui_key_file else None
        self.authenticator = Authenticator(
            config.session,
            self.policies,
            self.anchors,
            self.lookups,
            self.waits,
            cui_key,
            clock,
            self.standings.of,
        )
        hint = config.hint
        self.early_work = EarlyWork(
            self.policies,
            self.anchors,
            self.lookups,
            Hinter(hint.socket, hint.limits(), self.anchors.holds) if hint.socket else None,
            RateLimiter(config.cache.early_rate, config.cache.early_rate_per_nas),
            self.metrics,
        )
        try:
            self.log, self._log_file = open_log(config.log)
        except OSError as error:
            raise ConfigError(f"log.destination: {config.log.destination}: {error.strerror}") from error
        json_file = self._log_file if config.log.format == "json" else None
        self.reporter = DecisionReporter(
            self.log, self.metrics, config.log.interval, json_file, after=self._after_decision
        )
        self._sessions = ResumableSessions()
        self.operations = Operations(
            str(resolver),
            self.policies,
            self.anchors,
            self.standings,
            self.lookups,
            self.waits,
            datetime.fromtimestamp(clock(), UTC),
        )
        self._metrics_server: MetricsServer | None = None
        self._control: ControlServer | None = None
        self._housekeeper = Housekeeper(
            (
                self.policies.refresh,
                AnchorWatch(self.anchors, self.metrics, self.log),
                SessionWatch(config.session, self._sessions, self.metrics, self.log),
                self.waits.sweep,
                self.early_work.waits.sweep,
                self._close_overdue_scrapes,
                self._reopen_log,
            ),
            self.log,
        )
        self._standing_keeper: Housekeeper | None = None
        if self.standings.table is not None:
            self.metrics.watch_standing(self.standings.table)
            # A large journal takes long, and must not delay the other tasks.
            watch = StandingWatch(self.standings.table, self.log)
            self._standing_keeper = Housekeeper((watch,), self.log, name="standing")

    def start(self) -> None:
        """Bind the metrics port and the control socket, and start the threads. Raises ConfigError."""
        session = self.config.session
        try:
            make_session_directory(session.directory)
        except OSError as error:
            raise ConfigError(f"session.directory: {session.directory}: {error.strerror}") from error
        if self.standings.table is not None:
            self.standings.table.refresh(paced=False)
        self.anchors.refresh()
        self.metrics.anchors.set(len(self.anchors))
        self._serve_metrics()
        if not session.resumption:
            # Files found here are TLS secrets of a server that was killed. Their sessions cannot be resumed.
            self.metrics.sessions_swept.inc(sweep_sessions(session.directory, -1))
        wanted = self.config.cache.max_waiting
        if (possible := reserve_descriptors(wanted)) < wanted:
            self.log.error(
                "too few descriptors: raise LimitNOFILE of the service", max_waiting=wanted, may_wait=possible
            )
        self.lookups.set_policy_names(self.policies.current.suffixes())
        self.metrics.set_zones(self.policies.current.zones)
        try:
            self.lookups.start()
        except OSError as error:
            raise ConfigError(f"resolver: no socket to ask {self.config.resolver.address}: {error.strerror}") from error
        self._serve_control()
        self.reporter.start()
        self._housekeeper.start()
        if self._standing_keeper is not None:
            self._standing_keeper.start()
        self.log.info("started", version=__version__, policy=self.config.policy, rules=len(self.policies.current.rules))

    def _serve_metrics(self) -> None:
        metrics = self.config.metrics
        if metrics.port:
            try:
                self._metrics_server = MetricsServer(metrics.address, metrics.port, self.metrics.registry)
            except OSError as error:
                raise ConfigError(f"metrics: {metrics.address} port {metrics.port}: {error.strerror}") from error
            self._metrics_server.start()

    def _serve_control(self) -> None:
        path = self.config.control_socket
        if path:
            self._control = ControlServer(path, self.operations.handle)
            try:
                self.lookups.run(self._control.start())
            except OSError as error:
                raise ConfigError(f"control_socket: {path}: {error.strerror or error}") from error

    def stop(self) -> None:
        """Stop the threads and close the sockets."""
        self._housekeeper.stop()
        if self._standing_keeper is not None:
            self._standing_keeper.stop()
        if self._control is not None:
            self.lookups.run(self._control.stop())
        self.lookups.stop()
        self.waits.close()
        self.early_work.waits.close()
        if self._metrics_server is not None:
            self._metrics_server.stop()
        self.reporter.stop()
        self.log.info("stopped")

    def check(self, authentication: Authentication, early: str | None = None) -> Decision | NotYet:
        """Decide about the client certificate of a finished handshake. Never raises, and never waits.

        `early`: the wait that `look_ahead` returned, if FreeRADIUS has waited for it. After `NotYet`, call `resume`.
        """
        if not self.early_work.called:
            self.early_work.called = True
            self.log.warning(
                "hint.socket is set, but the site does not ask for hints: run `dane-radius install --hint-socket ...`"
            )
        try:
            return self.authenticator.decide(authentication, early)
        except Exception as error:
            return self.failed(error)

    def resume(self, wait: str) -> tuple[Authentication, Decision]:
        """Decide after a wait, `wait` being the text of the `NotYet`. Never raises, and never waits."""
        found = self.waits.end_wait(wait)
        if found is None:
            # FreeRADIUS asks long after the wait has ended, and the wait was abandoned.
            refusal = Refused(ReasonCode.DNS_UNAVAILABLE, "the wait for the DNS was over long ago")
            return Authentication("", RequestFacts()), Decision(refuse(refusal, Policy(())))
        try:
            return found.subject, self.authenticator.decide_after(found)
        except Exception as error:
            return found.subject, self.failed(error)

    def failed(self, error: Exception) -> Decision:
        """The reject after an unexpected exception, whose traceback is logged. Called in its `except` clause."""
        self.log.exception("internal error")
        return internal_error(error)

    def session_reference(self, decision: Decision, session_path: str) -> str | None:
        """The text to store with an accepted TLS session; None if resumption is off, or the session is resumed."""
        if not self.config.session.resumption or not decision.accepted or not session_path:
            return None
        return self._sessions.add(decision.ruling.evidence.certificate or "", session_path)

    def report(self, authentication: Authentication, decision: Decision) -> None:
        """Log and count a decision that FreeRADIUS is about to get."""
        if authentication.session_reference is not None and decision.ruling.reason is not ReasonCode.INTERNAL_ERROR:
            decision = decision._replace(resumed=True)
        seconds = time.perf_counter() - authentication.began
        self.reporter.report(decision, seconds, authentication.request, authentication.outer_identity)

    def accept_not_sent(self, request: RequestFacts, outer_identity: str | None) -> None:
        """Log and count that FreeRADIUS did not send a logged accept: a later module refused the device."""
        self.metrics.accepts_not_sent.inc()
        self.log.error(
            "accept not sent: the server refused the device after the decision; look for what its sites run after eap",
            **request_fields(request, outer_identity),
        )

    def _after_decision(self, decision: Decision) -> None:
        """Schedule the lookups that a device needs when its session ends and it authenticates again.

        The reporter's thread calls this, not an authentication.
        """
        name = decision.ruling.name
        if decision.accepted and name is not None:
            self.lookups.device_admitted(name)
            if decision.session_timeout is not None:
                self.lookups.note_session_end(name, decision.session_timeout - _LOOKUP_BEFORE_END_SECONDS)

    def _policy_changed(self, outcome: Policy | PolicyError) -> None:
        if isinstance(outcome, PolicyError):
            self.metrics.policy_reloads.labels("broken").inc()
            self.metrics.policy_broken.set(1)
            self.log.error("policy not replaced: the file cannot be used", problems=outcome.problems)
        else:
            self.metrics.policy_reloads.labels("loaded").inc()
            self.metrics.policy_broken.set(0)
            self.metrics.set_zones(outcome.zones)
            self.lookups.set_policy_names(outcome.suffixes())
            self.log.info("policy loaded", rules=len(outcome.rules), digest=outcome.digest[:12])

    def _close_overdue_scrapes(self) -> None:
        if self._metrics_server is not None:
            self._metrics_server.close_overdue()

    def _reopen_log(self) -> None:
        if self._log_file is not None:
            self._log_file.reopen_if_moved()
