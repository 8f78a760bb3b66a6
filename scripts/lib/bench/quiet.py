"""What others do on the machine meanwhile, and waiting until they do less."""

import contextlib
import os
import time
from pathlib import Path

# The share of all CPUs' time that others may take: with more, a run is disturbed.
QUIET = 0.05
# How long to look before a run, in seconds.
LOOK = 0.25
# Whoever is as nice as this gets a thirtieth of what we do at the most, and does not count.
NICE = 15
TICK = os.sysconf("SC_CLK_TCK")


def is_disturbed(run):
    return run["others"] > QUIET


def used_by_others():
    """Seconds of CPU time: of processes that are neither ours nor the kernel's, whose threads may work for
    us, with children that have ended; and of other guests of the host."""
    parents, times = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold anything: proc(5) counts from its state, field 3.
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid] = int(fields[1])
            is_kernel = 2 in (pid, parents[pid])
            if not is_kernel and int(fields[16]) < NICE:
                times[pid] = sum(map(int, fields[11:15]))
    me = os.getpid()
    ticks = sum(time for pid, time in times.items() if me not in ancestors(pid, parents))
    stolen = int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])
    return (ticks + stolen) / TICK


def ancestors(pid, parents):
    """Of a process, itself included."""
    while pid:
        yield pid
        pid = parents.get(pid, 0)


class Watch:
    """From its making on."""

    def __init__(self):
        self.begin, self.used = time.monotonic(), used_by_others()

    def others(self):
        """The share of all CPUs' time that others have taken."""
        elapsed = time.monotonic() - self.begin
        used = used_by_others() - self.used
        return round(max(0, used) / (elapsed * os.cpu_count()), 3)


class Patience:
    """How long all runs together may still wait for a quiet machine, and be made anew for it."""

    def __init__(self, minutes):
        self.left = minutes * 60

    def measure(self, run, *arguments):
        """As long as there is patience, when nobody else works, and anew if somebody did meanwhile."""
        while True:
            while self.left > 0 and self.spend(self.look) > QUIET:
                pass
            if self.left <= 0:
                return run(*arguments)
            before = self.left
            one = self.spend(run, *arguments)
            if not is_disturbed(one):
                # Only what was for nothing is taken off.
                self.left = before
                return one

    def look(self):
        watch = Watch()
        time.sleep(LOOK)
        return watch.others()

    def spend(self, function, *arguments):
        begin = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self.left -= time.monotonic() - begin
