#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A DNS server that lies: baddns.py ADDRESS

The first label of a name says how it is answered; see the functions. UDP and TCP
on port 53, until killed. Each question is a line on stdout.
"""
import os
import socket
import struct
import sys
import threading
import time

A, CNAME, SOA, AAAA = 1, 5, 6, 28
GOOD = "192.0.2.1"
count = {}


def wire(name):
    out = b""
    for label in name.strip(".").split("."):
        out += bytes([len(label)]) + label.encode()
    return out + b"\0"


def record(name, rtype, ttl, data):
    return wire(name) + struct.pack(">HHIH", rtype, 1, ttl, len(data)) + data


def address(name, addr, ttl=60):
    return record(name, A, ttl, socket.inet_aton(addr))


def message(qid, question, answers, flags=0x8180, authority=()):
    return (struct.pack(">HHHHHH", qid, flags, 1, len(answers), len(authority), 0)
            + question + b"".join(answers) + b"".join(authority))


class Question:
    def __init__(self, data):
        self.id = struct.unpack(">H", data[:2])[0]
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode("ascii", "replace"))
            at += 1 + data[at]
        self.name = ".".join(labels).lower()
        self.how = self.name.split(".")[0]
        self.raw = data[12:at + 5]
        self.type = struct.unpack(">H", data[at + 1:at + 3])[0]
        self.nth = count[self.name] = count.get(self.name, 0) + 1


def many(n):
    return ["10.%d.%d.%d" % (1 + i // 62500, i // 250 % 250, i % 250 + 1) for i in range(n)]


def pointer(q, data):
    """An answer whose record begins with these bytes instead of a name."""
    return (struct.pack(">HHHHHH", q.id, 0x8180, 1, 1, 0, 0) + q.raw + data
            + struct.pack(">HHIH", A, 1, 60, 4) + socket.inet_aton(GOOD))


def pointers(q):
    """As many pointers as can be pointed to, behind the address of another name."""
    head = address("x.test", GOOD)
    start = 12 + len(q.raw) + len(head)
    run = struct.pack(">HHIH", 99, 1, 60, 0x3f00)  # a record of a type that nobody knows
    first = start + 1 + len(run)
    count = (0x3f00 - 2) // 2
    chain = struct.pack(">H", 0xc00c) + b"".join(
        struct.pack(">H", 0xc000 | (first + 2 * i)) for i in range(count))
    chain = chain[:0x3f00]
    last = 0xc000 | (first + len(chain) - 2)
    tail = (struct.pack(">H", last) + struct.pack(">HHIH", A, 1, 60, 4)
            + socket.inet_aton(GOOD)) * 2500
    return (struct.pack(">HHHHHH", q.id, 0x8180, 1, 2 + 2500, 0, 0) + q.raw + head
            + b"\0" + run + chain + tail)


def answer(q, tcp):
    """Messages to send, in order; None ends a TCP connection there."""
    name, qid, raw = q.name, q.id, q.raw
    here = 12 + len(raw)
    good = message(qid, raw, [address(name, GOOD)])
    truncated = message(qid, raw, [], flags=0x8380)

    def chain(n, last):
        names = [name] + ["l%d.%s" % (i, name) for i in range(n)]
        return [record(names[i], CNAME, 60, wire(names[i + 1])) for i in range(n)] + (
            [address(names[n], last)] if last else [])

    table = {
        "good": lambda: [good],
        # CNAMEs
        "loop": lambda: [message(qid, raw, [record(name, CNAME, 60, wire("b." + name)),
                                            record("b." + name, CNAME, 60, wire(name))])],
        "self": lambda: [message(qid, raw, [record(name, CNAME, 60, wire(name))])],
        "chain": lambda: [message(qid, raw, chain(12, GOOD))],
        "long": lambda: [message(qid, raw, chain(40, GOOD)) if tcp else truncated],
        "other": lambda: [message(qid, raw, [address("elsewhere.test", GOOD)])],
        # size
        "thousand": lambda: [message(qid, raw, [address(name, a) for a in many(1000)])
                             if tcp else truncated],
        "sixty": lambda: [message(qid, raw, [address(name, a) for a in many(60)])
                          if tcp else truncated],
        "big": lambda: [os.urandom(65535) if tcp else truncated],
        "flood": lambda: [message((qid + 1 + i) & 0xffff, raw, [address(name, GOOD)])
                          for i in range(1000)],
        # TTLs
        "zero": lambda: [message(qid, raw, [address(name, GOOD, 0)])],
        "negative": lambda: [message(qid, raw, [address(name, GOOD, 1 << 31)])],
        "forever": lambda: [message(qid, raw, [address(name, GOOD, (1 << 31) - 1)])],
        # not to the question
        "wrongid": lambda: [message(qid ^ 0x5555, raw, [address(name, GOOD)])],
        "wrongquestion": lambda: [message(qid, wire("x." + name) + raw[-4:],
                                          [address(name, GOOD)])],
        "wrongtype": lambda: [message(qid, raw[:-4] + struct.pack(">HH", 16, 1),
                                      [address(name, GOOD)])],
        "query": lambda: [message(qid, raw, [address(name, GOOD)], flags=0x0100)],
        # garbage
        "garbage": lambda: [os.urandom(300)],
        "tail": lambda: [struct.pack(">HHHHHH", qid, 0x8180, 1, 5, 0, 0) + raw
                         + os.urandom(200)],
        "short": lambda: [good[:5]],
        "cut": lambda: [good[:-3]],
        "empty": lambda: [b""],
        "selfpointer": lambda: [pointer(q, struct.pack(">H", 0xc000 | here))],
        "forward": lambda: [pointer(q, struct.pack(">H", 0xc000 | (here + 40)))],
        "pingpong": lambda: [pointer(q, b"\1a" + struct.pack(">H", 0xc000 | here))],
        # 8000 pointers, each to the one before, and records that begin with the last
        "pointers": lambda: [pointers(q) if tcp else truncated],
        "counts": lambda: [struct.pack(">HHHHHH", qid, 0x8180, 1, 65535, 65535, 65535) + raw
                           + address(name, GOOD)],
        "size": lambda: [message(qid, raw, [record(name, A, 60, b"\1\2\3\4\5")])],
        # addresses that no rule should reach
        "inside": lambda: [message(qid, raw, [address(name, a) for a in (
            "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.1.1", GOOD)])],
        "private": lambda: [message(qid, raw, [address(name, a) for a in (
            "10.1.2.3", "172.16.1.2", "192.168.1.2")])],
        # answers that are none
        "nothing": lambda: [message(qid, raw, [])],
        "referral": lambda: [message(qid, raw, [], authority=[
            record("test", 2, 60, wire("ns.test"))])],
        "notfound": lambda: [message(qid, raw, [], flags=0x8183)],
        "refused": lambda: [message(qid, raw, [], flags=0x8185)],
        "servfail": lambda: [message(qid, raw, [], flags=0x8182)],
        "silent": lambda: [],
        # the third time it is good
        "third": lambda: [good if q.nth >= 3 else message(qid, raw, [], flags=0x8182)],
        "once": lambda: [good if q.nth == 1 else message(qid, raw, [], flags=0x8183)],
        # TCP
        "stall": lambda: [] if tcp else [truncated],
        "reset": lambda: [None] if tcp else [truncated],
        "trunctcp": lambda: [truncated],
    }
    return table.get(q.how, lambda: [message(qid, raw, [], flags=0x8183)])()


def question(data, tcp):
    try:
        q = Question(data)
    except (IndexError, struct.error):
        return []
    print("TCP" if tcp else "UDP", q.name, q.type, flush=True)
    if q.type not in (A, AAAA):
        return []
    return answer(q, tcp)


def serve_udp(sock):
    while True:
        data, peer = sock.recvfrom(4096)
        for reply in question(data, False):
            sock.sendto(reply[:65507], peer)


def serve_tcp(conn):
    try:
        buf = b""
        while True:
            data = conn.recv(4096)
            if not data:
                return
            buf += data
            while len(buf) >= 2 and len(buf) >= 2 + struct.unpack(">H", buf[:2])[0]:
                size = struct.unpack(">H", buf[:2])[0]
                replies = question(buf[2:2 + size], True)
                buf = buf[2 + size:]
                for reply in replies:
                    if reply is None:
                        return
                    conn.sendall(struct.pack(">H", len(reply)) + reply)
    except OSError:
        pass
    finally:
        conn.close()


def main():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((sys.argv[1], 53))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((sys.argv[1], 53))
    tcp.listen(64)
    threading.Thread(target=serve_udp, args=(udp,), daemon=True).start()
    while True:
        conn, _ = tcp.accept()
        threading.Thread(target=serve_tcp, args=(conn,), daemon=True).start()
        time.sleep(0)


main()
