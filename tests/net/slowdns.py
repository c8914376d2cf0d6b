#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A DNS server far away: slowdns.py ADDRESS DELAY_MS

mN.slow.test has 64 addresses out of 512 in 198.19.0.0/16; every answer is late. UDP
only, until killed.
"""
import collections
import select
import socket
import struct
import sys
import time


def answer(data):
    at, labels = 12, []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    number = int(labels[0][1:])
    records = b""
    for k in range(64):
        n = (number * 37 + k * 5) % 512
        records += struct.pack(">HHHIHBBBB", 0xc00c, 1, 1, 60, 4, 198, 19, n // 200, n % 200 + 1)
    opt = struct.pack(">BHHIH", 0, 41, 1232, 0, 0)
    return (data[:2] + struct.pack(">HHHHH", 0x8180, 1, 64, 0, 1) + data[12:at + 5]
            + records + opt)


def main():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((sys.argv[1], 53))
    delay = float(sys.argv[2]) / 1000
    late = collections.deque()
    while True:
        wait = max(0, late[0][0] - time.monotonic()) if late else None
        if select.select([s], [], [], wait)[0]:
            data, peer = s.recvfrom(4096)
            late.append((time.monotonic() + delay, answer(data), peer))
        while late and late[0][0] <= time.monotonic():
            s.sendto(late[0][1], late[0][2])
            late.popleft()


main()
