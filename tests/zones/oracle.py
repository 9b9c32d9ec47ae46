"""The course of windows by another implementation of the zone rules: Python's zoneinfo.

Reads the same config as plimsoll, from a file named first, and prints for each service one line of
JSON: the name, then a list of [unix seconds, min, max, scaling, window] from the second argument to
the third (unix seconds). Written from the rules, not from the program.
"""

import datetime as dt
import json
import sys
from zoneinfo import ZoneInfo

UTC = dt.timezone.utc
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def exists(local, zone):
    """Both readings of a local time that survive the way to UTC and back."""
    found = []
    for fold in (0, 1):
        at = local.replace(tzinfo=zone, fold=fold)
        back = at.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0)
        if back == local:
            found.append(int(at.timestamp()))
    return sorted(set(found))


def after_gap(local, zone):
    """The first instant whose local time is not before `local`, by halving."""
    guess = int(local.replace(tzinfo=UTC).timestamp())
    low, high = guess - 2 * 86400, guess + 2 * 86400
    while low + 1 < high:
        middle = (low + high) // 2
        if dt.datetime.fromtimestamp(middle, zone).replace(tzinfo=None, fold=0) < local:
            low = middle
        else:
            high = middle
    return high


def instant(day, text, zone, is_start):
    hours, minutes = (int(part) for part in text.split(":"))
    local = dt.datetime.combine(day, dt.time()) + dt.timedelta(hours=hours, minutes=minutes)
    found = exists(local, zone)
    if not found:
        return after_gap(local, zone)
    return found[0] if is_start else found[-1]


def spans(window, first, last):
    """(start, end) of every day of a window, in order."""
    zone = ZoneInfo(window.get("timezone", "UTC"))
    days = {DAYS.index(d) for d in window.get("days", DAYS)}
    holidays = {dt.date.fromisoformat(d) for d in window.get("holidays", [])}
    crosses = window["end"] <= window["start"]
    prewarm = int(window.get("prewarm", "0s").rstrip("s"))
    day = first
    while day <= last:
        if day.weekday() in days and day not in holidays:
            end_day = day + dt.timedelta(days=1) if crosses else day
            start = instant(day, window["start"], zone, True) - prewarm
            yield start, instant(end_day, window["end"], zone, False)
        day += dt.timedelta(days=1)


def course(service, begin, until):
    first = dt.datetime.fromtimestamp(begin, UTC).date() - dt.timedelta(days=4)
    last = dt.datetime.fromtimestamp(until, UTC).date() + dt.timedelta(days=4)
    windows = list(service.get("schedules", []))
    if service.get("business_hours_only"):
        windows.append(service["business_hours"])
    changes = {}
    for number, window in enumerate(windows):
        for start, end in spans(window, first, last):
            if start < end:
                changes.setdefault(start, []).append((number, 1))
                changes.setdefault(end, []).append((number, -1))
    open_now = [0] * len(windows)
    rows = []

    def note(at):
        scaling = not service.get("business_hours_only") or open_now[-1] > 0
        low, high, name = service["min_replicas"], service["max_replicas"], None
        if not scaling and service.get("outside_hours", "hold") != "hold":
            outside = service["outside_hours"]
            low = high = low if outside == "min" else outside
        for number, window in enumerate(service.get("schedules", [])):
            if open_now[number] > 0:
                low, high, name = window["min_replicas"], window["max_replicas"], window["name"]
                break
        state = [low, high, scaling, name]
        if not rows or rows[-1][1:] != state:
            rows.append([at, *state])

    noted = False
    for at in sorted(changes):
        if at > begin and not noted:
            note(begin)
            noted = True
        if at >= until:
            break
        for number, step in changes[at]:
            open_now[number] += step
        if at > begin:
            note(at)
    if not noted:
        note(begin)
    return rows


def main():
    path, begin, until = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(path, encoding="utf-8") as file:
        services = json.load(file)["services"]
    for name, service in services.items():
        print(json.dumps([name, course(service, begin, until)]))


main()
