# SPDX-License-Identifier: MIT
# What a bug does to one thread of a process while the others run on, by ptrace(2): thread-fault.py WHAT TID
#
#   freeze   stands still; prints `frozen`, and lets it go when its standard input ends (or when it dies). SIGSTOP
#            cannot do this: it stops all threads.
#   crash    goes on at an address where no code is; prints `crashing`. kill(1) cannot do this: a signal that is sent
#            to a process goes to any thread that does not block it, and the one of the thread's own fault cannot be
#            blocked.
#
# or prints `refused: WHY`.

import ctypes
import os
import platform
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_DETACH = 17
PTRACE_GETREGSET = 0x4204
PTRACE_SETREGSET = 0x4205
WALL = 0x40000000
NT_PRSTATUS = 1
# Which word of the general registers has the address of the next instruction (sys/user.h, asm/ptrace.h).
PROGRAM_COUNTER = {"x86_64": 16, "aarch64": 32}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Buffer(ctypes.Structure):
    """struct iovec"""

    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def ptrace(request, thread, address=None, data=None):
    if libc.ptrace(request, thread, address, data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def stop(thread):
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WALL)


def lead_astray(thread):
    registers = (ctypes.c_uint64 * 64)()
    buffer = Buffer(ctypes.addressof(registers), ctypes.sizeof(registers))
    ptrace(PTRACE_GETREGSET, thread, NT_PRSTATUS, ctypes.addressof(buffer))
    registers[PROGRAM_COUNTER[platform.machine()]] = 0
    ptrace(PTRACE_SETREGSET, thread, NT_PRSTATUS, ctypes.addressof(buffer))


what, thread = sys.argv[1], int(sys.argv[2])
try:
    stop(thread)
    if what == "crash":
        lead_astray(thread)
except OSError as error:
    print(f"refused: {error}", flush=True)
    sys.exit(1)
print("crashing" if what == "crash" else "frozen", flush=True)
if what == "freeze":
    while os.read(sys.stdin.fileno(), 4096):
        pass
try:
    ptrace(PTRACE_DETACH, thread)
except ProcessLookupError:
    pass
