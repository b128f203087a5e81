# SPDX-License-Identifier: MIT
# Stops one thread of a process, as a bug would: the others run on. freeze-thread.py TID
#
# Prints `frozen` when it stands still, or `refused: WHY`; lets go when its standard input ends (or when it dies, as
# ptrace(2) says). SIGSTOP cannot do this: it stops all threads.

import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_DETACH = 17
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


thread = int(sys.argv[1])
try:
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WALL)
except OSError as error:
    print(f"refused: {error}", flush=True)
    sys.exit(1)
print("frozen", flush=True)
while os.read(sys.stdin.fileno(), 4096):
    pass
try:
    ptrace(PTRACE_DETACH, thread)
except ProcessLookupError:
    pass
