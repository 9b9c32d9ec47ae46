"""Talks to websocket_app.py over connections of two seconds until its standard input is closed.

Prints the number of connections, of failed ones, and the first failure."""

import asyncio
import ssl
import sys

import websockets

address, name, ca = sys.argv[1:]
host, port = address.rsplit(":", 1)
context = ssl.create_default_context(cafile=ca)
sent, failures = 0, []


async def talk():
    options = {"host": host, "port": int(port), "server_hostname": name, "ssl": context}
    async with websockets.connect("wss://%s/" % name, **options) as websocket:
        for number in range(40):
            await websocket.send(str(number))
            answer = await asyncio.wait_for(websocket.recv(), 10)
            if answer != str(number):
                raise ValueError("%r came back" % answer)
            await asyncio.sleep(0.05)


async def talk_until(stopped):
    global sent
    while not stopped.is_set():
        try:
            await talk()
        except Exception as err:
            failures.append("%s: %s" % (type(err).__name__, err))
        sent += 1


async def main():
    stopped = asyncio.Event()
    talks = [asyncio.create_task(talk_until(stopped)) for _ in range(4)]
    await asyncio.to_thread(sys.stdin.read)
    stopped.set()
    await asyncio.gather(*talks)
    print(sent, len(failures), failures[0] if failures else "")


asyncio.run(main())
