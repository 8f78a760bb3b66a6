"""What scripts/soak runs when everything is built: the clock, the progress, and the verdict.

usage: run.py --binaries DIR --duration SECONDS --queues N --period SECONDS --output DIR
"""

import argparse
import datetime
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import watch
from chaos import Chaos
from clients import Clients
from lab import Failed, Lab
from record import Record

SERVICES = ("http:80", "echo:7", "discard:9", "chargen:19")
ROLES = ("http", "churn", "echo", "bulk", "plain", "slow", "flood", "unwanted")
# What makes things end within the soak: everything else is as it is by default.
CONFIG = """\
interface = "veth0"
services = [{services}]
drain-timeout = "5s"
max-connections = 65536

[tcp]
time-wait = "5s"
fin-timeout = "10s"
orphan-timeout = "20s"
user-timeout = "25s"
keepalive = true
keepalive-idle = "10s"
keepalive-interval = "3s"
keepalive-count = 5
synack-retries = 3

[http]
header-timeout = "5s"
# Longer than a run of `corelane load`, whose connections need not all be in use.
idle-timeout = "20s"
body-timeout = "5s"
send-timeout = "8s"

# So that bulk leaves something for the others.
[service."chargen:19"]
max-pacing-rate = "4 MiB"
"""
# How long the last of what was there may take to end: half-open connections, what vanished, timers.
LEAVING = 90


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--duration", type=float, required=True)
    parser.add_argument("--queues", type=int, default=1)
    parser.add_argument("--period", type=float, default=10)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


