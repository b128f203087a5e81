# SPDX-License-Identifier: MIT
# Clients that write, and watchers that see which server accepts writes: load.py SPECIFICATION EVENTS
#
# The specification is JSON, made by load.ts, which also says what the events are; each is a line of JSON that is
# appended to the file by one write(2). Every client and every watcher is a process of its own. Runs until it is killed.
#
# Times are seconds of the system's clock, as the servers' own clock_timestamp() has them: all run on one machine.

import json
import os
import sys
import time

import psycopg2

INSERT = "INSERT INTO written (writer, n) VALUES (%s, %s) RETURNING port, timeline, extract(epoch FROM at)::float8"
# Longer than a gateway holds a client; one that gets no answer at all must not wait for ever.
CONNECT_TIMEOUT_S = 60
# After a failure: at once, but not so often that the clients alone would take the machine.
RETRY_S = 0.01
STANDBY_LOOK_S = 0.001
PRIMARY_LOOK_S = 0.02
DOWN_LOOK_S = 0.02


class Events:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def tell(self, **event):
        os.write(self.file, json.dumps(event).encode() + b"\n")


def connect(dsn):
    connection = psycopg2.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S)
    connection.autocommit = True
    return connection


def words(error):
    return " ".join(str(error).split())


class Writer:
    def __init__(self, events, name, dsn, fresh, pause):
        self.events, self.name, self.dsn, self.fresh, self.pause = events, name, dsn, fresh, pause
        self.n = 0

    def run(self):
        while True:
            connection = self.open()
            if connection is None:
                time.sleep(RETRY_S)
                continue
            self.use(connection)
            connection.close()

    def open(self):
        begun = time.time()
        try:
            return connect(self.dsn)
        except psycopg2.Error as error:
            now = time.time()
            self.events.tell(event="refused", writer=self.name, begun=begun, at=now, error=words(error))
            return None

    def use(self, connection):
        while self.write(connection) or not connection.closed:
            if self.fresh:
                return

    def write(self, connection):
        """One row; whether it was acknowledged. Its number is never used again."""
        self.n += 1
        try:
            with connection.cursor() as cursor:
                cursor.execute(INSERT, (self.name, self.n))
                port, timeline, written = cursor.fetchone()
        except psycopg2.Error as error:
            kind = "broken" if connection.closed else "rejected"
            now = time.time()
            self.events.tell(event=kind, writer=self.name, n=self.n, at=now, code=error.pgcode, error=words(error))
            time.sleep(RETRY_S)
            return False
        now = time.time()
        self.events.tell(
            event="row", writer=self.name, n=self.n, at=now, port=port, timeline=timeline, written=written
        )
        time.sleep(self.pause)
        return True


class Watcher:
    def __init__(self, events, port, dsn):
        self.events, self.port, self.dsn = events, port, dsn
        self.state = None

    def run(self):
        while True:
            try:
                connection = connect(self.dsn)
                while True:
                    self.look(connection)
            except psycopg2.Error:
                self.saw("down")
                time.sleep(DOWN_LOOK_S)

    def look(self, connection):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            standby = cursor.fetchone()[0]
        self.saw("standby" if standby else "primary")
        time.sleep(STANDBY_LOOK_S if standby else PRIMARY_LOOK_S)

    def saw(self, state):
        if state == self.state:
            return
        self.state = state
        self.events.tell(event="state", port=self.port, state=state, at=time.time())


def main(specification, path):
    workers = [
        *(lambda events, spec=spec: Writer(events, **spec) for spec in specification["writers"]),
        *(lambda events, spec=spec: Watcher(events, **spec) for spec in specification["watchers"]),
    ]
    for make in workers:
        if os.fork() == 0:
            make(Events(path)).run()
    os.wait()
    # None of them ends by itself.
    sys.exit("a client has ended; see above")


main(json.loads(sys.argv[1]), sys.argv[2])
