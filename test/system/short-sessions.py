# SPDX-License-Identifier: MIT
# Sessions that are opened and closed at once: short-sessions.py PORT COUNT SECONDS
#
# COUNT of them, or as many as SECONDS are enough for: a server process for each takes its time on a slow machine.
# Each asks the server whether it offers encryption (SSLRequest of PostgreSQL's protocol), which tells that the session
# is with a server, and leaves: every other one resets. Ends at the first that gets no answer; else prints `done N`.

import socket
import struct
import sys
import threading
import time

PORT, COUNT, SECONDS = (int(argument) for argument in sys.argv[1:])
AT_ONCE = 4
PATIENCE_S = 30
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# Closing sends RST instead of FIN (socket(7)).
RESET = struct.pack("ii", 1, 0)

END = time.monotonic() + SECONDS

failures = []
done = [0] * AT_ONCE


def come_and_go(thread):
    try:
        while done[thread] < COUNT // AT_ONCE and time.monotonic() < END:
            with socket.create_connection(("127.0.0.1", PORT), PATIENCE_S) as connection:
                connection.sendall(SSL_REQUEST)
                if connection.recv(1) not in (b"S", b"N"):
                    raise ConnectionError("closed without an answer")
                if done[thread] % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            done[thread] += 1
    except OSError as error:
        failures.append(error)


threads = [threading.Thread(target=come_and_go, args=(thread,)) for thread in range(AT_ONCE)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"a session failed: {failures[0]}")
print(f"done {sum(done)}")
