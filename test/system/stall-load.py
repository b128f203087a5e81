# SPDX-License-Identifier: MIT
# Sessions that ask and wait for the answer, again and again: stall-load.py PORT SESSIONS PAUSE_MS
# The pauses are half to one and a half of that, by chance, so that a stall does not bring them into step.
#
# Prints `running` when each has had an answer. When its standard input ends, it prints what it saw and ends:
#   {"queries": 1234, "failed": 0, "why": [], "longest_ms": 51.2}
# `failed` counts sessions that ended or answered wrongly; `longest_ms` is the longest wait for an answer.

import json
import os
import random
import selectors
import socket
import struct
import sys
import time

PORT, SESSIONS, PAUSE_S = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000
LOG_IN_PATIENCE_S = 30
ANSWER_PATIENCE_S = 30

PARAMETERS = b"user\0postgres\0database\0postgres\0\0"
STARTUP = struct.pack("!ii", 8 + len(PARAMETERS), 196608) + PARAMETERS


def messages(data):
    """The types and bodies of whole messages, and the rest."""
    found = []
    while len(data) >= 5:
        kind, size = struct.unpack_from("!ci", data)
        if len(data) < size + 1:
            break
        found.append((kind, data[5 : size + 1]))
        data = data[size + 1 :]
    return found, data


class Session:
    def __init__(self, number):
        self.number = number
        self.count = 0
        self.rest = b""
        self.seen = []
        self.asked_at = None
        self.ask_at = 0.0
        self.connection = socket.create_connection(("127.0.0.1", PORT), LOG_IN_PATIENCE_S)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(STARTUP)
        while not any(kind == b"Z" for kind, _ in self.seen):
            self.read()
        self.seen = []
        self.connection.setblocking(False)

    def read(self):
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("closed")
        found, self.rest = messages(self.rest + data)
        self.seen += found
        if any(kind == b"E" for kind, _ in found):
            raise ConnectionError(found[0][1].decode(errors="replace").replace("\0", " "))

    def ask(self, now):
        self.count += 1
        query = f"SELECT '{self.number}:{self.count}'".encode() + b"\0"
        self.asked_at = now
        self.connection.send(b"Q" + struct.pack("!i", 4 + len(query)) + query)

    def answered(self, now):
        """How long it took, or None if the answer is not whole yet."""
        self.read()
        if not any(kind == b"Z" for kind, _ in self.seen):
            return None
        rows = [body[6:] for kind, body in self.seen if kind == b"D"]
        if rows != [f"{self.number}:{self.count}".encode()]:
            raise ConnectionError(f"a wrong answer: {rows}")
        self.seen = []
        took = now - self.asked_at
        self.asked_at = None
        self.ask_at = now + PAUSE_S * random.uniform(0.5, 1.5)
        return took


def main():
    selector = selectors.DefaultSelector()
    sessions = [Session(number) for number in range(SESSIONS)]
    for session in sessions:
        selector.register(session.connection, selectors.EVENT_READ, session)
    selector.register(sys.stdin, selectors.EVENT_READ)
    queries, longest, why = 0, 0.0, []
    told, stopping = False, False

    def lose(session, reason):
        why.append(f"{session.number}: {reason}")
        selector.unregister(session.connection)
        sessions.remove(session)

    while sessions and not (stopping and all(session.asked_at is None for session in sessions)):
        now = time.monotonic()
        for session in list(sessions):
            if session.asked_at is None and session.ask_at <= now and not stopping:
                try:
                    session.ask(now)
                except OSError as error:
                    lose(session, error)
            elif session.asked_at is not None and now - session.asked_at > ANSWER_PATIENCE_S:
                lose(session, "no answer")
        # Not past the next question: while nothing is answered nothing else would wake it.
        due = min((session.ask_at for session in sessions if session.asked_at is None), default=now + 1)
        for key, _ in selector.select(max(0.0, min(due - now, 1.0))):
            if key.data is None:
                stopping = not os.read(sys.stdin.fileno(), 4096)
                if stopping:
                    selector.unregister(sys.stdin)
                continue
            try:
                took = key.data.answered(time.monotonic())
            except OSError as error:
                lose(key.data, error)
                continue
            if took is not None:
                queries += 1
                longest = max(longest, took)
        if not told and all(session.count > 1 for session in sessions):
            told = True
            # What the beginning cost is not what is measured.
            longest = 0.0
            print("running", flush=True)
    outcome = {"queries": queries, "failed": len(why), "why": why[:5], "longest_ms": round(longest * 1000, 1)}
    print(json.dumps(outcome), flush=True)


main()
