# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scapy_*.py scripts share: a client's and the uplink's wire in one process,
so that one script is both ends and sees all of what came out of the firewall.

The rig's names and addresses come in through the environment (scenario_60).
"""
import ctypes
import os
import random
import select
import socket
import struct
import sys
import time

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

ENV = os.environ
FAMILY = int(sys.argv[1])
V6 = FAMILY == 6
SUFFIX = "6" if V6 else ""
FW = ENV["FW_IP" + SUFFIX]
GATEWAY = ENV["UP_IP" + SUFFIX]
# Nobody's address upstream (a blackhole route): the script is this host
FAR = "2001:db8:dead::7" if V6 else "203.0.113.7"
OTHER = "2001:db8:dead::8" if V6 else "203.0.113.8"
MTU = 1500
UDP_P, TCP_P, ICMP_P = 17, 6, 58 if V6 else 1
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
RNG = random.Random(4179)


class Wire:
    """A device in a namespace of the rig, below its kernel."""

    def __init__(self, ns, dev, mac, peer_mac):
        self.mac, self.peer_mac = mac, peer_mac
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open("/run/netns/%s-%s" % (ENV["NS"], ns), os.O_RDONLY)
        self.enter(there)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.sock.bind((dev, 3))
        self.enter(own)
        os.close(own)
        os.close(there)

    @staticmethod
    def enter(fd):
        if LIBC.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def send(self, packet):
        """An IP packet, with our and the firewall's MAC in front of it"""
        kind = 0x86DD if bytes(packet)[0] >> 4 == 6 else 0x0800
        frame = bytes.fromhex((self.peer_mac + self.mac).replace(":", ""))
        self.sock.send(frame + struct.pack("!H", kind) + bytes(packet))

    def arrived(self, seconds, enough=None):
        """IP packets of our family that come in; until enough(list) says so"""
        got, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.sock], [], [], left)[0]:
                break
            data, where = self.sock.recvfrom(70000)
            if where[2] == socket.PACKET_OUTGOING:
                continue
            if struct.unpack("!H", data[12:14])[0] != (0x86DD if V6 else 0x0800):
                continue
            packet = (IPv6 if V6 else IP)(data[14:])
            if V6 and packet.nh == 58 and bytes(packet)[40] in range(133, 138):
                continue  # neighbour discovery is another script's business
            got.append(packet)
            if enough and enough(got):
                break
        return got

    def drain(self):
        while select.select([self.sock], [], [], 0)[0]:
            self.sock.recv(70000)


def client(n):
    wire = Wire("c%d" % n, "c%d" % n, ENV["MAC%d" % n], ENV["BACKEND_MAC"])
    wire.ip = ENV["CLIENT%d_IP%s" % (n, SUFFIX)]
    return wire


def uplink():
    return Wire("up", "up0", ENV["BACKEND_MAC"], ENV["UPLINK_MAC"])


def header(src, dst, **more):
    return IPv6(src=src, dst=dst, **more) if V6 else IP(src=src, dst=dst, **more)


def upper(src, dst, layer):
    """The bytes above the IP header, their checksum included"""
    return bytes(header(src, dst) / layer)[40 if V6 else 20:]


def piece(src, dst, ident, offset, data, more, proto, **fields):
    """One fragment. The offset is in bytes; fields are of the IP header."""
    if V6:
        chain = fields.pop("chain", b"")
        first = fields.pop("first", 44)
        head = struct.pack("!BBHI", proto, 0, offset & 0xFFF8 | int(more), ident)
        return IPv6(src=src, dst=dst, nh=first, plen=len(chain) + 8 + len(data), **fields) / Raw(
            chain + head + data)
    flags = ("MF" if more else "") + fields.pop("flags", "")
    # scapy takes flags together as "MF+DF"
    flags = "MF+DF" if flags == "MFDF" else flags
    return IP(src=src, dst=dst, id=ident & 0xFFFF, frag=offset // 8, flags=flags, proto=proto,
              **fields) / Raw(data)


