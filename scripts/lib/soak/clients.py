"""The clients of the soak. Each job runs in a thread of its own until it is told to stop.

A job does one thing after the other and says what went wrong: `wrong` is what nothing may explain.
"""

import functools
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path

from lab import Failed, SERVER_V4, SERVER_V6

SLOW = Path(__file__).with_name("slow.py")
# RFC 864's characters, which /bytes/N repeats.
CYCLE = bytes(0x20 + at % 95 for at in range(95))
UNWANTED_PATIENCE = 3
BOTH = (SERVER_V4, f"[{SERVER_V6}]")


def digest_of(length):
    """The SHA-256 of what /bytes/N has to be."""
    block, digest = CYCLE * 10_000, hashlib.sha256()
    while length > 0:
        digest.update(block[:length])
        length -= len(block)
    return digest.hexdigest()


class Clients:
    def __init__(self, lab, record, binaries, stop, server):
        self.lab, self.record, self.stop, self.server = lab, record, stop, server
        self.corelane, self.examples = binaries / "corelane", binaries / "examples"
        self.digests = {length: digest_of(length) for length in (1_000_000, 20_000_000, 3_000_000)}
        self.threads, self.strong_floods = [], 0

    # ---- how jobs run ----

    def jobs(self):
        return {
            "load": lambda turn: self.load("load", "http", f"http://{BOTH[turn % 2]}/bytes/2000",
                                           "-c", 32, "--pipeline", 4, "--rate", 2_000),
            "churn": lambda turn: self.load("churn", "churn", f"http://{BOTH[turn % 2]}/", "--close",
                                            "-c", 16, "--rate", 200),
            "echo": lambda turn: self.load("echo", "echo", f"echo://{BOTH[turn % 2]}",
                                           "-c", 8, "--size", 8_000, "--rate", 400),
            "bulk": self.bulk,
            "wrk": self.wrk,
            "curl": lambda turn: self.curl("curl", "plain", BOTH[turn % 2], 20_000_000, 2),
            "nc": lambda turn: self.echo_digest("nc", "plain", turn, 8_000_000),
            "far curl": lambda turn: self.curl("far curl", "far", BOTH[turn % 2], 3_000_000, 1),
            "far nc": lambda turn: self.echo_digest("far nc", "far", turn, 1_000_000),
            "slow": self.slow,
            "flood": self.flood,
            "deny": self.unwanted,
            "syn-limit": self.syn_limit,
            "killed": self.killed,
        }

    def start(self):
        for name, job in self.jobs().items():
            thread = threading.Thread(target=self.repeat, args=(name, job), name=name, daemon=True)
            thread.start()
            self.threads.append(thread)

    def repeat(self, name, job):
        turn = 0
        while not self.stop.is_set():
            self.record.attempt(self.lab, name, functools.partial(job, turn))
            turn += 1
            self.stop.wait(0.5)

    def wait(self, limit):
        for thread in self.threads:
            thread.join(limit)
        return [thread.name for thread in self.threads if thread.is_alive()]

    # ---- Corelane's own client ----

    def load(self, job, role, target, *options, seconds=15):
        begin = self.record.now()
        status, out, err = self.lab.ask(
            role, self.corelane, "load", "--interface", "eth0", "--cores", os.cpu_count() - 1,
            "--json", "--timeout", "15s", "-d", f"{seconds}s", *options, target,
            timeout=seconds + 60)
        try:
            said = json.loads(out)
        except ValueError:
            self.record.fail(job, "wrong", f"corelane load {target}: status {status}: {err}", begin)
            return
        errors = {name: count for name, count in said["errors"].items() if count}
        for name, count in errors.items():
            kind = "wrong" if name in ("bad_answer", "status", "ports_exhausted") else "lost"
            self.record.fail(job, kind, f"{target}: {name} {count}", begin)
        if status != 0 and not errors:
            self.record.fail(job, "lost", f"corelane load {target}: status {status}: {err[-200:]}, "
                             f"{said['opened']} connections opened", begin)
        self.record.count(requests=said["requests"], opened=said["opened"],
                          octets=said["octets_received"] + said["octets_sent"])

    def bulk(self, turn):
        host = BOTH[turn // 2 % 2]
        target = f"chargen://{host}" if turn % 2 else f"discard://{host}"
        self.load("bulk", "bulk", target, "-c", 4, seconds=5)
        self.stop.wait(5)

    # ---- real clients ----

    def wrk(self, turn):
        begin = self.record.now()
        status, out, err = self.lab.ask("plain", "wrk", "-t1", "-c16", "-d3s", "--timeout", "15s",
                                        f"http://{BOTH[turn % 2]}/", timeout=60)
        out = out.decode(errors="replace")
        bad = re.search(r"Socket errors: (.*)", out)
        if "Non-2xx" in out:
            self.record.fail("wrk", "wrong", out, begin)
        if status != 0 or bad:
            self.record.fail("wrk", "lost", bad[1] if bad else err or f"status {status}", begin)
        if done := re.search(r"(\d+) requests in", out):
            self.record.count(requests=int(done[1]), opened=16)
        self.stop.wait(9)

    def curl(self, job, role, host, length, times):
        """Some answers over one connection."""
        begin = self.record.now()
        url = f"http://{host}/bytes/{length}"
        status, out, err = self.lab.ask(role, "curl", "-sS", "--fail", "--max-time", 120,
                                        *[url] * times, timeout=150)
        if status != 0:
            # 22: a status that is no success. What came until then is checked all the same.
            self.record.fail(job, "wrong" if status == 22 else "lost", f"{url}: {err}", begin)
            whole = (CYCLE * (length // len(CYCLE) + 1))[:length] * times
            if not whole.startswith(out):
                self.record.fail(job, "wrong", f"{url}: octets that it does not have", begin)
            return
        pieces = [out[at:at + length] for at in range(0, max(len(out), 1), length)]
        if [hashlib.sha256(each).hexdigest() for each in pieces] != [self.digests[length]] * times:
            self.record.fail(job, "wrong", f"{url}: {len(out)} octets of another digest", begin)
        self.record.count(requests=times, opened=1, octets=len(out), digests=times)
        self.stop.wait(2)

    def echo_digest(self, job, role, turn, length):
        begin = self.record.now()
        sent, host = random.randbytes(length), (SERVER_V4, SERVER_V6)[turn % 2]
        process = self.lab.start(role, "nc", "-N", host, 7, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            got, err = process.communicate(sent, timeout=150)
        except subprocess.TimeoutExpired:
            process.kill()
            got, err = process.communicate()
            err += b"(hung, and was killed)"
        finally:
            self.lab.finished(process)
        if got != sent[:len(got)]:
            self.record.fail(job, "wrong", f"echo on {host}: other octets came back", begin)
        elif len(got) != length:
            self.record.fail(job, "lost", f"echo on {host}: {len(got)} of {length} octets, "
                             f"status {process.returncode} {err.decode(errors='replace')}", begin)
        else:
            self.record.count(opened=1, octets=2 * length, digests=1)
        self.stop.wait(2)

    def killed(self, turn):
        """Clients that are killed in the midst of a transfer, in both directions."""
        number = random.randrange(1_000_000, 9_000_000_000)
        down = self.lab.start("plain", "curl", "-s", f"http://{BOTH[turn % 2]}/bytes/{number}")
        up = self.lab.start("plain", "nc", (SERVER_V4, SERVER_V6)[turn % 2], 9,
                            stdin=open("/dev/zero", "rb"))
        self.stop.wait(1)
        for process in (down, up):
            process.kill()
            process.wait()
            self.lab.finished(process)
        self.record.count(opened=2, killed=2)
        self.stop.wait(8)

    # ---- those who are no friends ----

    def slow(self, _turn):
        begin = self.record.now()
        status, out, err = self.lab.ask("slow", sys.executable, "-B", SLOW, 30, timeout=90)
        if status != 0:
            self.record.fail("slow", "lost", f"status {status}: {err[-300:]}", begin)
            return
        said = json.loads(out)
        for text in said.pop("kept"):
            self.record.fail("slow", "lost", text, begin)
        self.record.count(**said)

    def flood(self, turn):
        """Mostly too few SYNs to fill the queue; about each fourth minute more than enough."""
        strong = turn % 16 == 3
        rate, seconds = (30_000, 3) if strong else (600, 3)
        host, port = BOTH[turn // 2 % 2], (80, 7)[turn % 2]
        # Cookies are used until nobody has answered any for up to two minutes. Meanwhile a client that
        # speaks at length at once may be reset when its first segments are lost, or overtaken:
        # docs/security.md, "What cookies cannot do".
        talkers = ("far nc", "nc", "echo", "bulk")
        event = self.record.event("cookies", costs=talkers, grace=150) if strong else None
        self.strong_floods += strong
        status, out, err = self.lab.ask(
            "flood", self.examples / "flood", "--interface", "eth0", "--peer", self.server["mac"],
            "--to", f"{host}:{port}", "--rate", rate, "--for", f"{seconds}s", timeout=60)
        if status != 0:
            raise Failed(f"flood: {err}")
        if event:
            event.end = self.record.now()
        self.record.count(syns=int(out.split()[0]), floods=1)
        self.stop.wait(12)

    def control(self, *arguments):
        status, out, err = self.lab.ask("server", self.corelane, *arguments, "--pid",
                                        self.server["pid"], timeout=30)
        if status != 0:
            raise Failed(f"corelane {' '.join(map(str, arguments))}: status {status}: {err}")
        return out.decode()

    def asks(self, limit):
        """Whether the unwanted client gets an answer within so many seconds."""
        return self.lab.ask("unwanted", "curl", "-sS", "--max-time", limit, f"http://{SERVER_V4}/",
                            timeout=limit + 30)[1] == b"hello, world\n"

    def unwanted(self, _turn):
        """Denied in the midst of a transfer, then allowed again."""
        begin = self.record.now()
        talk = self.lab.start("unwanted", "nc", SERVER_V4, 7, stdin=open("/dev/zero", "rb"))
        self.stop.wait(1)
        prefix = self.server["unwanted"]
        self.control("deny", "add", prefix)
        try:
            if self.asks(UNWANTED_PATIENCE):
                self.record.fail("deny", "wrong", f"{prefix} was served while it was denied", begin)
            if prefix.split("/")[0] not in self.control("deny", "list"):
                self.record.fail("deny", "wrong", f"{prefix} is not in the list", begin)
            self.lab.end(talk)
        finally:
            self.control("deny", "remove", prefix)
        if not self.asks(30):
            self.record.fail("deny", "lost", f"{prefix} is not served after it was allowed", begin)
        self.record.count(opened=2, denials=1)
        self.stop.wait(10)

    def syn_limit(self, _turn):
        """All of the flood is one source, and so are all others, who send less."""
        self.control("syn-limit", "set", "--rate", 3_000, "--burst", 6_000, "--ipv4-prefix", 16,
                     "--ipv6-prefix", 32)
        self.stop.wait(20)
        if "3000" not in self.control("syn-limit", "show"):
            raise Failed("corelane syn-limit show does not say what was set")
        self.control("syn-limit", "off")
        self.stop.wait(15)
