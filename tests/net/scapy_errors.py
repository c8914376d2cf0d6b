#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors and what they quote; headers that no kernel sends.

scapy_errors.py 4|6 [CASE...]	in the rig of tests/net, see scenario_60

Each case is named after its entry in the catalogue. Both clients may do everything.
"""
import struct

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from scapy_rig import (FAR, FW, ICMP_P, OTHER, RNG, TCP_P, UDP_P, V6, Failed, case, case4, case6,
                       checksum_ok, client, header, parts, run, uplink, upper, want)

LATE = 3.0
HEAD = 40 if V6 else 20
NEXT = "nh" if V6 else "proto"
ROUTER = OTHER  # some router on the way: an error may come from anybody
MARK = b"the end of this case"


class Flow:
    """One that exists, as both sides see it"""

    def __init__(self, rig, proto, port, server_port):
        self.proto, self.port, self.server_port = proto, port, server_port
        self.inside = upper(rig.c1.ip, FAR, self.layer(port))
        rig.c1.send(header(rig.c1.ip, FAR, **{NEXT: proto}) / self.inside)
        got = rig.up.arrived(LATE, lambda p: p[-1].dst == FAR)
        if not got or got[-1].dst != FAR:
            raise Failed("no flow")
        self.outside = bytes(got[-1])  # the packet, as it left
        self.nat_port = struct.unpack("!H", self.outside[HEAD:HEAD + 2])[0]

    def layer(self, port):
        if self.proto == TCP_P:
            return TCP(sport=port, dport=self.server_port, flags="S", seq=1000, window=8000)
        return UDP(sport=port, dport=self.server_port) / RNG.randbytes(60)

    def quote(self, size=None):
        return self.outside[:HEAD + size] if size is not None else self.outside


class Rig:
    def __init__(self):
        self.c1, self.c2, self.up = client(1), client(2), uplink()
        self.wires = [self.c1, self.c2, self.up]
        self.port = 30000
        self.mark = self.flow()

    def flow(self, proto=UDP_P):
        """A new one of client 1, whose port had to be another one outside"""
        self.port += 1
        port = self.port
        layer = UDP(sport=port, dport=9) if proto == UDP_P else TCP(sport=port, dport=9, flags="S")
        self.c2.send(header(self.c2.ip, FAR, **{NEXT: proto}) / upper(self.c2.ip, FAR, layer))
        self.up.arrived(LATE, lambda p: p[-1].dst == FAR)
        flow = Flow(self, proto, port, 9)
        want("ports inside and outside are two", flow.nat_port != port, True)
        return flow

    def to_client(self, frames):
        """What comes out at client 1 when these arrive at the uplink, in order"""
        mark = upper(FAR, FW, UDP(sport=9, dport=self.mark.nat_port) / MARK)
        return self.through(self.up, self.c1, frames, header(FAR, FW, **{NEXT: UDP_P}) / mark)

    def to_uplink(self, frames):
        mark = upper(self.c1.ip, FAR, UDP(sport=self.mark.port, dport=9) / MARK)
        return self.through(self.c1, self.up, frames,
                            header(self.c1.ip, FAR, **{NEXT: UDP_P}) / mark)

    @staticmethod
    def through(wire, other, frames, mark):
        for frame in frames:
            wire.send(frame)
        wire.send(mark)
        got = other.arrived(LATE, lambda p: MARK in bytes(p[-1]))
        if not got or MARK not in bytes(got[-1]):
            raise Failed("the packet at the end did not come")
        return got[:-1]


def icmp(src, dst, kind, code, rest, body, bad=0):
    """An ICMP message of either family; rest is the second word of its header"""
    data = struct.pack("!BBHI", kind, code, 0, rest) + body
    total = data + (b"\0" if len(data) % 2 else b"")
    if V6:
        total += bytes(IPv6(src=src, dst=dst))[8:] + struct.pack("!II", len(data), ICMP_P)
    add = sum(struct.unpack("!%dH" % (len(total) // 2), total))
    while add >> 16:
        add = (add & 0xFFFF) + (add >> 16)
    data = data[:2] + struct.pack("!H", (~add & 0xFFFF) ^ bad) + data[4:]
    return header(src, dst, **{NEXT: ICMP_P}) / Raw(data)


UNREACH = 1 if V6 else 3
PORT_CODE = 4 if V6 else 3
if V6:
    ERRORS = [(1, c, 0) for c in range(7)] + [(2, 0, 1300), (3, 0, 0), (3, 1, 0), (4, 0, 40),
                                             (4, 1, 6), (4, 2, 48)]
else:
    ERRORS = [(3, c, 0) for c in (0, 1, 2, 3, 9, 10, 13)] + [(3, 4, 1300), (11, 0, 0), (11, 1, 0),
                                                            (12, 0, 20 << 24)]


def check_error(packet, src, dst, kind, code, rest, flow, inner):
    """An error that was translated: outer and inner, with all checksums"""
    body = parts(packet)[4]
    want("outer addresses", (packet.src, packet.dst), (src, dst))
    want("type, code, rest", (body[0], body[1], struct.unpack("!I", body[4:8])[0]),
         (kind, code, rest))
    want("the ICMP checksum", checksum_ok(src, dst, ICMP_P, body), True)
    quoted = (IPv6 if V6 else IP)(body[8:])
    want("inner addresses", (quoted.src, quoted.dst), inner[:2])
    if not V6:
        head = body[8:8 + quoted.ihl * 4]
        fixed = IP(head)
        del fixed.chksum
        want("the inner IP checksum", quoted.chksum, IP(bytes(fixed)).chksum)
    at = 8 + (40 if V6 else quoted.ihl * 4)
    want("inner ports", struct.unpack("!HH", body[at:at + 4]), inner[2:])
    return body[at:]


def towards_client(rig, flow, kind, code, rest, quote, **more):
    got = rig.to_client([icmp(ROUTER, FW, kind, code, rest, quote, **more)])
    want("errors that came", len(got), 1)
    return check_error(got[0], ROUTER, rig.c1.ip, kind, code, rest, flow,
                       (rig.c1.ip, FAR, flow.port, flow.server_port))


# --- errors that belong to a flow --------------------------------------------------------


@case
def i2_i4_every_error_reaches_the_client(rig):
    flow = rig.flow()
    for kind, code, rest in ERRORS:
        inner = towards_client(rig, flow, kind, code, rest, flow.quote())
        want("the inner UDP checksum", inner[6:8], flow.inside[6:8])
        want("the rest of the quote", inner[8:], flow.inside[8:])


@case
def i2_quotes_of_eight_bytes(rig):
    for proto in (UDP_P, TCP_P):
        flow = rig.flow(proto)
        inner = towards_client(rig, flow, UNREACH, PORT_CODE, 0, flow.quote(8))
        want("the rest of the quote", inner[4:], flow.inside[4:6] + (
            flow.inside[6:8] if proto == UDP_P else flow.inside[6:8]))


@case
def i2_tcp_quoted_whole(rig):
    flow = rig.flow(TCP_P)
    inner = towards_client(rig, flow, UNREACH, 1, 0, flow.quote())
    want("the inner TCP checksum", inner[16:18], flow.inside[16:18])


@case4
def i2_quote_with_options(rig):
    """A router on the way may have added none, but a header may have them"""
    flow = rig.flow()
    quoted = IP(flow.outside)
    longer = IP(src=quoted.src, dst=quoted.dst, id=quoted.id, ttl=1, proto=UDP_P,
                options=b"\x01\x01\x01\x00") / Raw(flow.outside[20:])
    towards_client(rig, flow, 11, 0, 0, bytes(longer))


@case
def i2_rfc4884_extension(rig):
    """A length in the header, the quote padded to 128 bytes, an object behind it"""
    flow = rig.flow()
    quote = flow.quote() + b"\0" * (128 - len(flow.quote()))
    extension = struct.pack("!BBHHBB", 0x20, 0, 0, 8, 1, 1) + b"\x00\x01\x01\x40"
    add = sum(struct.unpack("!6H", extension))
    add = (add & 0xFFFF) + (add >> 16)
    extension = extension[:2] + struct.pack("!H", ~add & 0xFFFF) + extension[4:]
    length = (128 // 8) << 24 if V6 else (128 // 4) << 16
    kind = 3 if V6 else 11
    inner = towards_client(rig, flow, kind, 0, length, quote + extension)
    want("the extension", inner[-12:], extension)


@case
def i10_an_error_ends_nothing(rig):
    flow = rig.flow()
    towards_client(rig, flow, UNREACH, PORT_CODE, 0, flow.quote())
    answer = upper(FAR, FW, UDP(sport=9, dport=flow.nat_port) / b"still here")
    got = rig.to_client([header(FAR, FW, **{NEXT: UDP_P}) / answer])
    want("the answer", [b"still here" in bytes(p) for p in got], [True])
    got = rig.to_uplink([header(rig.c1.ip, FAR, **{NEXT: UDP_P}) / flow.inside])
    want("from the same port", [bytes(p)[HEAD:HEAD + 2] for p in got],
         [struct.pack("!H", flow.nat_port)])


@case
def i2_i4_errors_of_the_client(rig):
    """About what it was sent: port unreachable, and too big for its own link"""
    flow = rig.flow()
    answer = upper(FAR, FW, UDP(sport=9, dport=flow.nat_port) / RNG.randbytes(200))
    got = rig.to_client([header(FAR, FW, **{NEXT: UDP_P}) / answer])
    want("answers", len(got), 1)
    kinds = [(1, 4, 0), (2, 0, 1280)] if V6 else [(3, 3, 0), (3, 4, 1280)]
    for kind, code, rest in kinds:
        out = rig.to_uplink([icmp(rig.c1.ip, FAR, kind, code, rest, bytes(got[0])[:HEAD + 28])])
        want("errors that left", len(out), 1)
        check_error(out[0], FW, FAR, kind, code, rest, flow, (FAR, FW, 9, flow.nat_port))


# --- errors that belong to none -------------------------------------------------------------


@case
def i3_forged_quotes(rig):
    """Another port, another protocol, another address, a part of a header"""
    flow = rig.flow()
    good = flow.quote()
    ports = good[HEAD:HEAD + 4]
    forged = [
        good[:HEAD] + struct.pack("!H", flow.nat_port ^ 1) + good[HEAD + 2:],
        good[:HEAD] + ports[:2] + struct.pack("!H", 10) + good[HEAD + 4:],
        bytes(header(FW, OTHER, **{NEXT: UDP_P}) / Raw(good[HEAD:])),
        bytes(header(rig.c1.ip, FAR, **{NEXT: UDP_P}) / Raw(flow.inside)),
        bytes(header(FW, FAR, **{NEXT: TCP_P}) / Raw(good[HEAD:])),
        good[:HEAD + 4], good[:HEAD], good[:HEAD - 4], b"",
    ]
    for quote in forged:
        want("errors that came", rig.to_client([icmp(ROUTER, FW, UNREACH, 1, 0, quote)]), [])


@case
def i3_tcp_sequence(rig):
    """An error about data that was never sent"""
    flow = rig.flow(TCP_P)
    reply = TCP(sport=9, dport=flow.nat_port, flags="SA", seq=5000, ack=1001, window=8000)
    got = rig.to_client([header(FAR, FW, **{NEXT: TCP_P}) / upper(FAR, FW, reply)])
    want("the handshake", len(got), 1)
    last = TCP(sport=flow.port, dport=9, flags="A", seq=1001, ack=5001, window=8000)
    rig.to_uplink([header(rig.c1.ip, FAR, **{NEXT: TCP_P}) / upper(rig.c1.ip, FAR, last)])
    for sequence, passes in ((1001, 1), (0x40000000, 0), (0x80001001, 0), (1001, 1)):
        quote = flow.outside[:HEAD + 4] + struct.pack("!I", sequence)
        got = rig.to_client([icmp(ROUTER, FW, UNREACH, 1, 0, quote)])
        want("errors about sequence %d" % sequence, len(got), passes)


@case
def i5_error_about_an_error(rig):
    flow = rig.flow()
    inner = bytes(icmp(FW, FAR, UNREACH, PORT_CODE, 0, flow.quote()))
    want("errors that came", rig.to_client([icmp(ROUTER, FW, UNREACH, 1, 0, inner)]), [])
    want("errors that left", rig.to_uplink([icmp(rig.c1.ip, FAR, UNREACH, 1, 0, inner)]), [])


@case
def i2_bad_checksum(rig):
    flow = rig.flow()
    for bad in (1, 0x8000, 0x5A5A):
        want("errors that came", rig.to_client(
            [icmp(ROUTER, FW, UNREACH, 1, 0, flow.quote(), bad=bad)]), [])


@case
def i3_errors_of_the_client_about_nothing(rig):
    flow = rig.flow()
    strange = [bytes(header(FAR, rig.c1.ip, **{NEXT: UDP_P}) / Raw(struct.pack(
        "!HHHH", 9, flow.port ^ 0x4000, 8, 0))),
               bytes(header(FAR, rig.c2.ip, **{NEXT: UDP_P}) / Raw(struct.pack(
                   "!HHHH", 9, flow.port, 8, 0)))]
    for quote in strange:
        want("errors that left", rig.to_uplink(
            [icmp(rig.c1.ip, FAR, UNREACH, PORT_CODE, 0, quote)]), [])


@case
def i6_i7_messages_for_nobody(rig):
    """Redirects, router and group messages, timestamps...: neither in nor out"""
    flow = rig.flow()
    kinds = (130, 131, 132, 137, 138, 139, 140, 141, 143, 151, 200) if V6 else (
        4, 5, 6, 9, 10, 13, 14, 15, 16, 17, 18, 30, 37, 40)
    for kind in kinds:
        want("type %d in" % kind, rig.to_client([icmp(ROUTER, FW, kind, 0, 0, flow.quote())]), [])
        want("type %d out" % kind, rig.to_uplink(
            [icmp(rig.c1.ip, FAR, kind, 0, 0, flow.quote())]), [])


@case
def i1_echo(rig):
    """Out and back with its identifier; an answer that nobody asked for is nothing"""
    ask, answer = (128, 129) if V6 else (8, 0)
    got = rig.to_uplink([icmp(rig.c1.ip, FAR, ask, 0, 0x12340001, b"echo" * 5)])
    want("requests", len(got), 1)
    body = parts(got[0])[4]
    want("its checksum", checksum_ok(FW, FAR, ICMP_P, body), True)
    ident = struct.unpack("!I", body[4:8])[0]
    back = rig.to_client([icmp(FAR, FW, answer, 0, ident, body[8:])])
    want("answers", [parts(p)[4][4:] for p in back], [b"\x12\x34\x00\x01" + b"echo" * 5])
    want("from another host", rig.to_client([icmp(OTHER, FW, answer, 0, ident, b"x")]), [])
    want("another id", rig.to_client([icmp(FAR, FW, answer, 0, ident ^ 0x70000, b"x")]), [])
    want("an answer that leaves", rig.to_uplink([icmp(rig.c1.ip, FAR, answer, 0, 77, b"x")]), [])


# --- headers --------------------------------------------------------------------------------


def one_udp(rig, **fields):
    rig.port += 1
    return header(rig.c1.ip, FAR, **fields), upper(rig.c1.ip, FAR, UDP(sport=rig.port, dport=9) /
                                                   b"payload")


@case4
def p5_options(rig):
    for options in (b"\x07\x07\x04\0\0\0\0\0", b"\x83\x07\x04\xc0\0\x02\x02\0",
                    b"\x89\x07\x04\xc0\0\x02\x02\0", b"\x44\x08\x05\0\0\0\0\0", b"\x94\x04\0\0",
                    b"\x9e\x04\0\0", b"\x07\x20\x04\0", b"\x07\x01\0\0"):
        head, data = one_udp(rig, proto=UDP_P, options=options)
        want("with options %s" % options.hex(), rig.to_uplink([head / data]), [])


@case
def p6_destinations(rig):
    """Nobody's, everybody's, our own machine's"""
    places = ("::", "::1", "fe80::1", "ff02::1", "ff05::2", "ff0e::1") if V6 else (
        "0.0.0.0", "0.0.0.1", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255")
    for place in places:
        data = upper(rig.c1.ip, place, UDP(sport=31999, dport=9) / b"x")
        want("to %s" % place, rig.to_uplink([header(rig.c1.ip, place, **{NEXT: UDP_P}) / data]), [])


@case
def q1_sources(rig):
    places = ("::", "::1", "fe80::1", "ff02::1", "2001:db8:2::1", "fec0::1", rig.c2.ip, FW) if V6 \
        else ("0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "169.254.1.1", "192.0.2.1",
              rig.c2.ip, FW)
    for place in places:
        data = upper(place, FAR, UDP(sport=31998, dport=9) / b"x")
        want("from %s" % place, rig.to_uplink([header(place, FAR, **{NEXT: UDP_P}) / data]), [])


@case
def p4_checksum_of_zero(rig):
    """Over IPv4 it means none, and stays so; over IPv6 there is no such thing"""
    head, data = one_udp(rig, **{NEXT: UDP_P})
    got = rig.to_uplink([head / (data[:6] + b"\0\0" + data[8:])])
    want("checksums", [parts(p)[4][6:8] for p in got], [] if V6 else [b"\0\0"])


@case
def p2_padding_is_cut(rig):
    head, data = one_udp(rig, **{NEXT: UDP_P})
    packet = bytes(head / data)
    got = rig.to_uplink([packet + b"trailing bytes of a short frame"])
    want("lengths", [len(bytes(p)) for p in got], [len(packet)])


@case
def p1_p2_p12_lengths(rig):
    head, data = one_udp(rig, **{NEXT: UDP_P})
    packet = bytes(head / data)
    cuts = [packet[:n] for n in range(HEAD - 19, len(packet))]
    lies = [packet[:HEAD + 4] + struct.pack("!H", n) + packet[HEAD + 6:] for n in (0, 7, 16, 9999)]
    want("packets", rig.to_uplink(cuts + lies), [])


@case
def p10_fields_are_kept(rig):
    if V6:
        head, data = one_udp(rig, nh=UDP_P, tc=0xAB, fl=0xBEEF1, hlim=9)
        got = rig.to_uplink([head / data])
        want("fields", [(p.tc, p.fl, p.hlim) for p in got], [(0xAB, 0xBEEF1, 8)])
    else:
        for flags in ("DF", 0):
            head, data = one_udp(rig, proto=UDP_P, tos=0xAB, id=0x4321, ttl=9, flags=flags)
            got = rig.to_uplink([head / data])
            want("fields", [(p.tos, p.id, p.ttl, "DF" in p.flags) for p in got],
                 [(0xAB, 0x4321, 8, bool(flags))])


@case
def p10_tcp_options(rig):
    rig.port += 1
    options = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 9),
               (34, b"cookie"), (253, b"ab")]
    layer = TCP(sport=rig.port, dport=9, flags="SEC", seq=1, urgptr=5, options=options)
    data = upper(rig.c1.ip, FAR, layer)
    got = rig.to_uplink([header(rig.c1.ip, FAR, **{NEXT: TCP_P}) / data])
    want("packets", len(got), 1)
    out = parts(got[0])[4]
    want("all but ports and checksum", (out[4:16], out[18:]), (data[4:16], data[18:]))


