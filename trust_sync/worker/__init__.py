"""The process: its parts in order of start and end, its state file, metrics, socket, and one-time synchronization.

May import every room but `cli`. `worker` assembles the parts, `process` runs them as a service, and `once` runs them a
single time. `state` is the file that outlives the process; `status` and `control` answer on the socket.
"""

from trust_sync.worker.once import Progress, Summary, synchronize_once
from trust_sync.worker.process import run
from trust_sync.worker.worker import Worker

__all__ = ["Progress", "Summary", "Worker", "run", "synchronize_once"]
