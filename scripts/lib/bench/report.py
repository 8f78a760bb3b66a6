"""Medians, ratios, goals, and the Markdown table of them."""

import statistics

from quiet import QUIET, is_disturbed
from rows import BY_XDP, FLOATING, PEERS, PLACEMENTS, ROWS

MEASURES = ("rate", "p50", "p99")


def words(options):
    """The options that are not what they would have been."""
    told = []
    if len(options.only) < len(ROWS):
        told += ["--only", *options.only]
    if options.placement != ["sender"]:
        told += ["--placement", *options.placement]
    if options.patience:
        told += ["--patience", str(options.patience)]
    return [*told, "--rounds", str(options.rounds), "--duration", str(options.duration),
            "--cpus", ",".join(map(str, options.cpus))]


def summarize(runs):
    """For each placement, row and peer: median, least and most of each measure, and the errors. Disturbed
    runs count only where there are no others."""
    summary = {}
    for run in runs:
        summary.setdefault((run["placement"], run["row"], run["peer"]), []).append(run)
    return {key: summarize_one(of) for key, of in summary.items()}


def summarize_one(runs):
    of = [run for run in runs if not is_disturbed(run)] or runs
    return {
        **{measure: spread({run["round"]: run[measure] for run in of}) for measure in MEASURES},
        "runs": len(of),
        "left_out": len(runs) - len(of),
        "requests": sum(run["requests"] for run in of),
        "errors": sum(sum(run["errors"].values()) for run in of),
        "retransmissions": sum(run["retransmissions"] or 0 for run in of),
        "others": statistics.median(run["others"] for run in of),
    }


def spread(by_round):
    values = by_round.values()
    return {"median": statistics.median(values), "least": min(values), "most": max(values),
            "by_round": by_round}


def nested(summary):
    """As JSON can have it."""
    out = {}
    for (placement, row, peer), value in summary.items():
        out.setdefault(placement, {}).setdefault(row, {})[peer] = value
    return out


def ratio(summary, placement, row, goal):
    """The median of each round's ratio of us to whom the goal names: what drifts with time hits both. `None`
    if one of them was not measured."""
    ours = summary.get((placement, row, "corelane"))
    if goal.against == "floor":
        others = [summary.get((placement, row, "floor"))]
    else:
        others = [value for (_, name, peer), value in summary.items()
                  if name == row and peer not in BY_XDP]
    others = [other[goal.measure] for other in others if other]
    if not ours or not others:
        return None
    best = (max if goal.measure == "rate" else min)(others, key=lambda of: of["median"])
    ours = ours[goal.measure]
    ratios = [mine / best["by_round"][number] for number, mine in ours["by_round"].items()
              if number in best["by_round"]]
    return statistics.median(ratios) if ratios else ours["median"] / best["median"]


def number(measure, value):
    return f"{value / 1000:.1f}" if measure == "rate" else f"{value:.1f}"


def cell(row, value):
    """Median (least to most) of what the row measures."""
    if value is None:
        return ""
    parts = []
    for measure in row.measures:
        of = value[measure]
        name = "" if measure == "rate" else f"{measure} "
        parts.append(f"{name}{number(measure, of['median'])} ({number(measure, of['least'])} to "
                     f"{number(measure, of['most'])})")
    return ", ".join(parts)


def goals(summary, placement, names):
    """A table of the goals, and of how far it got."""
    lines = []
    for name in names:
        for goal in ROWS[name].goals:
            value = ratio(summary, placement, name, goal)
            if value is not None:
                met = "yes" if goal.is_met(value) else "no"
                lines.append(f"| {ROWS[name].title} | {goal} | {value:.2f} | {met} |")
    return ["", "| work | goal | measured | met |", "|---|---|---:|---|", *lines] if lines else []


def describe(settings, rounds):
    it = settings["machine"]
    threads = it["threads_of_server_core"] or ""
    shared = ", which share a core" if str(it["client_cpu"]) in threads.replace("-", ",").split(",") \
        else ""
    return [
        f"{it['date']}, {it['commit'] or 'no commit'}: {it['cpu']}, {it['cpus']} CPUs"
        f"{' of a virtual machine' if it['virtual'] else ''}, {it['memory_gib']} GiB, Linux "
        f"{it['kernel']}. Server on CPU {it['server_cpu']}, client on CPU {it['client_cpu']}{shared}. "
        f"One veth pair between two network namespaces, MTU 1500.",
        "",
        f"Medians (least to most) of {rounds} runs of {settings['duration']} s, all servers in "
        f"turn: thousands of requests per second, or microseconds for a message and its answer. Ratios are "
        f"medians of each round's. As root: `{settings['command']}`.",
    ]


def rounds(summary):
    """How often each was measured, in words."""
    counts = sorted({value["runs"] for value in summary.values()})
    return " to ".join(map(str, sorted({counts[0], counts[-1]})))


def markdown(settings, summary):
    lines = describe(settings, rounds(summary))
    for placement in settings["placements"]:
        lines += ["", f"### Received by the {placement}'s core", "", PLACEMENTS[placement].format(
            server=settings["machine"]["server_cpu"], client=settings["machine"]["client_cpu"])]
        names = [name for name in ROWS if any(key[:2] == (placement, name) for key in summary)]
        if any(ROWS[name].floats for name in names):
            lines[-1] += f" {FLOATING}"
        peers = [peer for peer in PEERS if peer in settings["peers"]]
        heads = ["work", *(PEERS[peer] for peer in peers)]
        lines += ["", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for name in names:
            row = ROWS[name]
            cells = [cell(row, summary.get((placement, name, peer))) for peer in peers]
            lines.append(f"| {row.title} | {' | '.join(cells)} |")
        lines += goals(summary, placement, names)
    return "\n".join([*lines, "", *notes(settings, summary)]) + "\n"


def notes(settings, summary):
    lines = []
    measured = {name for _, name, _ in summary}
    if any(goal.against == "kernel" for name in measured for goal in ROWS[name].goals):
        lines.append("The kernel's best is the best of its servers (nginx too) in all placements above.")
    shares = [value["others"] for value in summary.values()]
    if shares:
        lines.append(f"Meanwhile others took {min(shares):.1%} to {max(shares):.1%} of the CPUs (medians of "
                     f"each kind of run).")
    left_out = sum(value["left_out"] for value in summary.values())
    if left_out:
        total = left_out + sum(value["runs"] for value in summary.values())
        lines.append(f"{left_out} of {total} runs are left out, since others took more than {QUIET:.0%} then.")
    for (placement, name, peer), value in summary.items():
        if value["errors"]:
            lines.append(f"{PEERS[peer]}, {ROWS[name].title} ({placement}): {value['errors']} errors beside "
                         f"{value['requests']} answers.")
    if "nginx" not in settings["peers"]:
        lines.append("nginx was not there.")
    return [f"- {line}" for line in lines]