# Chains of IPv6: (what, headers up to the upper one, passes)
PAD = b"\x01\x04\0\0\0\0"


def chain(*kinds):
    """Headers of these kinds, then UDP"""
    out = b""
    for kind, following in zip(kinds, kinds[1:] + (UDP_P,)):
        out += bytes([following, 0]) + (b"\0\0\0\0\0\0" if kind == 43 else PAD)
    return out


CHAINS = [
    ("hop-by-hop", (0,), chain(0), True),
    ("destination options", (60,), chain(60), True),
    ("eight headers", (60,) * 8, chain(*(60,) * 8), True),
    ("nine headers", (60,) * 9, chain(*(60,) * 9), False),
    ("hop-by-hop second", (60, 0), chain(60, 0), False),
    ("hop-by-hop twice", (0, 0), chain(0, 0), False),
    ("routing header 0", (43,), bytes([UDP_P, 0, 0, 0]) + b"\0" * 4, False),
    ("routing header 0, one to go", (43,), bytes([UDP_P, 2, 0, 1]) + b"\0" * 20, False),
    ("routing header 2, done", (43,), bytes([UDP_P, 2, 2, 0]) + b"\0" * 20, True),
    ("routing header 2, one to go", (43,), bytes([UDP_P, 2, 2, 1]) + b"\0" * 20, False),
    ("routing header 4, one to go", (43,), bytes([UDP_P, 2, 4, 1]) + b"\0" * 20, False),
    ("jumbo payload", (0,), bytes([UDP_P, 0, 0xC2, 4, 0, 1, 0, 0]), False),
    ("a header longer than the packet", (60,), bytes([UDP_P, 200]) + PAD, False),
]


