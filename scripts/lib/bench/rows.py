"""What is measured, with whom, and how far it must get."""

from dataclasses import dataclass

# In the order in which they take turns.
PEERS = {
    "corelane": "Corelane",
    "floor": "floor",
    "epoll": "kernel, epoll",
    "spinning": "kernel, spinning epoll",
    "nginx": "nginx",
}
# Of those, the ones that do their TCP by AF_XDP; the others are the kernel's.
BY_XDP = ("corelane", "floor")
ALL = tuple(PEERS)


@dataclass(frozen=True)
class Goal:
    """A bound of the ratio of us to `against` (`kernel`: its best peer in its best placement). Rates must
    be at least so much, latencies at most."""

    against: str
    bound: float
    measure: str = "rate"

    def __str__(self):
        words = {"floor": "of the floor", "kernel": "of the kernel's best"}[self.against]
        if self.measure == "rate":
            return f"at least {self.bound:g} {words}"
        return f"{self.measure} at most {self.bound:g} {words}"

    def is_met(self, ratio):
        return ratio >= self.bound if self.measure == "rate" else ratio <= self.bound


@dataclass(frozen=True)
class Row:
    """One kind of work. `client` is `load`, `wrk` or `ping`."""

    title: str
    client: str
    peers: tuple
    connections: int = 1
    close: bool = False
    echo: bool = False
    # Neither side ever sleeps.
    spin: bool = False
    # Neither side is bound to a CPU but for what binds itself by default.
    floats: bool = False
    goals: tuple = ()

    @property
    def measures(self):
        return ("p50", "p99") if self.echo else ("rate",)


ROWS = {
    "keepalive-1": Row("HTTP keep-alive, 1 connection", "load", ALL, 1, goals=(Goal("floor", 0.85),)),
    "keepalive-128": Row("HTTP keep-alive, 128 connections", "load", ALL, 128,
                         goals=(Goal("floor", 0.85), Goal("kernel", 2.1))),
    "keepalive-1024": Row("HTTP keep-alive, 1,024 connections", "load", ALL, 1024,
                          goals=(Goal("floor", 0.85),)),
    "close": Row("a connection per request, 128 at once", "load", ALL, 128, close=True,
                 goals=(Goal("floor", 0.65),)),
    "wrk": Row("wrk, 128 connections, default placement", "wrk", ALL, 128, floats=True,
               goals=(Goal("floor", 0.9),)),
    "ping-kernel": Row("ping-pong of 64 B, both spinning, kernel client", "ping",
                       ("corelane", "floor", "spinning"), echo=True, spin=True,
                       goals=(Goal("floor", 1.15, "p50"), Goal("floor", 1.3, "p99"))),
    "ping-xdp": Row("ping-pong of 64 B, both spinning, AF_XDP client", "load",
                    ("corelane", "floor", "spinning"), echo=True, spin=True),
}

PLACEMENTS = {
    "sender": "Receive work is where the sender is: on a veth, the core that sends a frame also runs the "
    "receiver's side of it. Requests cross the XDP program and are copied to the server's socket (or go "
    "through the kernel's TCP) on the client's core, CPU {client}; answers are received on the server's, "
    "CPU {server}.",
    "receiver": "Receive work is where the receiver is: threaded NAPI runs the XDP program and the copy to "
    "the AF_XDP socket, and RPS the kernel's TCP, on the core of whom a frame is for: CPU {server} for "
    "requests, CPU {client} for answers. Each end shares its CPU with the receiving for it.",
}
FLOATING = "Of the rows in default placement nothing but Corelane's worker and the floor (CPU 0) is bound " \
    "to a CPU."
