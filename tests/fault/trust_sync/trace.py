"""Kill a process at a chosen system call by ptrace(2), like `kill -9` at any moment."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_TRACEME, _SYSCALL = 0, 24
_libc = ctypes.CDLL(None, use_errno=True)


def _ptrace(request: int, pid: int) -> None:
    if _libc.ptrace(request, pid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request}")


def run_and_kill(action: Callable[[], object], after: int | None) -> int:
    """Run `action` in a child process and kill it at its `after`-th stop; None: let it end.

    A system call stops it twice, before and after. Returns the number of stops that it came to. Raises RuntimeError
    when the child failed by itself.
    """
    pid = os.fork()
    if pid == 0:
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    os.waitpid(pid, 0)
    stops = 0
    while True:
        if after is not None and stops == after:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return stops
        _ptrace(_SYSCALL, pid)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise RuntimeError(f"the child failed with code {os.WEXITSTATUS(status)}")
            return stops
        if os.WIFSIGNALED(status):
            raise RuntimeError(f"the child ended by signal {os.WTERMSIG(status)}")
        stops += 1
