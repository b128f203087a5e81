# SPDX-License-Identifier: MIT
# Tries what the gateway never does, and prints for each whether it could: {"write /etc": "yes", "ptrace": "EPERM"}.
# Run once as root without a sandbox, where all must be possible, and once in that of the service.
#   sandbox.py PID     PID is of a process of another user

import ctypes
import errno
import json
import os
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
other = int(sys.argv[1])
attempts = {}


def attempt(name):
    def note(function):
        try:
            function()
            attempts[name] = "yes"
        except OSError as error:
            attempts[name] = errno.errorcode.get(error.errno, str(error))

    return note


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def write(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, b"x")
    os.close(descriptor)
    os.unlink(path)


for folder in ["/etc", "/usr", "/var/lib", "/root", "/home", "/run", "/etc/pg-gateway"]:
    attempt(f"write {folder}")(lambda folder=folder: write(f"{folder}/sandbox-test"))


@attempt("read /root")
def _():
    os.listdir("/root")


@attempt("see other processes")
def _():
    with open(f"/proc/{other}/status", encoding="ascii") as status:
        status.read()


@attempt("signal another user's process")
def _():
    os.kill(other, 0)


@attempt("ptrace")
def _():
    # PTRACE_TRACEME needs no rights over anybody: only a filter refuses it.
    if os.fork() == 0:
        os._exit(0 if libc.ptrace(0, 0, None, None) == 0 else ctypes.get_errno())
    status = os.waitstatus_to_exitcode(os.wait()[1])
    if status != 0:
        raise OSError(status, "")


@attempt("raw socket")
def _():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


@attempt("packet socket")
def _():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@attempt("bind a privileged port")
def _():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 79))


@attempt("mount")
def _():
    check(libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None))
    check(libc.umount(b"/mnt"))


@attempt("new user namespace")
def _():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())
    status = os.waitstatus_to_exitcode(os.wait()[1])
    if status != 0:
        raise OSError(status, "")


@attempt("set the host name")
def _():
    name = socket.gethostname().encode()
    check(libc.sethostname(name, len(name)))


@attempt("become root")
def _():
    os.setuid(0)
    if os.geteuid() != 0:
        raise OSError(errno.EPERM, "")


@attempt("set-user-ID file")
def _():
    path = f"{os.environ.get('STATE_DIRECTORY', '/tmp')}/sandbox-test"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


# What it needs, it has.
@attempt("write its state")
def _():
    write(f"{os.environ.get('STATE_DIRECTORY', '/tmp')}/sandbox-test")


@attempt("TCP socket")
def _():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))


print(json.dumps(attempts))
