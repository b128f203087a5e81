# SPDX-License-Identifier: MIT
"""A service manager as far as sockets go (sd_listen_fds(3)).

fake-manager.py SPEC... -- COMMAND...

Binds a socket for each SPEC, NAME=HOST:PORT (port 0: a free one; v6 in brackets)
or NAME=/path, and hands them to the command as descriptors 3, 4, ... Prints one
line with the addresses and one with the process id of the command. Keeps its own
copies, as systemd does, until standard input ends; says then how the command has
ended, and whether the sockets still listen.
"""

import os
import socket
import sys


def bind(address):
    if address.startswith("/"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
    else:
        host, _, port = address.rpartition(":")
        v6 = host.startswith("[")
        listener = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if v6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host.strip("[]"), int(port)))
    listener.listen(128)
    return listener


def name_of(listener):
    name = listener.getsockname()
    return name if isinstance(name, str) else f"{name[0]} {name[1]}"


def run(command, names, listeners):
    # Above the range that they go to, so that none is overwritten by another.
    high = [os.dup2(listener.fileno(), 100 + index) for index, listener in enumerate(listeners)]
    for index, descriptor in enumerate(high):
        os.dup2(descriptor, 3 + index, inheritable=True)
        os.close(descriptor)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(listeners))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.execvp(command[0], command)


def listens(listener):
    return listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def main():
    divider = sys.argv.index("--")
    specs = [spec.split("=", 1) for spec in sys.argv[1:divider]]
    listeners = [bind(address) for _, address in specs]
    print("bound", "|".join(name_of(listener) for listener in listeners), flush=True)
    child = os.fork()
    if child == 0:
        run(sys.argv[divider + 1 :], [name for name, _ in specs], listeners)
    print("started", child, flush=True)
    sys.stdin.read()
    _, status = os.waitpid(child, 0)
    alive = all(listens(listener) for listener in listeners)
    print("ended", os.waitstatus_to_exitcode(status), "listening" if alive else "closed", flush=True)


main()
