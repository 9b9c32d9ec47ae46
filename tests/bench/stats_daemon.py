"""What plimsoll's job costs the way that suggests itself: a daemon in Python that asks Docker for the
statistics of each container, averages the CPU and decides by two thresholds.

Usage: stats_daemon.py SOCKET LABEL INTERVAL_SECONDS [--one-shot]

By default Docker takes two samples a second apart for each answer, which has both in it. With
--one-shot it takes one and answers at once, and the sample before is kept here. One thread for each
container asks over a connection of its own that stays open. Each look prints a line of JSON.
"""

import http.client
import json
import os
import socket
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

UP, DOWN = 75.0, 25.0
THREADS_MAX = 64
OWN = threading.local()


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(docker, path):
    if not hasattr(OWN, "connection"):
        OWN.connection = Connection(docker)
    try:
        OWN.connection.request("GET", path)
        response = OWN.connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        OWN.connection.close()  # the next request opens it again
        raise
    if response.status != 200:
        raise OSError(f"{path}: status {response.status}")
    return json.loads(body)


def containers(docker, label):
    filters = urllib.parse.quote(json.dumps({"label": [label], "status": ["running"]}))
    return [c["Id"] for c in ask(docker, f"/containers/json?filters={filters}")]


def used(sample):
    """CPU nanoseconds of the container, and when they were read."""
    return sample["cpu_usage"]["total_usage"], sample.get("system_cpu_usage", 0)


def percent(before, after, cores):
    system = after[1] - before[1]
    return 100.0 * cores * (after[0] - before[0]) / system if system > 0 else None


def look(docker, label, one_shot, pool, earlier):
    query = "?stream=false&one-shot=true" if one_shot else "?stream=false"

    def load(container):
        stats = ask(docker, f"/containers/{container}/stats{query}")
        after = used(stats["cpu_stats"])
        before = earlier.get(container) if one_shot else used(stats["precpu_stats"])
        return container, after, before and percent(before, after, os.cpu_count())

    answers = list(pool.map(load, containers(docker, label)))
    loads = [each for _, _, each in answers if each is not None]
    average = sum(loads) / len(loads) if loads else None
    if average is None:
        verdict = "unknown"
    else:
        verdict = "up" if average >= UP else "down" if average <= DOWN else "keep"
    samples = {container: after for container, after, _ in answers}
    return samples, average, verdict


def main():
    docker, label, interval = sys.argv[1:4]
    one_shot = sys.argv[4:] == ["--one-shot"]
    earlier = {}
    due = time.monotonic()
    with ThreadPoolExecutor(THREADS_MAX) as pool:
        while True:
            begun = time.monotonic()
            earlier, average, verdict = look(docker, label, one_shot, pool, earlier)
            took_ms = round(1000 * (time.monotonic() - begun), 1)
            line = {"containers": len(earlier), "ms": took_ms, "cpu": average, "verdict": verdict}
            print(json.dumps(line), flush=True)
            due = max(due + float(interval), time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


main()
