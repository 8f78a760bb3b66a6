"""The table as a picture: bars of the medians, lines from the least to the most."""

from html import escape

from report import rounds
from rows import PEERS, ROWS

COLOURS = {"corelane": "#0b6e4f", "floor": "#9aa5b1", "epoll": "#c8553d", "spinning": "#e09f3e",
           "nginx": "#7a6c9d"}
WIDTH, LABEL, VALUE = 860, 190, 150
BAR, GAP, HEAD = 16, 4, 26


def svg(settings, summary):
    parts, y = [], 16
    it = settings["machine"]
    parts.append(text(12, y, f"{it['date']}, {it['commit'] or 'no commit'}, {it['cpu']}, Linux "
                      f"{it['kernel']}; medians, least and most of {rounds(summary)} runs", "note"))
    for placement in settings["placements"]:
        for name, row in ROWS.items():
            for measure in row.measures:
                bars = [(peer, summary[placement, name, peer][measure]) for peer in PEERS
                        if (placement, name, peer) in summary]
                if bars:
                    y = group(parts, y + HEAD, f"{row.title} ({placement})", measure, bars)
    height = y + 16
    style = ("text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.value{font-size:11px}"
             ".note{font-size:11px;fill:#555}line{stroke:#222}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img"><title>scripts/bench</title>'
            f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def group(parts, y, title, measure, bars):
    """One row's bars, on a scale of their own that begins at nothing; returns where they end."""
    unit = "1,000/s, more is better" if measure == "rate" else f"{measure}, us, less is better"
    parts.append(text(12, y, title, "title"))
    parts.append(text(WIDTH - 12, y, unit, "note", anchor="end"))
    y += 8
    largest = max(of["most"] for _, of in bars)
    scale = (WIDTH - LABEL - VALUE) / largest
    for peer, of in bars:
        middle = y + BAR / 2
        parts.append(text(LABEL - 8, middle + 4, PEERS[peer], anchor="end"))
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{of["median"] * scale:.1f}" height="{BAR}" '
                     f'fill="{COLOURS[peer]}"/>')
        least, most = (LABEL + of[key] * scale for key in ("least", "most"))
        parts.append(f'<line x1="{least:.1f}" y1="{middle}" x2="{most:.1f}" y2="{middle}"/>')
        for end in (least, most):
            parts.append(f'<line x1="{end:.1f}" y1="{middle - 4}" x2="{end:.1f}" y2="{middle + 4}"/>')
        divisor = 1000 if measure == "rate" else 1
        parts.append(text(WIDTH - VALUE + 12, middle + 4, f"{of['median'] / divisor:.1f} "
                          f"({of['least'] / divisor:.1f} to {of['most'] / divisor:.1f})", "value"))
        y += BAR + GAP
    return y


def text(x, y, words, kind=None, anchor=None):
    extra = f' class="{kind}"' if kind else ""
    extra += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x}" y="{y}"{extra}>{escape(words)}</text>'
