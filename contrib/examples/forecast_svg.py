#!/usr/bin/env python3
"""Makes forecast.svg: a morning of weekly.csv, with the replicas without and with the forecast.

Run it in the root of the repository: forecast_svg.py path/to/plimsoll
"""

import json
import subprocess
import sys
import tempfile

CONFIG, TRACE, OUT = (f"contrib/examples/{name}" for name in ("forecast.json", "weekly.csv", "forecast.svg"))
DAY = 15  # the Tuesday of the third week
FROM, TO = DAY * 86400 + 7 * 3600, DAY * 86400 + 12 * 3600
TARGET, TOP = 70, 20
LEFT, RIGHT, UPPER, LOWER = 46, 776, 46, 290


def simulated(mode):
    with open(CONFIG, encoding="utf-8") as file, tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        config.write(file.read().replace('"mode": "on"', f'"mode": "{mode}"'))
        config.flush()
        with open(TRACE, encoding="ascii") as trace, tempfile.NamedTemporaryFile("w", suffix=".csv") as load:
            rows = (line for line in trace if line[0].isdigit())
            load.writelines(row for row in rows if int(row.split(",")[0]) <= TO + 300)
            load.flush()
            run = [sys.argv[1], "simulate", "--config", config.name, "--load", load.name, "--json"]
            run += ["--start", "2026-03-02", "--start-up", "30s"]
            output = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    points = [json.loads(line) for line in output.splitlines()]
    return [point for point in points if FROM <= point.get("t", 0) <= TO and "value" in point]


def x(t):
    return LEFT + (RIGHT - LEFT) * (t - FROM) / (TO - FROM)


def y(replicas):
    return LOWER - (LOWER - UPPER) * replicas / TOP


def steps(points, value):
    path, last = [], None
    for point in points:
        new = value(point)
        if new != last:
            path.append(f"H{x(point['t']):.1f}V{y(new):.1f}" if path else f"M{x(point['t']):.1f} {y(new):.1f}")
        last = new
    return "".join(path) + f"H{RIGHT}"


def text(left, top, words, more=""):
    return f'<text x="{left}" y="{top}" {more}>{words}</text>'


without, ahead = simulated("off"), simulated("on")
load = steps(without, lambda point: point["value"] / TARGET)
out = [
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 330" font-family="sans-serif" font-size="12">',
    "<title>Replicas without and with the forecast, over a morning</title>",
    '<rect width="800" height="330" fill="#fff"/>',
]
for count in range(0, TOP + 1, 5):
    out.append(f'<path d="M{LEFT} {y(count)}H{RIGHT}" stroke="#ddd"/>')
    out.append(text(LEFT - 8, y(count) + 4, count, 'text-anchor="end" fill="#555"'))
for hour in range(7, 13):
    at = x(DAY * 86400 + hour * 3600)
    out.append(text(f"{at:.0f}", LOWER + 18, f"{hour}:00", 'text-anchor="middle" fill="#555"'))
out.append(f'<path d="{load}V{LOWER}H{LEFT}Z" fill="#dbe7f3"/>')
out.append(f'<path d="{steps(without, lambda p: p["replicas"])}" fill="none" stroke="#b5541c" stroke-width="1.6"/>')
out.append(f'<path d="{steps(ahead, lambda p: p["replicas"])}" fill="none" stroke="#1b5e93" stroke-width="1.6"/>')
out.append(text(LEFT, 20, "load, in replicas that carry it at the threshold", 'fill="#5b7fa5"'))
out.append(text(330, 20, "replicas without the forecast", 'fill="#b5541c"'))
out.append(text(520, 20, "replicas with the forecast", 'fill="#1b5e93"'))
out.append("</svg>")
with open(OUT, "w", encoding="ascii") as file:
    file.write("\n".join(out) + "\n")
