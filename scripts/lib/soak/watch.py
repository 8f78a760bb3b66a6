"""Samples of the server while it runs, and the verdict on them."""

import csv
import json
import os
import statistics
import threading
from pathlib import Path

from lab import Failed, SERVER_V4

COUNTERS = Path(__file__).with_name("counters.txt")
# How much more memory the last quarter may take than the second: in the middle, and at its most, which
# a single burst decides. 5 % are about 3 MiB. From the middle of the one quarter to that of the other it is
# half of the time, in which some 200 connections come and go each second: 19 octets for each in half an hour.
ALLOWANCE = {"median": 0.05, "most": 0.10}
# What must be nothing at the end, when everybody has gone.
GAUGES = ("flows", "half_open", "time_wait", "receive_memory", "send_frames", "compact_memory",
          "fragment_memory")


def expected_counters(queues):
    """The committed table: a counter's name, then why it is not zero. None twice, none without why."""
    table = {}
    for line in COUNTERS.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, why = line.partition(" ")
        if name in table or not why.strip():
            raise Failed(f"{COUNTERS.name}: {name} stands there twice, or without a reason")
        table[name] = why.strip()
    return {name: why for name, why in table.items() if queues > 1 or not why.startswith("queues:")}


def flat(stats):
    """Counters by the name of who counts and their own; those of workers and queues added up."""
    counters = {f"xdp.{name}": count for name, count in stats["xdp"].items()}
    counters |= {f"stack.{name}": count for name, count in stats["stack"].items()}
    for who, each in (("worker", stats["workers"]), ("queue", stats["queues"])):
        for one in each:
            for name, count in one["counters"].items():
                name = f"{who}.{name}"
                counters[name] = counters.get(name, 0) + count
    return counters


def gauges(stats):
    return {name: sum(worker["gauges"][name] for worker in stats["workers"]) for name in GAUGES}


class Watch:
    def __init__(self, lab, record, corelane, server, period):
        self.lab, self.record, self.corelane, self.server = lab, record, corelane, server
        self.period, self.samples, self.thread = period, [], None
        self.stop = threading.Event()

    def start(self):
        self.thread = threading.Thread(target=self.loop, name="watch", daemon=True)
        self.thread.start()

    def loop(self):
        while True:
            begin = self.record.now()
            try:
                self.sample()
                self.record.ended("stats and ss")
            except (Failed, OSError, ValueError) as error:
                if not self.stop.is_set():
                    kind = "lost" if "does not answer" in str(error) else "wrong"
                    self.record.fail("stats and ss", kind, str(error), begin)
            if self.stop.wait(self.period):
                return

    def ask(self, *arguments):
        status, out, err = self.lab.ask("server", self.corelane, *arguments, "--pid",
                                        self.server["pid"], timeout=30)
        if status != 0:
            raise Failed(f"corelane {' '.join(arguments)}: status {status}: {err}")
        return out.decode()

    def sample(self):
        """One line of the samples: what /proc says, gauges, counters."""
        process = Path("/proc") / str(self.server["pid"])
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        stats = json.loads(self.ask("stats", "--json"))
        shown = json.loads(self.ask("ss", "--json"))
        if SERVER_V4 not in self.ask("ss", "--info") and gauges(stats)["flows"] > 100:
            raise Failed("corelane ss --info does not say the server's address")
        sample = {
            "seconds": round(self.record.now(), 1), "rss_kib": int(status["VmRSS"].split()[0]),
            "threads": int(status["Threads"]), "fds": len(os.listdir(process / "fd")),
            "shown": len(shown), "requests": self.record.numbers["requests"],
            **gauges(stats), **flat(stats)}
        if self.samples:
            fallen = [name for name, count in flat(stats).items() if count < self.samples[-1].get(name, 0)]
            if fallen:
                raise Failed(f"counters that have become less: {', '.join(fallen)}")
        self.samples.append(sample)
        return sample

    def write(self, path):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.samples[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.samples)


class Verdict:
    """What was checked, in rows: what, how it was, and whether it was as it must be."""

    def __init__(self):
        self.rows = []

    def row(self, what, how, good=True):
        self.rows.append((what, how, good))

    @property
    def good(self):
        return all(good for *_, good in self.rows)

    def markdown(self):
        lines = ["| what | how it was | |", "|---|---|---|"]
        lines += [f"| {what} | {how} | {'' if good else '**failed**'} |" for what, how, good in self.rows]
        return "\n".join(lines)


def judge_memory(verdict, samples, loaded):
    """Of the samples while there was load: the second quarter beside the last."""
    def quarters(name, of):
        parts = [[each[name] for each in samples if begin * loaded <= each["seconds"] <= end * loaded]
                 for begin, end in ((0.25, 0.5), (0.75, 1))]
        return [of(part) if part else 0 for part in parts]

    for what, of in (("median", statistics.median), ("most", max)):
        second, last = quarters("rss_kib", of)
        verdict.row(f"resident memory in the second and in the last quarter: {what}",
                    f"{second / 1024:.1f} and {last / 1024:.1f} MiB ({last / max(second, 1) - 1:+.1%}; "
                    f"at most {ALLOWANCE[what]:+.0%})", 0 < last <= second * (1 + ALLOWANCE[what]))
    for name, what in (("fds", "descriptors"), ("threads", "threads")):
        second, last = quarters(name, max)
        # A client of the control socket may be there when one looks.
        verdict.row(f"{what}, the most in both", f"{second} and {last}", 0 < last <= second + (name == "fds"))


def judge_end(verdict, sample):
    """Nobody is there any more."""
    left = {name: sample[name] for name in GAUGES if sample[name]}
    verdict.row(f"left when all had gone, of {', '.join(GAUGES)}",
                ", ".join(f"{name} {count}" for name, count in left.items()) or "nothing", not left)
    verdict.row("connections in `corelane ss` then", sample["shown"], sample["shown"] == 0)


def judge_counters(verdict, sample, expected):
    counters = {name: count for name, count in sample.items() if "." in name}
    stale = sorted(set(expected) - set(counters))
    verdict.row("counters explained in counters.txt that do not exist", ", ".join(stale) or "none", not stale)
    strange = [f"{name} {count}" for name, count in sorted(counters.items())
               if count and name not in expected]
    verdict.row("counters not explained there that are not zero", ", ".join(strange) or "none", not strange)
