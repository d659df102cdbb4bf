"""Processes with a time limit, and what they cost (Linux)."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Ended:
    """How a command ended and what it cost, its waited-for children included."""

    code: int | None
    """Exit code; none if it was killed, negative for a signal of its own."""
    cpu: float
    """User and system time, seconds."""
    wall: float
    """Seconds."""
    rss: float
    """Largest resident set of any one of its processes, megabytes."""
    said: str
    """The end of what it printed."""


class Process:
    """A command that has started, in a session of its own."""

    def __init__(self, argv: list[str], folder: Path, env: dict[str, str], cap: float):
        adopt_orphans()
        self.log = folder / f".said-{time.monotonic_ns()}"
        self.killed = False
        self.started = time.perf_counter()
        # A shell starts the command and leaves it to us. Were it our own child, its peak memory would
        # begin at ours: the kernel counts what a process was before `exec`.
        launcher = ["sh", "-c", 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null & echo $!', "sh", str(self.log)]
        shell = subprocess.Popen(
            [*launcher, *argv], cwd=folder, env=env, stdout=subprocess.PIPE, start_new_session=True
        )
        self.group = shell.pid
        self.pid = int(shell.communicate()[0])
        self.timer = threading.Timer(cap, self.kill)
        self.timer.daemon = True
        self.timer.start()

    def kill(self) -> None:
        """As `kill -9`, of the command and all in its process group."""
        self.killed = True
        try:
            os.killpg(self.group, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait(self) -> Ended:
        _, status, usage = os.wait4(self.pid, 0)
        wall = time.perf_counter() - self.started
        self.timer.cancel()
        said = self.log.read_text(errors="replace")[-4000:]
        self.log.unlink()
        code = None if self.killed else os.waitstatus_to_exitcode(status)
        return Ended(code, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, said)


def adopt_orphans() -> None:
    """Makes this process the parent of the orphans among its descendants."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a tool: what it caches belongs to the project, and it phones no one."""
    private = folder / ".private"
    private.mkdir(exist_ok=True)
    return {
        **os.environ,
        "XDG_CACHE_HOME": str(private),
        "XDG_DATA_HOME": str(private),
        "XDG_CONFIG_HOME": str(private),
        "DVC_SITE_CACHE_DIR": str(private / "dvc"),
        "DVC_NO_ANALYTICS": "1",
        "PYTHONWARNINGS": "ignore",
    }


def machine() -> str:
    """One line on what the numbers were measured on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        "unknown CPU",
    )
    memory = int(open("/proc/meminfo").readline().split()[1]) / 1024**2
    load = os.getloadavg()[0]
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB, Linux {os.uname().release}, load {load:.1f} at the start"
