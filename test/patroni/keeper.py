# SPDX-License-Identifier: MIT
# Runs a program and answers for all that comes of it: keeper.py COMMAND...
#
# Patroni and pg_ctl leave a postmaster behind that is nobody's child. It becomes this one's (PR_SET_CHILD_SUBREAPER,
# prctl(2)), so whoever started the keeper finds every process below it. When standard input ends, as it does when that
# one dies, all of them are killed. The keeper lives until the last has ended.
#
# Prints `pid N` when the program runs and `status N` when it has ended; its output goes to standard error.

import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_CHILD_SUBREAPER = 36


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def descendants(pid):
    for child in children(pid):
        yield child
        yield from descendants(child)


def kill_all():
    # Again and again: what is killed may just have started another one.
    while found := list(descendants(os.getpid())):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        ended.wait(0.01)


def kill_when_left_alone():
    while os.read(0, 4096):
        pass
    kill_all()


ended = threading.Event()
if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
# It ends when they have: a signal for all of them is not meant for it.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)


def as_usual():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=2, preexec_fn=as_usual)
print(f"pid {program.pid}", flush=True)
threading.Thread(target=kill_when_left_alone, daemon=True).start()
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    if pid == program.pid:
        print(f"status {os.waitstatus_to_exitcode(status)}", flush=True)
ended.set()
