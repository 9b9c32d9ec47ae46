"""A gRPC service without generated code: Say answers, Count streams for a second."""

import sys
import time
from concurrent import futures

import grpc


def say(request, _context):
    return b"hello " + request


def count(request, _context):
    for number in range(10):
        time.sleep(0.1)
        yield b"%d %s" % (number, request)


handlers = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Count": grpc.unary_stream_rpc_method_handler(count),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", handlers),))
server.add_insecure_port("0.0.0.0:" + sys.argv[1])
server.start()
server.wait_for_termination()