def cut(src, dst, ident, data, size, proto, **fields):
    """A datagram in fragments of that many bytes"""
    return [piece(src, dst, ident, at, data[at:at + size], at + size < len(data), proto, **fields)
            for at in range(0, len(data), size)]


def parts(packet):
    """(ident, proto, offset, more, data) of what arrived, whole or a fragment"""
    raw = bytes(packet)
    if V6:
        proto, at = packet.nh, 40
        while proto in (0, 43, 60):
            proto, at = raw[at], at + 8 + raw[at + 1] * 8
        if proto != 44:
            return None, packet.nh, 0, False, raw[40:40 + packet.plen]
        proto, _, where, ident = struct.unpack("!BBHI", raw[at:at + 8])
        return ident, proto, where & 0xFFF8, bool(where & 1), raw[at + 8:40 + packet.plen]
    head = packet.ihl * 4
    more = "MF" in packet.flags
    ident = packet.id if more or packet.frag else None
    return ident, packet.proto, packet.frag * 8, more, raw[head:packet.len]


class Datagram:
    def __init__(self, packet):
        self.packet = packet  # the first piece that arrived
        self.src, self.dst = packet.src, packet.dst
        self.pieces, self.sizes, self.end = {}, [], None

    def add(self, offset, more, data):
        if offset in self.pieces:
            raise AssertionError("a fragment came out twice")
        self.pieces[offset] = data
        self.sizes.append(len(data))
        if not more:
            self.end = offset + len(data)

    def whole(self):
        at = 0
        for offset in sorted(self.pieces):
            if offset != at:
                return False
            at += len(self.pieces[offset])
        return at == self.end

    def data(self):
        return b"".join(self.pieces[o] for o in sorted(self.pieces))


def datagrams(packets):
    """Put together what arrived: (whole ones, number of incomplete ones)"""
    found, order = {}, []
    for number, packet in enumerate(packets):
        ident, proto, offset, more, data = parts(packet)
        key = (packet.src, packet.dst, proto, "whole %d" % number if ident is None else ident)
        if key not in found:
            found[key] = Datagram(packet)
            found[key].proto = proto
            order.append(key)
        found[key].add(offset, more, data)
    whole = [found[k] for k in order if found[k].whole()]
    return whole, len(order) - len(whole)


def checksum_ok(src, dst, proto, data):
    """Of UDP, TCP and ICMP, by adding up everything once more"""
    if proto == UDP_P and data[6:8] == b"\0\0":
        return not V6
    total = data + (b"\0" if len(data) % 2 else b"")
    if V6 or proto != ICMP_P:
        kind = socket.AF_INET6 if V6 else socket.AF_INET
        total += socket.inet_pton(kind, src) + socket.inet_pton(kind, dst)
        total += struct.pack("!II", len(data), proto)
    add = sum(struct.unpack("!%dH" % (len(total) // 2), total))
    while add >> 16:
        add = (add & 0xFFFF) + (add >> 16)
    return add == 0xFFFF


class Failed(Exception):
    pass


def want(what, got, expected):
    if got != expected:
        raise Failed("%s: got %r, want %r" % (what, got, expected))


CASES = []


def case(function):
    CASES.append(function)
    return function


def case4(function):
    return function if V6 else case(function)


def case6(function):
    return case(function) if V6 else function


def run(setup):
    """All cases, or those whose names contain an argument; a line for each"""
    chosen = [c for c in CASES if len(sys.argv) < 3 or any(a in c.__name__ for a in sys.argv[2:])]
    bad = not chosen
    rig = setup()
    for function in chosen:
        for wire in rig.wires:
            wire.drain()
        try:
            function(rig)
            print("ok %s" % function.__name__)
        except (Failed, AssertionError) as problem:
            bad = True
            print("not ok %s: %s" % (function.__name__, problem))
    print("%d cases" % len(chosen))
    sys.exit(1 if bad else 0)
