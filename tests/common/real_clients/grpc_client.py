"""Calls the service of grpc_app.py over one channel until its standard input is closed.

Prints the number of calls, of failed ones, and the first failure."""

import sys
import threading

import grpc

address, name, ca = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
options = [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
channel = grpc.secure_channel(address, credentials, options)
say = channel.unary_unary("/demo.Echo/Say")
count = channel.unary_stream("/demo.Echo/Count")

lock = threading.Lock()
stopped = threading.Event()
sent, failures = 0, []


def call_until_stopped(call, pause):
    global sent
    while not stopped.wait(pause):
        try:
            right = call()
            why = None if right else "a wrong answer"
        except grpc.RpcError as err:
            why = "%s: %s" % (err.code(), err.details())
        with lock:
            sent += 1
            if why:
                failures.append(why)


def unary():
    return say(b"you", timeout=10) == b"hello you"


def stream():
    return list(count(b"x", timeout=20)) == [b"%d x" % number for number in range(10)]


calls = [(unary, 0.01), (unary, 0.02), (stream, 0.01), (stream, 0.01)]
threads = [threading.Thread(target=call_until_stopped, args=call) for call in calls]
for thread in threads:
    thread.start()
sys.stdin.read()
stopped.set()
for thread in threads:
    thread.join()
print(sent, len(failures), failures[0] if failures else "")