class Soak:
    def __init__(self, options, lab):
        self.options, self.lab = options, lab
        self.record, self.stop, self.server = Record(), threading.Event(), {}
        self.corelane = options.binaries / "corelane"
        self.log = options.output / "server.log"
        self.process = None

    def serve(self):
        config = self.options.output / "corelane.toml"
        services = ", ".join(f'"{each}"' for each in SERVICES)
        config.write_text(CONFIG.format(services=services))
        with self.log.open("wb") as log:
            self.process = self.lab.start("server", self.corelane, "serve", "--config", config,
                                          stdout=log, stderr=subprocess.STDOUT)
        for _ in range(300):
            if "\nready" in self.log.read_text():
                self.server |= {"pid": self.process.pid, "mac": self.lab.mac("server", "veth0")}
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise Failed(f"the server is not ready:\n{self.log.read_text()}")

    def go(self):
        """The soak; whether all was as it must be."""
        expected = watch.expected_counters(self.options.queues)
        self.lab.make(self.options.queues, ROLES)
        self.server["unwanted"] = self.lab.v4["unwanted"] + "/32"
        self.serve()
        print(self.log.read_text(), flush=True)
        watching = watch.Watch(self.lab, self.record, self.corelane, self.server, self.options.period)
        chaos = Chaos(self.lab, self.record, self.options.binaries, self.stop, self.server)
        clients = Clients(self.lab, self.record, self.options.binaries, self.stop, self.server)
        self.record.begin = time.monotonic()
        watching.start()
        chaos.begin_relay()
        clients.start()
        chaos.start()
        self.pass_time(watching)
        loaded = self.record.now()
        self.stop.set()
        print("   the load ends", flush=True)
        chaos.thread.join(60)
        hanging = clients.wait(200)
        last = self.leave(watching)
        watching.stop.set()
        watching.thread.join(60)
        watching.write(self.options.output / "samples.csv")
        return self.judge(watching, last, loaded, hanging, clients.jobs(), expected)

    def pass_time(self, watching):
        begin, told, said = time.monotonic(), 0, 0
        while (passed := time.monotonic() - begin) < self.options.duration:
            time.sleep(min(1, self.options.duration - passed))
            if self.process.poll() is not None:
                raise Failed(f"the server has ended, with status {self.process.returncode}:\n"
                             f"{self.log.read_text()[-2000:]}")
            for failure in self.record.failures[told:]:
                print(f"   {failure.begin:.0f} to {failure.end:.0f} s, {failure.job}: {failure.kind}: "
                      f"{failure.text}", flush=True)
                told += 1
            if passed >= said + 60:
                said += 60
                self.progress(watching)

    def progress(self, watching):
        sample, numbers = watching.samples[-1], self.record.numbers
        print(f"{datetime.timedelta(seconds=round(self.record.now()))}  RSS {sample['rss_kib'] / 1024:.1f} MiB, "
              f"connections {sample['flows']} (half open {sample['half_open']}, TIME-WAIT "
              f"{sample['time_wait']}), requests {numbers['requests']}, digests {numbers['digests']}, "
              f"floods {numbers['floods']} ({numbers['syns']} SYNs), chaos {len(self.record.events)}, "
              f"failures {len(self.record.failures)}", flush=True)

    def leave(self, watching):
        """Waits until nobody is there any more; the last sample."""
        end = time.monotonic() + LEAVING
        while True:
            sample = watching.sample()
            if time.monotonic() > end or not any(sample[name] for name in watch.GAUGES):
                return sample
            time.sleep(2)

    def judge(self, watching, last, loaded, hanging, jobs, expected):
        verdict, numbers = watch.Verdict(), self.record.numbers
        verdict.row("time under load", datetime.timedelta(seconds=round(loaded)))
        for name, what in (("requests", "requests answered"), ("opened", "connections opened"),
                           ("octets", "octets carried and compared"), ("digests", "digests that were right"),
                           ("given_up", "slow clients given up"), ("killed", "clients killed in a transfer"),
                           ("denials", "times that a source was denied, and allowed again")):
            verdict.row(what, f"{numbers[name]:,}", numbers[name] > 0)
        verdict.row("floods", f"{numbers['floods']} ({numbers['syns']:,} SYNs)", numbers["floods"] > 0)
        runs = sorted(self.record.runs.items())
        verdict.row("runs of each job", ", ".join(
            f"{job} {count}" for job, count in runs if not job.startswith("chaos: ")))
        verdict.row("chaos", ", ".join(
            f"{job.removeprefix('chaos: ')} {count}" for job, count in runs if job.startswith("chaos: ")))
        idle = [job for job in jobs if not self.record.runs[job]]
        verdict.row("jobs that never ended a run", ", ".join(idle) or "none", not idle)
        verdict.row("jobs that hang", ", ".join(hanging) or "none", not hanging)
        self.judge_failures(verdict)
        watch.judge_memory(verdict, watching.samples, loaded)
        watch.judge_end(verdict, last)
        watch.judge_counters(verdict, last, expected)
        self.judge_server(verdict)
        table = verdict.markdown()
        (self.options.output / "result.md").write_text(table + "\n")
        print(f"\n{table}\n", flush=True)
        return verdict.good

    def judge_failures(self, verdict):
        unexplained = self.record.explain()
        explained = len(self.record.failures) - len(unexplained)
        verdict.row("failures of clients that chaos explains", explained)
        verdict.row("failures of clients that nothing explains", len(unexplained), not unexplained)
        lines = [f"{each.begin:.0f}-{each.end:.0f} s {each.job}: {each.kind}: {each.text} "
                 f"[{each.explained or 'nothing explains it'}]" for each in self.record.failures]
        lines += [f"{each.begin:.0f}-{each.end:.0f} s event: {each.name}" for each in self.record.events]
        (self.options.output / "events.txt").write_text("\n".join(lines) + "\n")
        for each in unexplained[:20]:
            print(f"   unexplained: {each.begin:.0f} to {each.end:.0f} s, {each.job}: {each.text}")

    def judge_server(self, verdict):
        """Asked to end, it ends well."""
        status = self.lab.end(self.process)
        verdict.row("exit status of the server", status, status == 0)
        panics = self.log.read_text().count("panicked")
        verdict.row("panics in its log", panics, panics == 0)


def main():
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)

    def interrupted(number, _frame):
        raise SystemExit(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupted)
    print(f"   {platform.release()}, {os.cpu_count()} CPUs; samples go to {options.output}", flush=True)
    try:
        with Lab() as lab:
            good = Soak(options, lab).go()
    except Failed as error:
        print(f"soak: {error}", file=sys.stderr)
        good = False
    print("== all was as it must be" if good else "== the soak has FAILED", flush=True)
    return 0 if good else 1


sys.exit(main())
