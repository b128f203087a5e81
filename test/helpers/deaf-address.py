# SPDX-License-Identifier: MIT
# deaf-address.py HOST PORT: an address that takes no connection and refuses none, as a
# host that has vanished: it listens with a full queue, so the kernel drops every SYN
# (listen(2)). Says "deaf" when it is; ends when its standard input does.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((host, port))
listener.listen(0)
fillers = []
for _ in range(4):
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex((host, port))
    fillers.append(filler)
print("deaf", flush=True)
sys.stdin.read()
