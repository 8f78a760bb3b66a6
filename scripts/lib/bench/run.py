"""What scripts/bench runs when everything is built and the network is there."""

import argparse
import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import plot
import report
from lab import Failed, Lab
from quiet import Patience, Watch
from rows import BY_XDP, PEERS, PLACEMENTS, ROWS

ROOT = Path(__file__).resolve().parents[3]
# What starting and stopping takes, in seconds.
OVERHEAD = 1.5
ENDS = (signal.SIGINT, signal.SIGTERM)
MICROS = {"us": 1, "ms": 1e3, "s": 1e6}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--duration", type=positive, default=4)
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS))
    parser.add_argument("--placement", nargs="+", choices=PLACEMENTS, default=["sender"])
    parser.add_argument("--cpus", type=cpus, default=None)
    parser.add_argument("--patience", type=positive, default=0)
    parser.add_argument("--output", type=Path)
    # What scripts/bench adds.
    parser.add_argument("--check", action="store_true")
    for name in ("binaries", "work", "nginx"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("server-namespace", "client-namespace"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    if options.cpus is None:
        mine = sorted(os.sched_getaffinity(0))
        if len(mine) < 2:
            parser.error("the server and the client want a CPU each, and this is only one")
        options.cpus = (mine[0], mine[1])
    # In our order, each once.
    options.only = [name for name in ROWS if name in options.only]
    options.placement = [name for name in PLACEMENTS if name in options.placement]
    return options


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def cpus(text):
    pair = tuple(map(int, text.split(",")))
    if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"{text}: two CPUs of this machine, as in 0,1")
    return pair


def machine(options):
    """What the numbers hold for."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.M)
    siblings = Path(f"/sys/devices/system/cpu/cpu{options.cpus[0]}/topology/thread_siblings_list")
    commit = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "describe", "--always", "--dirty"],
                            cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": model[1] if model else platform.machine(),
        "cpus": os.cpu_count(),
        "virtual": "hypervisor" in info,
        "memory_gib": round(int(memory[1]) / 2**20),
        "kernel": platform.release(),
        "server_cpu": options.cpus[0],
        "client_cpu": options.cpus[1],
        "threads_of_server_core": siblings.read_text().strip() if siblings.exists() else None,
        "commit": commit or None,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def micros(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * MICROS[unit]


def from_wrk(text):
    """wrk's words in the shape of the others' JSON."""
    errors = dict(re.findall(r"(connect|read|write|timeout) (\d+)", text))
    errors |= dict(re.findall(r"(Non-2xx) or 3xx responses: (\d+)", text))
    return {
        "requests": int(re.search(r"(\d+) requests in", text)[1]),
        "requests_per_second": float(re.search(r"Requests/sec:\s*([\d.]+)", text)[1]),
        "latency_us": {name: micros(re.search(rf"^\s*{at}%\s+(\S+)", text, re.M)[1])
                       for name, at in (("p50", 50), ("p99", 99))},
        "errors": {name: int(count) for name, count in errors.items()},
    }


def measure(lab, row, peer, seconds):
    watch = Watch()
    with lab.serving(peer, row):
        text = lab.drive(peer, row, seconds)
    got = from_wrk(text) if row.client == "wrk" else json.loads(text)
    latency = got["latency_us"] or {"p50": None, "p99": None}
    if not got["requests"]:
        raise Failed(f"{peer} has answered nothing: {text}")
    return {
        "requests": got["requests"],
        "rate": got["requests_per_second"],
        "p50": latency["p50"],
        "p99": latency["p99"],
        "errors": {name: count for name, count in got["errors"].items() if count},
        **{name: got.get(name) for name in ("segments_sent", "segments_received", "retransmissions")},
        "others": watch.others(),
    }


def plan(options):
    """All runs, in order: each peer once, then each again. Each round begins with another, so that nobody
    always has the machine as the same other has left it."""
    for placement in options.placement:
        for number in range(options.rounds):
            for name in options.only:
                if ROWS[name].floats and placement != options.placement[0]:
                    # It has the same placement in each.
                    continue
                peers = [peer for peer in ROWS[name].peers if peer != "nginx" or options.nginx]
                first = number % len(peers)
                for peer in peers[first:] + peers[:first]:
                    yield placement, number, name, peer


def write(options, settings, runs):
    """After each round, so that an interruption loses only what it interrupts."""
    summary = report.summarize(runs)
    text = report.markdown(settings, summary)
    results = {"settings": settings, "summary": report.nested(summary), "runs": runs}
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "table.md").write_text(text)
    (options.output / "plot.svg").write_text(plot.svg(settings, summary))
    return text


def bench(options):
    todo = list(plan(options))
    settings = {
        "command": f"scripts/bench {' '.join(report.words(options))}".strip(),
        "rounds": options.rounds,
        "duration": options.duration,
        "placements": options.placement,
        "peers": {peer: name for peer, name in PEERS.items() if peer != "nginx" or options.nginx},
        "machine": machine(options),
    }
    minutes = len(todo) * (options.duration + OVERHEAD) / 60
    print(f"   {len(todo)} runs, about {minutes:.0f} minutes", flush=True)
    runs, placed, text, patience = [], None, "", Patience(options.patience)
    with Lab(options) as lab:
        for placement, number, name, peer in todo:
            if placement != placed:
                lab.place(placement)
                placed = placement
            row = ROWS[name]
            one = patience.measure(measure, lab, row, peer, options.duration)
            runs.append({"placement": placement, "row": name, "peer": peer, "round": number, **one})
            errors = f", errors: {one['errors']}" if one["errors"] else ""
            print(f"   {len(runs):4}/{len(todo)} {placement:8} {name:14} {peer:9} {one['rate']:9.0f}/s, "
                  f"p50 {one['p50']:.1f} us, p99 {one['p99']:.1f} us, others took "
                  f"{one['others']:.0%}{errors}", flush=True)
            if len(runs) == len(todo) or todo[len(runs)][1] != number:
                text = write(options, settings, runs)
    print(f"\n{text}")
    failed = sorted({(run["row"], run["peer"]) for run in runs
                     if run["errors"] and run["peer"] in BY_XDP})
    for row, peer in failed:
        print(f"scripts/bench: there were errors with {peer} at {row}", file=sys.stderr)
    return 1 if failed else 0


def end(number, _):
    # Once: what follows is the end already.
    for other in ENDS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    options = arguments()
    if options.check:
        return 0
    # In the background, a shell's child ignores SIGINT unless it says otherwise.
    for number in ENDS:
        signal.signal(number, end)
    try:
        return bench(options)
    except Failed as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
