"""The network of the soak: namespaces, links, and the processes in them; all gone at the end.

    server [veth0] --- [to-server] bridge [http] --- [eth0] http, and one more for each role
                                          [far-port] - [far-b] relay [far-a] --- [eth0] far

Each client has a namespace of its own, because one `corelane load` takes a whole interface. The bridge
and the relay are in a namespace that has no addresses.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading

SERVER_V4, SERVER_V6 = "198.18.0.1", "fd00::1"
# Where the flood's SYNs seem to come from is 198.19.0.0/16 and fd00:19::/32 (examples/flood.rs).
PREFIX_V4, PREFIX_V6 = 16, 64
OFFLOADS = "tx off tso off gso off gro off sg off".split()


class Failed(Exception):
    """A command of the soak's own did not do what it must."""


def run(*command, timeout=30):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                          timeout=timeout)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Lab:
    """What is made here is entered before it exists, so that the end always finds it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.namespaces, self.processes = [], []
        self.middle = self.name("middle")
        self.numbers = iter(range(2, 256))
        self.closed, self.v4 = False, {}

    @staticmethod
    def name(role):
        return f"corelane-soak-{role}-{os.getpid()}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.lock:
            self.closed = True
        for process in list(self.processes):
            self.end(process, patience=0.3)
        for name in list(self.namespaces):
            self.delete(name)

    # ---- namespaces and links ----

    def make(self, queues, roles):
        for name in (self.middle, self.name("server")):
            self.namespace(name)
        self.sysctl(self.middle, "net/ipv6/conf/all/disable_ipv6", 1)
        run("ip", "-n", self.middle, "link", "add", "bridge", "type", "bridge", "mcast_snooping", 0)
        run("ip", "-n", self.middle, "link", "set", "bridge", "up")
        self.join(self.name("server"), "veth0", "to-server", queues)
        self.address("server", "veth0", SERVER_V4, SERVER_V6)
        self.sysctl(self.name("server"), "net/ipv6/conf/veth0/keep_addr_on_down", 1)
        for role in roles:
            self.client(role)
        # The relay wants frames of at most the MTU, with their checksums.
        run("ip", "-n", self.middle, "link", "add", "far-b", "type", "veth", "peer", "name", "far-port")
        run("ip", "-n", self.middle, "link", "set", "far-b", "up")
        self.to_bridge("far-port")
        self.client("far", port="far-a", bridged=False)
        for namespace, end in ((self.name("far"), "eth0"), *((self.middle, end) for end in (
                "far-a", "far-b", "far-port"))):
            run("ip", "netns", "exec", namespace, "ethtool", "-K", end, *OFFLOADS)

    def client(self, role, port=None, bridged=True):
        """A namespace with addresses of its own."""
        number = next(self.numbers)
        self.namespace(self.name(role))
        self.join(self.name(role), "eth0", port or role, 1, bridged)
        self.v4[role] = f"198.18.{number}.2"
        self.address(role, "eth0", self.v4[role], f"fd00::{number:x}:2")

    def again(self, role):
        """A client that is a stranger each time, from the addresses of one."""
        number = 200
        self.namespace(self.name(role))
        self.join(self.name(role), "eth0", role, 1)
        self.address(role, "eth0", f"198.18.{number}.2", f"fd00::{number:x}:2")

    def namespace(self, name):
        with self.lock:
            if self.closed:
                raise Failed("the soak is over")
            self.namespaces.append(name)
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        for which in ("all", "default"):
            # An address is usable at once.
            self.sysctl(name, f"net/ipv6/conf/{which}/accept_dad", 0)

    @staticmethod
    def sysctl(namespace, key, value):
        run("ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} > /proc/sys/{key}")

    def join(self, namespace, interface, port, queues, bridged=True):
        run("ip", "-n", namespace, "link", "add", interface, "numrxqueues", queues, "numtxqueues",
            queues, "type", "veth", "peer", "name", port, "numrxqueues", queues, "numtxqueues",
            queues, "netns", self.middle)
        run("ip", "-n", namespace, "link", "set", interface, "up")
        if bridged:
            self.to_bridge(port)
        else:
            run("ip", "-n", self.middle, "link", "set", port, "up")

    def to_bridge(self, port):
        run("ip", "-n", self.middle, "link", "set", port, "master", "bridge", "up")

    def address(self, role, interface, v4, v6):
        for address, extra in ((f"{v4}/{PREFIX_V4}", ()), (f"{v6}/{PREFIX_V6}", ("nodad",))):
            self.ip(role, "address", "replace", address, "dev", interface, *extra)

    def ip(self, role, *arguments):
        return run("ip", "-n", self.name(role), *arguments)

    def mac(self, role, interface):
        return json.loads(self.ip(role, "-json", "link", "show", interface))[0]["address"]

    def set_mtu(self, mtu, is_larger):
        """Everywhere: a smaller one from the ends on, a larger one from the middle on, since what is too
        large for the next link is dropped without a word."""
        ends = [(name, "eth0") for name in self.namespaces
                if name not in (self.middle, self.name("server"), self.name("victim"))]
        links = json.loads(run("ip", "-n", self.middle, "-json", "link", "show", "type", "veth"))
        middle = [(self.middle, link["ifname"]) for link in links]
        links = [*ends, (self.name("server"), "veth0"), *middle]
        for namespace, interface in reversed(links) if is_larger else links:
            run("ip", "-n", namespace, "link", "set", interface, "mtu", mtu)

    def delete(self, name):
        with contextlib.suppress(Exception):
            # What still runs inside was started by us: nobody else knows the namespace.
            for pid in run("ip", "netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        with self.lock, contextlib.suppress(ValueError):
            self.namespaces.remove(name)

    # ---- processes ----

    def start(self, role, *command, **options):
        """In the namespace of a role; `ip netns exec` becomes the command, so its pid is the command's."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                   "stderr": subprocess.DEVNULL} | options
        name = self.middle if role == "middle" else self.name(role)
        with self.lock:
            if self.closed:
                raise Failed("the soak is over")
            process = subprocess.Popen(["ip", "netns", "exec", name, *map(str, command)], **options)
            self.processes.append(process)
        return process

    def finished(self, process):
        with self.lock, contextlib.suppress(ValueError):
            self.processes.remove(process)

    def end(self, process, patience=10):
        """SIGTERM, twice if need be (corelane ends without draining then), then SIGKILL."""
        for each in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        self.finished(process)
        return process.returncode

    def ask(self, role, *command, timeout, **options):
        """Runs a command to its end: its status and what it said. One that hangs is killed."""
        process = self.start(role, *command, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
                                                | options))
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err = (err or b"") + b"(hung, and was killed)"
        finally:
            self.finished(process)
        return process.returncode, out, (err or b"").decode(errors="replace").strip()
