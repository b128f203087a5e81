# SPDX-License-Identifier: MIT
# A slow and lossy link: what the kernel's netem does, for kernels without it. Makes
# two interfaces; each packet that goes into one comes out of the other DELAY
# milliseconds later, or, with a probability of LOSS percent, never.
#   slow-link.py NAME NAME DELAY LOSS
# Prints a line when both are there. Lives as long as its standard input.

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
LARGEST_PACKET = 65536


def interface(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def main():
    one, other = (interface(name) for name in sys.argv[1:3])
    delay = float(sys.argv[3]) / 1000
    loss = float(sys.argv[4]) / 100
    peer = {one: other, other: one}
    on_the_way = []
    sent = 0
    print("ready", flush=True)
    while True:
        wait = max(0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        readable, _, _ = select.select([0, one, other], [], [], wait)
        if 0 in readable and not os.read(0, 1024):
            return
        for fd in readable:
            if fd == 0:
                continue
            try:
                packet = os.read(fd, LARGEST_PACKET)
            except OSError:  # the interface is down
                continue
            if random.random() >= loss:
                sent += 1  # of packets that are due at one time, the first first
                heapq.heappush(on_the_way, (time.monotonic() + delay, sent, peer[fd], packet))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, _, fd, packet = heapq.heappop(on_the_way)
            try:
                os.write(fd, packet)
            except OSError:  # the interface is down
                pass


main()
