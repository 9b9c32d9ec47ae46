#!/usr/bin/env python3
"""Clients that count what they lose: GETs, each on a connection of its own, until SIGTERM.

usage: load.py RESULT URL CLIENTS PAUSE_S TIMEOUT_S

RESULT then has `REQUESTS FAILED GAP_S REASON`: the longest time between two good responses, and the
reason of the first failure.
"""
import http.client
import os
import signal
import sys
import threading
import time
import urllib.parse

ENOUGH = threading.Event()


class Count:
    def __init__(self):
        self.lock = threading.Lock()
        self.requests = self.failed = 0
        self.gap = 0.0
        self.last_good = time.monotonic()
        self.reason = "-"

    def add(self, reason):
        with self.lock:
            now = time.monotonic()
            self.requests += 1
            if reason:
                self.failed += 1
                if self.failed == 1:
                    self.reason = time.strftime("%H:%M:%S ") + reason
            else:
                self.gap = max(self.gap, now - self.last_good)
                self.last_good = now


def get(url, timeout):
    """None, or why it failed."""
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    try:
        path = url.path + ("?" + url.query if url.query else "")
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        return None if response.status == 200 else f"status {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def client(url, pause, timeout, count):
    while not ENOUGH.is_set():
        reason = get(url, timeout)
        count.add(reason)
        ENOUGH.wait(max(pause, 0.2) if reason else pause)


def main():
    result, url, clients, pause, timeout = sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ENOUGH.set())
    count = Count()
    arguments = (urllib.parse.urlsplit(url), float(pause), float(timeout), count)
    threads = [threading.Thread(target=client, args=arguments) for _ in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gap = max(count.gap, time.monotonic() - count.last_good)
    with open(result + ".new", "w", encoding="utf-8") as file:
        file.write(f"{count.requests} {count.failed} {gap:.1f} {count.reason}\n")
    os.rename(result + ".new", result)


main()
