# SPDX-License-Identifier: MIT
# Sessions that are opened and closed at once: short-sessions.py PORT COUNT
#
# Each asks the server whether it offers encryption (SSLRequest of PostgreSQL's protocol), which tells that the session
# is with a server, and leaves: every other one resets. Ends at the first that gets no answer; else prints `done COUNT`.

import socket
import struct
import sys
import threading

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
AT_ONCE = 4
PATIENCE_S = 30
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# Closing sends RST instead of FIN (socket(7)).
RESET = struct.pack("ii", 1, 0)

failures = []


def come_and_go(count):
    try:
        for number in range(count):
            with socket.create_connection(("127.0.0.1", PORT), PATIENCE_S) as connection:
                connection.sendall(SSL_REQUEST)
                if connection.recv(1) not in (b"S", b"N"):
                    raise ConnectionError("closed without an answer")
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    except OSError as error:
        failures.append(error)


threads = [threading.Thread(target=come_and_go, args=(COUNT // AT_ONCE,)) for _ in range(AT_ONCE)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"a session failed: {failures[0]}")
print(f"done {COUNT // AT_ONCE * AT_ONCE}")
