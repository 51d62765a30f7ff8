"""Starts `dane-operations serve` again and again, in a fraction of a second each: by fork, with everything imported.

Each line on standard input starts one process; its number is the answer on standard output.
    python -m tests.fault.operations.zygote CONFIG LOG
"""

from __future__ import annotations

import os
import signal
import sys

import operations.web.server  # noqa: F401  # imported before the forks, for their speed
from operations.cli import main


def run() -> None:
    config, log = sys.argv[1:]
    # The kernel reaps the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            os.close(0)
            main(["serve", "--config", config])
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    run()
