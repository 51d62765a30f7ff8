"""The running module: one object for what lives as long as the server does, put together, started and stopped here."""

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
from dane_radius.server.waits import Waits, reserve_descriptors
from policy import Policy, PolicyError, PolicyStore, RequestFacts

# A device whose session ends is expected back then: its records are looked up so many seconds before.
_EXPECTED_AHEAD_SECONDS = 2.0


class Service:
    """A configured module. Raises ConfigError or PolicyError when it is made from something unusable.

    Nothing is bound and no thread runs until `start`.
    """

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.metrics = Metrics()
        self.policies = PolicyStore(config.policy, self._policy_changed)
        self.anchors = AnchorDirectory(config.anchors)
        resolver = config.resolver.build()
        self.lookups = Lookups(
            resolver,
            config.cache.limits(),
            config.cache.wait_limits(config.resolver),
            warm=config.cache.warm_names,
        )
        self.waits: Waits[Authentication] = Waits(self.lookups, config.resolver.timeout)
        self.metrics.watch(self.lookups, self.waits)
        cui_key = read_cui_key(config.cui_key_file) if config.cui_key_file else None
        self.authenticator = Authenticator(
            config.session, self.policies, self.anchors, self.lookups, self.waits, cui_key, clock
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
            self.log, self.metrics, config.log.interval, json_file, after=self._expect_back
        )
        self._sessions = ResumableSessions()
        self.operations = Operations(
            str(resolver), self.policies, self.anchors, self.lookups, self.waits, datetime.fromtimestamp(clock(), UTC)
        )
        self._scraped: MetricsServer | None = None
        self._control: ControlServer | None = None
        self._housekeeper = Housekeeper(
            (
                self.policies.refresh,
                AnchorWatch(self.anchors, self.metrics, self.log),
                SessionWatch(config.session, self._sessions, self.metrics, self.log),
                self.waits.sweep,
                self.early_work.waits.sweep,
                self._tend_files,
            ),
            self.log,
        )

    def start(self) -> None:
        """Bind the metrics port and the control socket, and start the threads. Raises ConfigError."""
        session = self.config.session
        try:
            make_session_directory(session.directory)
        except OSError as error:
            raise ConfigError(f"session.directory: {session.directory}: {error.strerror}") from error
        self.anchors.refresh()
        self.metrics.anchors.set(len(self.anchors))
        self._serve_metrics()
        if not session.resumption:
            # Whatever lies there is from a server that was killed: TLS secrets that nobody can use any more.
            self.metrics.sessions_swept.inc(sweep_sessions(session.directory, -1))
        places = self.config.cache.max_waiting
        if (enough := reserve_descriptors(places)) < places:
            self.log.error("too few descriptors: raise LimitNOFILE of the service", max_waiting=places, may_wait=enough)
        self.lookups.keep_warm(self.policies.current.suffixes())
        try:
            self.lookups.start()
        except OSError as error:
            raise ConfigError(f"resolver: no socket to ask {self.config.resolver.address}: {error.strerror}") from error
        self._serve_control()
        self.reporter.start()
        self._housekeeper.start()
        self.log.info("started", version=__version__, policy=self.config.policy, rules=len(self.policies.current.rules))

    def _serve_metrics(self) -> None:
        metrics = self.config.metrics
        if metrics.port:
            try:
                self._scraped = MetricsServer(metrics.address, metrics.port, self.metrics.registry)
            except OSError as error:
                raise ConfigError(f"metrics: {metrics.address} port {metrics.port}: {error.strerror}") from error
            self._scraped.start()

    def _serve_control(self) -> None:
        path = self.config.control_socket
        if path:
            self._control = ControlServer(path, self.operations.handle)
            try:
                self.lookups.run(self._control.start())
            except OSError as error:
                raise ConfigError(f"control_socket: {path}: {error.strerror or error}") from error

    def stop(self) -> None:
        """End threads and sockets."""
        self._housekeeper.stop()
        if self._control is not None:
            self.lookups.run(self._control.stop())
        self.lookups.stop()
        self.waits.close()
        self.early_work.waits.close()
        if self._scraped is not None:
            self._scraped.stop()
        self.reporter.stop()
        self.log.info("stopped")

    def check(self, authentication: Authentication, early: str | None = None) -> Decision | NotYet:
        """Decide about the client certificate of a finished handshake. Never raises, and never waits.

        `early` is the wait that looking ahead gave, which is over. `NotYet` while the DNS is being asked: `resume` goes
        on.
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
        found = self.waits.leave(wait)
        if found is None:
            # Given up by FreeRADIUS for longer than a wait can take.
            refusal = Refused(ReasonCode.DNS_UNAVAILABLE, "the wait for the DNS was over long ago")
            return Authentication("", RequestFacts()), Decision(refuse(refusal, Policy(())))
        try:
            return found.subject, self.authenticator.decide_after(found)
        except Exception as error:
            return found.subject, self.failed(error)

    def failed(self, error: Exception) -> Decision:
        """The reject that a mistake of ours comes to; the log has its traceback. Called while it is handled."""
        self.log.exception("internal error")
        return internal_error(error)

    def to_keep(self, decision: Decision, session_path: str) -> str | None:
        """What an accepted session must keep for its resumption; None where none is allowed, or none is new."""
        if not self.config.session.resumption or not decision.accepted or not session_path:
            return None
        return self._sessions.keep(decision.ruling.evidence.certificate or "", session_path)

    def report(self, authentication: Authentication, decision: Decision) -> None:
        """Log and count a decision that FreeRADIUS is being told."""
        if authentication.stored is not None and decision.ruling.reason is not ReasonCode.INTERNAL_ERROR:
            decision = decision._replace(resumed=True)
        seconds = time.perf_counter() - authentication.began
        self.reporter.report(decision, seconds, authentication.request, authentication.outer_identity)

    def accept_not_sent(self, request: RequestFacts, outer_identity: str | None) -> None:
        """An accept that was logged did not leave the server: something behind the decision refused the device."""
        self.metrics.accepts_not_sent.inc()
        self.log.error(
            "accept not sent: the server refused the device after the decision; look for what its sites run after eap",
            **request_fields(request, outer_identity),
        )

    def _expect_back(self, decision: Decision) -> None:
        """A device whose session ends comes back then, and no cache may hold its records any more. Off the path."""
        name = decision.ruling.name
        if decision.accepted and name is not None:
            self.lookups.let_in(name)
            if decision.session_timeout is not None:
                self.lookups.expect(name, decision.session_timeout - _EXPECTED_AHEAD_SECONDS)

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

    def _tend_files(self) -> None:
        if self._scraped is not None:
            self._scraped.close_overdue()
        if self._log_file is not None:
            self._log_file.reopen_if_moved()
