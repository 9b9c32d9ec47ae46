#!/usr/bin/env python3
"""Makes day.csv and spike.csv, the load traces beside it: run it in its own folder."""

import math
import random


def hill(t, centre, width, height):
    return height * math.exp(-(((t - centre) / width) ** 2))


def day(t):
    h = t / 3600
    load = 38 + hill(h, 10.8, 2.4, 225) + hill(h, 15.2, 2.3, 190) + hill(h, 20.2, 1.7, 330)
    return load - hill(h, 13, 0.7, 45)


def spike(t):
    m = t / 60
    calm = 85 + 6 * math.sin(m / 4)
    rise, fall = (1 / (1 + math.exp(-(m - at) / 0.18)) for at in (15, 23))
    return calm * (1 + 5 * (rise - fall)) + (hill(m, 29, 1.6, 150) if m > 23 else 0)


def write(name, about, load, end, step, noise):
    # Noise that remembers: a busy minute is followed by another one rather than by a quiet one.
    chance, drift, rows = random.Random(1876), 0.0, []
    for t in range(0, end + 1, step):
        drift = 0.7 * drift + chance.uniform(-noise, noise)
        rows.append(f"{t},{load(t) * (1 + drift):.1f}\n")
    with open(name, "w", encoding="ascii") as file:
        file.write("".join(f"# {line}\n" for line in about) + "time_s,value\n" + "".join(rows))


write("day.csv", [
    "A day of web traffic from midnight on, a row a minute: a quiet night, a morning ramp, a dip",
    "at lunch, a peak at about 20:00. value is CPU %, summed over the replicas.",
    "Made by traces.py: three hills, less a dent, and noise.",
], day, 86400, 60, 0.05)
write("spike.csv", [
    "An hour with a spike, a row each 10 s: calm, six times as much from minute 15 to 23, an",
    "aftershock at minute 29, calm. value is CPU %, summed over the replicas.",
    "Made by traces.py: two logistic steps, a hill, and noise.",
], spike, 3600, 10, 0.035)
