#!/usr/bin/env python3
"""Makes daily.csv and weekly.csv, six weeks of load each, for the forecast.

weeks.py [SEED [FOLDER]]: the files beside it have the default seed. Another seed gives other noise,
and other weeks for what is unlike the others.
"""

import math
import os
import random
import sys

SEED = 1876
STEP, DAY, WEEKS = 300, 86400, 6
WEEK = 7 * DAY


def hill(h, centre, width, height):
    return height * math.exp(-(((h - centre) / width) ** 2))


def plateau(h, begin, end, rise, height):
    up, down = (1 / (1 + math.exp(min(-(h - at) / rise, 700))) for at in (begin, end))
    return height * (up - down)


def every_day(h, _weekday, late):
    """A shop: opens at 8:00, busy in the evening, and a nightly import at 2:30."""
    load = 90 + plateau(h, 8, 23.2, 0.12, 190) + hill(h, 12.4, 1.1, 170) + hill(h, 20.1, 1.8, 430)
    return load + plateau(h - late, 2.5, 2.85, 0.015, 240)


def working_days(h, weekday, late):
    """An office application: steep at 8:30, a dip at lunch, and a newsletter on Tuesday at 10:00."""
    load = 70 + hill(h, 14, 5, 60)
    if weekday < 5:
        load += plateau(h, 8.5, 17.4, 0.11, 560) - hill(h, 12.6, 0.5, 180)
    if weekday == 1:
        load += plateau(h - late, 10, 10.4, 0.015, 300)
    return load


def rows(load, chance):
    """Unlike the others: a dead week, a day off, a spike that comes 20 minutes late or early."""
    others = chance.sample(range(2, WEEKS), 3)
    dead, off, shifted = others[0], others[1] * 7 + chance.randrange(5), others[2] * 7 + 1
    late = chance.choice((-1, 1)) / 3
    drift, busy = 0.0, 1.0
    for t in range(0, WEEKS * WEEK + 1, STEP):
        day, h = t // DAY, t % DAY / 3600
        if t % DAY == 0:
            busy = 1 + chance.uniform(-0.08, 0.08)
        # Noise that remembers: a busy minute is followed by another one rather than by a quiet one.
        drift = 0.8 * drift + chance.uniform(-0.04, 0.04)
        value = load(h, 6 if day == off else day % 7, late if day == shifted else 0)
        value *= 0.06 if day // 7 == dead else 0.4 if day == off else 1
        yield f"{t},{value * busy * (1 + drift):.1f}\n"


def write(folder, name, load, seed, about):
    head = [
        *about,
        "Unlike the others are a dead week, a day off, and a spike 20 minutes early or late.",
        "value is CPU %, summed over the replicas; six weeks from a Monday, 0:00, on.",
        f"Made by weeks.py: hills, steps, and noise, from {seed}.",
    ]
    text = "".join(f"# {line}\n" for line in head) + "time_s,value\n"
    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
        file.write(text + "".join(rows(load, random.Random(f"{name} {seed}"))))


seed = int(sys.argv[1]) if 1 < len(sys.argv) else SEED
here = sys.argv[2] if 2 < len(sys.argv) else os.path.dirname(os.path.abspath(__file__))
write(here, "daily.csv", every_day, seed, [
    "A shop that is the same every day, a row each 5 minutes: opens at 8:00, is busiest at 20:00, and",
    "imports its catalogue at 2:30.",
])
write(here, "weekly.csv", working_days, seed, [
    "An office application, a row each 5 minutes: working days with a dip at lunch, quiet weekends,",
    "and a newsletter on Tuesdays at 10:00.",
])
