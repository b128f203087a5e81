# SPDX-License-Identifier: MIT
# What systemd does for a service, for tests: holds listening sockets, hands them over, takes notifications.
#
#   service-manager.py hold [--store] FOLDER NAME=KIND...   KIND: tcp4, tcp6, unix, unlistened, file, HOST:PORT, /PATH
#   service-manager.py exec FOLDER COMMAND...
#
# `hold` makes the sockets and keeps them until its standard input ends; FOLDER gets `control`, where it gives the
# descriptors to whoever connects, and `notify`, the NOTIFY_SOCKET. It prints one JSON object a line: first
# {"sockets": [...]}, then {"notification": TEXT} for each datagram. `exec` fetches the descriptors and becomes
# COMMAND, as sd_listen_fds(3) describes. With --store there is a file descriptor store, as sd_notify(3) has it
# (FDSTORE=1, FDSTOREREMOVE=1, FDNAME=): what is in it is given to the next process too.

import fcntl
import json
import os
import selectors
import socket
import sys

FIRST_FD = 3
MAX_FDS = 250


def open_socket(folder, number, name, kind):
    """A descriptor, and where clients reach it."""
    if kind == "file":
        path = os.path.join(folder, f"file-{number}")
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600), {"name": name, "host": path, "port": 0}
    if kind == "unix":
        # PostgreSQL's clients are given a folder and a port, and put this name together from them.
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(os.path.join(folder, f".s.PGSQL.{number}"))
        made.listen(128)
        return made.detach(), {"name": name, "host": folder, "port": number}
    if kind.startswith("/"):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(kind)
        made.listen(128)
        return made.detach(), {"name": name, "host": kind, "port": 0}
    host, port = "::1" if kind == "tcp6" else "127.0.0.1", 0
    if ":" in kind:
        host, port = kind.rsplit(":", 1)
    made = socket.socket(socket.AF_INET6 if kind == "tcp6" else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, int(port)))
    if kind != "unlistened":
        made.listen(128)
    port = made.getsockname()[1]
    return made.detach(), {"name": name, "host": host, "port": port}


def say(what):
    print(json.dumps(what), flush=True)


def take(text, fds, store):
    """A notification, and the descriptors that came with it."""
    assignments = dict(line.partition("=")[::2] for line in text.splitlines())
    name = assignments.get("FDNAME", "stored")
    if assignments.get("FDSTORE") == "1" and store is not None:
        store.extend((name, fd) for fd in fds)
        return
    for fd in fds:
        os.close(fd)
    if assignments.get("FDSTOREREMOVE") == "1" and store is not None:
        for entry in [entry for entry in store if entry[0] == name]:
            store.remove(entry)
            os.close(entry[1])


def listen_to(notify, store):
    """Takes all notifications that have arrived."""
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(notify, 65536, MAX_FDS)
        except BlockingIOError:
            return
        text = data.decode()
        take(text, fds, store)
        say({"notification": text})


def hold(folder, specifications, store):
    made = []
    for number, specification in enumerate(specifications, start=1):
        name, kind = specification.rsplit("=", 1)
        made.append(open_socket(folder, number, name, kind))
    names = [place["name"] for _, place in made]
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(os.path.join(folder, "control"))
    control.listen(16)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(os.path.join(folder, "notify"))
    notify.setblocking(False)
    say({"sockets": [place for _, place in made]})

    selector = selectors.DefaultSelector()
    for source in (control, notify, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                if not os.read(sys.stdin.fileno(), 4096):
                    return
            elif key.fileobj is notify:
                listen_to(notify, store)
            else:
                # What the last process said comes before the next begins.
                listen_to(notify, store)
                peer, _ = control.accept()
                given = list(zip(names, (fd for fd, _ in made))) + (store or [])
                socket.send_fds(peer, [json.dumps([name for name, _ in given]).encode()], [fd for _, fd in given])
                peer.close()


def become(folder, command):
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.connect(os.path.join(folder, "control"))
    message, received, _, _ = socket.recv_fds(control, 65536, MAX_FDS)
    control.close()
    names = json.loads(message)
    # Out of the way first: a descriptor that is received may have the number that another one must get.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST_FD + MAX_FDS) for fd in received]
    for fd in received:
        os.close(fd)
    for index, fd in enumerate(moved):
        os.dup2(fd, FIRST_FD + index, inheritable=True)
        os.close(fd)
    environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(folder, "notify"))
    if names:
        environment.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    store = None
    if rest[0] == "--store":
        store = []
        rest = rest[1:]
    folder, *rest = rest
    if mode == "hold":
        hold(folder, rest, store)
    else:
        become(folder, rest)
