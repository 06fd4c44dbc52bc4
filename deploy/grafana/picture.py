#!/usr/bin/env python3
"""Draws what Prometheus has seen of crm-processor, for a report about an incident: panels of the dashboard beside this file, and
above them which alerts fired when.

    python3 -m venv venv && venv/bin/pip install matplotlib
    venv/bin/python deploy/grafana/picture.py --prometheus http://127.0.0.1:9090 --minutes 90 incident.png
    venv/bin/python deploy/grafana/picture.py --minutes 90 --panel "Conflicts" --panel "Time of an operation, p99" incident.png

`--from` and `--to` in seconds since 1970 go over `--minutes`. `--mark FROM:TO:TEXT` shades a time.
"""

import argparse
import io
import json
import pathlib
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image  # matplotlib needs it, too

DASHBOARD = pathlib.Path(__file__).parent / "dashboards" / "crm-processor.json"
PANELS = [
    "Commands answered, by status",
    "Time to the answer, p99",
    "Lag in records, by partition",
    "Up",
    "Partitions and rebalances",
    "Connections and recreations",
    "Dead letters, by reason",
    "Memory",
]
# So many points are enough for the width of a panel.
POINTS = 300
# What a rate is taken over must hold some scrapes.
SCRAPES = 4
# In the file: lines and text need no more, and a page with pictures is quick to load.
COLOURS = 64


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--from", dest="begin", type=float, metavar="SECONDS")
    parser.add_argument("--to", dest="end", type=float, metavar="SECONDS")
    parser.add_argument("--panel", action="append", help="a title of the dashboard; may be given again")
    parser.add_argument("--mark", action="append", default=[], metavar="FROM:TO:TEXT")
    parser.add_argument("file")
    given = parser.parse_args()
    given.end = given.end or time.time()
    given.begin = given.begin or given.end - given.minutes * 60
    given.step = max((given.end - given.begin) / POINTS, 1)
    return given


def ask(given, path, **parameters):
    url = f"{given.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]


def series(given, expression):
    """Of each series its labels, and its points as minutes and values, with a point of no value in each gap."""
    data = ask(given, "query_range", query=expression, start=given.begin, end=given.end, step=given.step)
    for found in data["result"]:
        points = []
        for at, value in found["values"]:
            if points and at - last > 1.5 * given.step:
                points.append(((at + last) / 2, float("nan")))
            points.append((at, float(value)))
            last = at
        yield found["metric"], [((at - given.begin) / 60, value) for at, value in points]


def scrape_interval(given):
    """The time between two scrapes, in seconds, from the processes' own series."""
    window = int(given.end - given.begin) + 1
    counts = ask(given, "query", query=f"max(count_over_time(up[{window}s]))", time=given.end)["result"]
    return window / max(float(counts[0]["value"][1]), 1) if counts else 15


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return form


def draw_panel(given, axes, panel, interval):
    rate = f"{max(int(SCRAPES * interval), 4)}s"
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", rate).replace("$instance", ".+")
        for labels, points in series(given, expression):
            if any(value == value for _, value in points):
                axes.plot(*zip(*points), linewidth=1, label=legend(target["legendFormat"], labels))
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    if unit == "bytes":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value / 2**20:.0f} MiB")
        unit = ""
    axes.set_title(f"{panel['title']} ({unit})" if unit not in ("", "short") else panel["title"], fontsize=9, loc="left")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(fontsize=6, loc="best", framealpha=0.6)


def draw_alerts(given, axes):
    """A bar for each time in which an alert fired; the time in which it was pending is paler."""
    rows = {}
    for labels, points in series(given, 'count by (alertname, alertstate) (ALERTS{alertname=~"Crm.+"})'):
        row = rows.setdefault(labels["alertname"], len(rows))
        for at, _ in (point for point in points if point[1] == point[1]):
            firing = labels["alertstate"] == "firing"
            axes.barh(row, given.step / 60, left=at, color="tab:red" if firing else "mistyrose", zorder=2 if firing else 1)
    axes.set_yticks(range(len(rows)), rows.keys(), fontsize=7)
    axes.invert_yaxis()
    axes.set_title("Alerts: pending (pale), firing", fontsize=9, loc="right", pad=14)


def main():
    given = arguments()
    panels = {p["title"]: p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] == "timeseries"}
    chosen = [panels[title] for title in given.panel or PANELS]
    rows = (len(chosen) + 1) // 2
    figure = plt.figure(figsize=(14, 2.4 + 2 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 2)
    alerts = figure.add_subplot(grid[0, :])
    draw_alerts(given, alerts)
    interval = scrape_interval(given)
    all_axes = [alerts]
    for number, panel in enumerate(chosen):
        axes = figure.add_subplot(grid[1 + number // 2, number % 2])
        draw_panel(given, axes, panel, interval)
        all_axes.append(axes)
    for axes in all_axes:
        axes.set_xlim(0, (given.end - given.begin) / 60)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        for mark in given.mark:
            begin, end, text = mark.split(":", 2)
            begin, end = ((float(at) - given.begin) / 60 for at in (begin, end))
            axes.axvspan(begin, end, color="tab:gray", alpha=0.15, zorder=0)
            if axes is alerts:
                axes.annotate(text, (begin, 1.02), xycoords=("data", "axes fraction"), fontsize=7, ha="left")
    for axes in all_axes[-2:]:
        axes.set_xlabel("minutes", fontsize=7)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(given.file, optimize=True)


main()
