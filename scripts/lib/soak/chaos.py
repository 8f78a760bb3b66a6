"""What happens to the server from the side: only what tests/e2e/chaos.rs shows that it survives."""

import contextlib
import os
import random
import signal
import sys
import threading

from lab import PREFIX_V4, PREFIX_V6, SERVER_V4, SERVER_V6, run

BETWEEN = 8
# The relay's paths, one after the other.
PATHS = (
    ("--loss", "1%", "--reorder", "1%", "--delay", "1ms"),
    ("--burst", "0.1%", "--duplicate", "1%", "--delay", "5ms"),
    ("--loss", "0.5%", "--reorder", "3%", "--duplicate", "1%", "--delay", "2ms", "--burst", "0.02%"),
    ("--loss", "3%", "--bandwidth", "50000000", "--delay", "500us"),
)
# A connection outlives what takes a second. A reset that says to a client without a window that it is given
# up is sent once, and may be lost.
LOST_RESET = ("slow",)
# A worker that has no CPU does not answer `corelane stats` within a second.
UNANSWERED = ("stats and ss",)
MTUS = (1_300, 1_400, 1_450)


class Chaos:
    def __init__(self, lab, record, binaries, stop, server):
        self.lab, self.record, self.stop, self.server = lab, record, stop, server
        self.relay_binary = binaries / "examples/relay"
        self.relaying, self.paths, self.thread = None, 0, None
        self.kinds = (self.mtu, self.interface_down, self.vanish, self.hot, self.address, self.path,
                      self.carrier, self.frozen)

    def start(self):
        self.thread = threading.Thread(target=self.loop, name="chaos", daemon=True)
        self.thread.start()

    def loop(self):
        turn = 0
        while not self.stop.wait(BETWEEN):
            kind = self.kinds[turn % len(self.kinds)]
            self.record.attempt(self.lab, f"chaos: {kind.__name__.replace('_', ' ')}", kind)
            turn += 1

    @contextlib.contextmanager
    def happening(self, name, **options):
        event = self.record.event(name, **options)
        try:
            yield
        finally:
            event.end = self.record.now()

    # ---- one of each ----

    def begin_relay(self):
        path = PATHS[self.paths % len(PATHS)]
        self.paths += 1
        self.relaying = self.lab.start("middle", self.relay_binary, "--a", "far-a", "--b", "far-b",
                                       "--seed", self.paths, *path)

    def path(self):
        """The relay's path becomes another one; what is on its way is lost."""
        with self.happening("another path"):
            self.lab.end(self.relaying)
            self.begin_relay()

    def mtu(self):
        with self.happening("another MTU"):
            self.lab.set_mtu(random.choice(MTUS), is_larger=False)
            self.stop.wait(4)
            self.lab.set_mtu(1_500, is_larger=True)

    def interface_down(self):
        with self.happening("interface down", costs=LOST_RESET):
            self.lab.ip("server", "link", "set", "veth0", "down")
            self.stop.wait(1)
            self.lab.ip("server", "link", "set", "veth0", "up")

    def carrier(self):
        """The other end goes down."""
        with self.happening("carrier lost", costs=LOST_RESET):
            run("ip", "-n", self.lab.middle, "link", "set", "to-server", "down")
            self.stop.wait(1)
            run("ip", "-n", self.lab.middle, "link", "set", "to-server", "up")

    def address(self):
        both = ((f"{SERVER_V4}/{PREFIX_V4}", ()), (f"{SERVER_V6}/{PREFIX_V6}", ("nodad",)))
        # Whoever asks for its Ethernet address meanwhile gets no answer.
        with self.happening("address removed", costs=("all",), grace=5):
            for address, _ in both:
                self.lab.ip("server", "address", "del", address, "dev", "veth0")
            self.stop.wait(2.5)
            for address, extra in both:
                self.lab.ip("server", "address", "add", address, "dev", "veth0", *extra)

    def vanish(self):
        """A host that is gone in the midst of transfers, both ways: nothing comes from it any more."""
        self.lab.again("victim")
        talks = [self.lab.start("victim", "nc", host, port, stdin=open("/dev/zero", "rb"))
                 for host in (SERVER_V4, SERVER_V6) for port in (7, 9, 19)]
        self.stop.wait(2)
        with self.happening("a host vanished"):
            run("ip", "-n", self.lab.middle, "link", "del", "victim")
        for talk in talks:
            talk.kill()
            talk.wait()
            self.lab.finished(talk)
        self.lab.delete(self.lab.name("victim"))

    def hot(self):
        """Somebody else wants every CPU."""
        with self.happening("CPUs busy", costs=UNANSWERED, grace=5):
            busy = [self.lab.start("middle", "taskset", "-c", cpu, sys.executable, "-c",
                                   "while True: pass") for cpu in os.sched_getaffinity(0)]
            self.stop.wait(4)
            for each in busy:
                each.kill()
                each.wait()
                self.lab.finished(each)

    def frozen(self):
        """It does not run at all for a while, as under a hypervisor that has no time for it."""
        with self.happening("server stopped", costs=UNANSWERED, grace=5):
            os.kill(self.server["pid"], signal.SIGSTOP)
            try:
                self.stop.wait(1)
            finally:
                os.kill(self.server["pid"], signal.SIGCONT)
