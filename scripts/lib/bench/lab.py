"""The processes of a bench in its two network namespaces, and where the kernel does its part."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

SERVER, CLIENT = "198.18.0.1", "198.18.0.2"
SERVER_IF, CLIENT_IF = "veth0", "veth1"
# The kernel's peers have ports of their own: their TIME-WAITs are not in the way of others.
PORTS = {"corelane": 80, "floor": 80, "epoll": 8080, "spinning": 8080, "nginx": 8081}
ECHO_PORTS = PORTS | {"corelane": 7, "floor": 7}
READY_WITHIN = 20

NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
events {{
    worker_connections 4096;
    multi_accept on;
}}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    lingering_close off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address}:{port} backlog=4096;
        location / {{ return 200 "hello, world\\n"; }}
    }}
}}
"""


class Failed(Exception):
    """What was started did not do what it must."""


class Lab:
    """Whatever is started here ends with it."""

    def __init__(self, options):
        self.binaries, self.nginx = options.binaries, options.nginx
        self.work = options.work
        self.namespaces = {"server": options.server_namespace, "client": options.client_namespace}
        self.server_cpu, self.client_cpu = options.cpus
        self.processes = []
        self.placement = None
        # Of other people's interfaces.
        self.others = napi_threads(SERVER_IF, CLIENT_IF)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in list(self.processes):
            self.stop(process)

    # ---- Placement ----

    def place(self, placement):
        """Says where frames are received; holds for what is started from now on. `sender` is what a new
        network has, and comes first."""
        self.placement = placement
        if placement == "receiver":
            for end, interface, cpu in self.ends():
                self.write(end, f"{interface}/queues/rx-0/rps_cpus", mask(cpu))

    def ends(self):
        return (("server", SERVER_IF, self.server_cpu), ("client", CLIENT_IF, self.client_cpu))

    def write(self, end, file, value):
        # sysfs is of the namespace that mounts it, which `ip netns exec` does.
        self.run(end, "sh", "-c", f"echo {value} > /sys/class/net/{file}")

    def thread_napi(self):
        """Gives NAPI threads of its own, bound to the CPU of their interface. It is there while an XDP
        program is, so what is without stays as it is."""
        if self.placement != "receiver":
            return
        for end, interface, cpu in self.ends():
            with contextlib.suppress(Failed):
                self.write(end, f"{interface}/threaded", 1)
            for pid in napi_threads(interface) - self.others:
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(pid, {cpu})

    # ---- Processes ----

    def run(self, end, *command):
        done = subprocess.run(self.inside(end, command), capture_output=True, text=True, check=False,
                              timeout=30)
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def inside(self, end, command):
        return ["ip", "netns", "exec", self.namespaces[end], *map(str, command)]

    def pinned(self, row, cpu):
        return [] if row.floats else ["taskset", "--cpu-list", cpu]

    @contextlib.contextmanager
    def serving(self, peer, row):
        """A server until the end of the block."""
        log = self.work / "server.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                self.inside("server", self.server(peer, row)), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT)
        self.processes.append(process)
        try:
            self.wait_until_ready(peer, process, log)
            failed = None
            try:
                yield
            except Failed as error:
                failed = error
            # That a client has failed is then no news.
            if process.poll() is not None:
                raise Failed(f"{peer} has ended: {log.read_text().strip() or process.returncode}")
            if failed:
                raise failed
        finally:
            self.stop(process)

    def server(self, peer, row):
        port = (ECHO_PORTS if row.echo else PORTS)[peer]
        if peer == "corelane":
            service = f"{'echo' if row.echo else 'http'}:{port}"
            cores = [] if row.floats else ["--cores", self.server_cpu]
            return [self.binaries / "corelane", "serve", "--interface", SERVER_IF, *cores, "--idle",
                    "spin" if row.spin else "adaptive", service]
        if peer == "floor":
            mode = "echo" if row.echo else "http-close" if row.close else "http"
            return [self.binaries / "examples/floor", "--interface", SERVER_IF, "--port", port, "--core",
                    0 if row.floats else self.server_cpu, *(["--spin"] if row.spin else []), mode]
        if peer == "nginx":
            config = self.work / "nginx.conf"
            config.write_text(NGINX.format(directory=self.work, address=SERVER, port=port))
            command = [self.nginx, "-e", "stderr", "-c", config]
        else:
            command = [self.binaries / "examples/kernel_http", f"{SERVER}:{port}",
                       *(["--spin"] if peer == "spinning" else []), *(["--echo"] if row.echo else [])]
        return [*self.pinned(row, self.server_cpu), *command]

    def wait_until_ready(self, peer, process, log):
        deadline = time.monotonic() + READY_WITHIN
        while process.poll() is None and time.monotonic() < deadline:
            if peer == "nginx":
                ready = listens(process.pid, PORTS[peer])
            else:
                ready = any(line.startswith("ready") for line in log.read_text().splitlines())
            if ready:
                return
            time.sleep(0.02)
        raise Failed(f"{peer} was not ready: {log.read_text().strip() or 'it said nothing'}")

    def client(self, peer, row, seconds):
        port = (ECHO_PORTS if row.echo else PORTS)[peer]
        pinned = self.pinned(row, self.client_cpu)
        if row.client == "wrk":
            return [*pinned, "wrk", "-t", 1, "-c", row.connections, "-d", f"{seconds}s", "--latency",
                    "--timeout", "5s", f"http://{SERVER}:{port}/"]
        if row.client == "ping":
            return [*pinned, self.binaries / "examples/ping", f"{SERVER}:{port}", "--for", f"{seconds}s"]
        target = f"echo://{SERVER}:{port}" if row.echo else f"http://{SERVER}:{port}/"
        return [self.binaries / "corelane", "load", "--interface", CLIENT_IF, "--cores", self.client_cpu,
                "--connections", row.connections, "--duration", f"{seconds}s", "--json",
                *(["--close"] if row.close else []), *(["--spin"] if row.spin else []), target]

    def drive(self, peer, row, seconds):
        """What the client has printed."""
        process = subprocess.Popen(
            self.inside("client", self.client(peer, row, seconds)), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        # The client's program is attached a moment after its start.
        late = threading.Timer(0.3, self.thread_napi)
        late.start()
        try:
            out, words = process.communicate(timeout=seconds + 40)
        except subprocess.TimeoutExpired:
            raise Failed(f"{row.client} did not end") from None
        finally:
            late.cancel()
            self.stop(process)
        # `corelane load` ends with 1 when there were errors, and says which.
        if process.returncode != 0 and not (process.returncode == 1 and out.startswith("{")):
            raise Failed(f"{row.client} against {peer}: {words.strip() or process.returncode}")
        return out

    def stop(self, process):
        # Corelane drains at the first signal and ends at the second.
        for _ in range(2):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
        if process.poll() is None:
            process.kill()
            process.wait(5)
        if process in self.processes:
            self.processes.remove(process)


def mask(cpu):
    """As sysfs has it: hexadecimal, a comma each 32 bits."""
    words = [f"{1 << cpu >> shift & 0xffffffff:08x}" for shift in range(0, cpu // 32 * 32 + 32, 32)]
    return ",".join(reversed(words))


def napi_threads(*interfaces):
    """The kernel's threads that receive for interfaces of these names, whoever's they are."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().startswith(tuple(f"napi/{name}-" for name in interfaces)):
                found.add(int(path.parent.name))
    return found


def listens(pid, port):
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            local, _, state = line.split()[1:4]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                return True
    return False