@case6
def p7_extension_headers(rig):
    for what, kinds, front, passes in CHAINS:
        head, data = one_udp(rig, nh=kinds[0], hlim=64)
        got = rig.to_uplink([head / Raw(front + data)])
        want(what, len(got), 1 if passes else 0)
        if passes:
            out = bytes(got[0])[40:]
            want("%s: the chain" % what, out[:len(front)], front)
            want("%s: the checksum" % what, checksum_ok(FW, FAR, UDP_P, out[len(front):]), True)


@case6
def p7_no_next_header(rig):
    want("packets", rig.to_uplink([header(rig.c1.ip, FAR, nh=59) / Raw(b"nothing")]), [])


@case
def u11_other_protocols(rig):
    """ESP, AH and unknown ones: by addresses alone, and back"""
    for proto in (50, 51, 253):
        payload = RNG.randbytes(40)
        got = rig.to_uplink([header(rig.c1.ip, FAR, **{NEXT: proto}) / Raw(payload)])
        want("protocol %d" % proto, [(p.src, bytes(p)[HEAD:]) for p in got], [(FW, payload)])
        back = rig.to_client([header(FAR, FW, **{NEXT: proto}) / Raw(payload[::-1])])
        want("its answer", [(p.dst, bytes(p)[HEAD:]) for p in back], [(rig.c1.ip, payload[::-1])])
        want("from another host", rig.to_client(
            [header(OTHER, FW, **{NEXT: proto}) / Raw(payload)]), [])


@case
def i2_u11_quote_without_a_payload(rig):
    """The packet was its IP header and nothing else, and so is the quote"""
    got = rig.to_uplink([header(rig.c1.ip, FAR, **{NEXT: 252})])
    want("packets", len(got), 1)
    back = rig.to_client([icmp(ROUTER, FW, UNREACH, 1, 0, bytes(got[0]))])
    want("errors that came", len(back), 1)
    quoted = (IPv6 if V6 else IP)(parts(back[0])[4][8:])
    want("inner addresses", (quoted.src, quoted.dst), (rig.c1.ip, FAR))


if __name__ == "__main__":
    run(Rig)
