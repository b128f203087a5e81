# SPDX-License-Identifier: MIT
# Clients that connect, log in and leave, again and again: connect-load.py PORT CLIENTS
#
# Prints `running` when each has logged in once. When its standard input ends, each connects once more; then it
# prints how all connections went and ends: {"ok": 1234, "refused": 0, ...}. Why there was another end than "ok" is in "why".
#
#   ok        logged in
#   refused   connect(2) failed: no socket was there to listen, or it was closed with clients in its queue
#   cut       connected, but then the connection was closed or reset before the log-in was over
#   rejected  an ErrorResponse of PostgreSQL's protocol

import collections
import json
import socket
import struct
import sys
import threading

PORT, CLIENTS = int(sys.argv[1]), int(sys.argv[2])
# Longer than any start takes: a client that waits is no failure.
PATIENCE_S = 30

PARAMETERS = b"user\0postgres\0database\0postgres\0\0"
STARTUP = struct.pack("!ii", 8 + len(PARAMETERS), 196608) + PARAMETERS
TERMINATE = b"X" + struct.pack("!i", 4)

stop = threading.Event()
lock = threading.Lock()
counts = collections.Counter(ok=0, refused=0, cut=0, rejected=0)
why = collections.Counter()
started = threading.Semaphore(0)


def receive(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def log_in(connection):
    connection.sendall(STARTUP)
    while True:
        kind, size = struct.unpack("!ci", receive(connection, 5))
        body = receive(connection, size - 4)
        if kind == b"E":
            return "rejected", body.decode(errors="replace").replace("\0", " ")
        if kind == b"Z":
            connection.sendall(TERMINATE)
            return "ok", None


def attempt():
    try:
        connection = socket.create_connection(("127.0.0.1", PORT), PATIENCE_S)
    except OSError as error:
        return "refused", str(error)
    with connection:
        try:
            return log_in(connection)
        except OSError as error:
            return "cut", str(error)


def client():
    first, last = True, False
    while not last:
        last = stop.is_set()
        outcome, reason = attempt()
        with lock:
            counts[outcome] += 1
            if reason is not None:
                why[f"{outcome}: {reason}"] += 1
        if first and outcome == "ok":
            first = False
            started.release()


threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
for thread in threads:
    thread.start()
for _ in threads:
    started.acquire()
print("running", flush=True)
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps({**counts, "why": why}), flush=True)
