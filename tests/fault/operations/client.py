"""A client that quarantines one device after another on one connection, and keeps what was acknowledged."""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import threading

from tests.integration.operations.parts import Service


class Quarantiner:
    """`acknowledged`: names whose quarantine the service has confirmed. `refused`: statuses of other answers."""

    def __init__(self, service: Service, prefix: str, key: str | None = None) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self._service = service
        self._prefix = prefix
        self._key = key or service.admin
        self._context = ssl.create_default_context(cafile=str(service.anchor))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stopping.is_set():
                return
            self._one(f"{self._prefix}-{number}.camera._device.example.net")

    def _one(self, name: str) -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", self._service.port, timeout=20, context=self._context)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        body = json.dumps({"standing": "quarantined", "reason": "fault"})
        try:
            connection.request("PUT", f"/v1/devices/{name}/standing", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            # No answer: the quarantine may be kept, or not.
            self._stopping.wait(0.02)
            return
        finally:
            connection.close()
        if answer.status == 200:
            self.acknowledged.append(name)
        else:
            self.refused.append(answer.status)
