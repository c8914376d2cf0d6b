#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments that no kernel sends, and what came out of the firewall.

scapy_fragments.py 4|6 [CASE...]	in the rig of tests/net, see scenario_60

Each case is named after its entry in the catalogue. Client 1 may do everything,
client 2 only TCP to port 80.
"""
import struct
import time

from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6

from scapy_rig import (FAR, FW, ICMP_P, MTU, OTHER, RNG, TCP_P, UDP_P, V6, case,
                       case4, case6, checksum_ok, client, cut, datagrams, header, parts, piece,
                       run, uplink, upper, want)

QUIET = 0.25  # seconds after which nothing more is coming
LATE = 3.0


class Rig:
    def __init__(self):
        self.c1, self.c2, self.up = client(1), client(2), uplink()
        self.wires = [self.c1, self.c2, self.up]
        self.ident = 0x1000
        self.port = 20000

    def udp(self, size, src=None, dst=FAR):
        """(ident, bytes) of a new UDP datagram with that many bytes of data"""
        self.ident += 1
        self.port += 1
        data = RNG.randbytes(size)
        return self.ident, upper(src or self.c1.ip, dst, UDP(sport=self.port, dport=9) / data)

    def upstream(self, seconds=LATE, number=1):
        """Datagrams for FAR or OTHER that arrive there, once number of them are whole"""
        got = []

        def enough(packets):
            got[:] = [p for p in packets if p.dst in (FAR, OTHER)]
            return len(datagrams(got)[0]) >= number

        self.up.arrived(seconds, enough)
        return datagrams(got)

    def passes(self, frames, data, proto=UDP_P, wire=None):
        """The datagram comes out once, whole, from the firewall's address"""
        for frame in frames:
            (wire or self.c1).send(frame)
        whole, rest = self.upstream()
        want("datagrams", (len(whole), rest), (1, 0))
        got = whole[0]
        want("source", got.src, FW)
        want("ports and lengths", got.data()[:6], data[:6])
        # The one other thing that is another one now is TCP's checksum.
        behind = 18 if proto == TCP_P else 8
        want("the data", got.data()[behind:] == data[behind:], True)
        want("its checksum", checksum_ok(got.src, got.dst, proto, got.data()), True)
        again, rest = self.upstream(QUIET / 4)
        want("once more", (len(again), rest), (0, 0))
        return got

    def blocked(self, frames, wire=None, then=()):
        """Nothing comes out but an honest packet sent behind: they keep their order"""
        for some in [frames, then] if then else [frames]:
            for frame in some:
                (wire or self.c1).send(frame)
            _, data = self.udp(20)
            self.c1.send(header(self.c1.ip, FAR, **{"nh" if V6 else "proto": UDP_P}) / data)
            if wire:
                time.sleep(QUIET)  # another device: no order between the two
            got = []

            def enough(packets):
                got[:] = [p for p in packets if p.dst in (FAR, OTHER)]
                return any(data[8:] in bytes(p) for p in got)

            self.up.arrived(LATE, enough)
            want("what came out", [data[8:] in bytes(p) for p in got], [True])


# --- order, duplicates, sizes --------------------------------------------------------


@case
def f1_in_order(rig):
    ident, data = rig.udp(4000)
    got = rig.passes(cut(rig.c1.ip, FAR, ident, data, 1400, UDP_P), data)
    want("all but the last in multiples of 8", [s % 8 for s in got.sizes[:-1]],
         [0] * (len(got.sizes) - 1))
    want("no piece larger than the path", max(got.sizes) <= MTU - (48 if V6 else 20), True)


@case
def f1_reversed(rig):
    ident, data = rig.udp(4000)
    rig.passes(cut(rig.c1.ip, FAR, ident, data, 1400, UDP_P)[::-1], data)


@case
def f1_random_order(rig):
    for _ in range(10):
        ident, data = rig.udp(RNG.randrange(100, 9000))
        frames = cut(rig.c1.ip, FAR, ident, data, RNG.randrange(24, 181) * 8, UDP_P)
        RNG.shuffle(frames)
        rig.passes(frames, data)


@case
def f1_interleaved(rig):
    """Two datagrams of one client, piece by piece in turn"""
    one, two = rig.udp(3000), rig.udp(3000)
    for a, b in zip(cut(rig.c1.ip, FAR, *one, 800, UDP_P), cut(rig.c1.ip, FAR, *two, 800, UDP_P)):
        rig.c1.send(a)
        rig.c1.send(b)
    whole, rest = rig.upstream(number=2)
    want("datagrams", (len(whole), rest), (2, 0))
    want("the data", sorted(d.data()[8:] for d in whole), sorted(d[8:] for _, d in (one, two)))


@case
def u10_largest(rig):
    """64 KiB minus one, both ways"""
    ident, data = rig.udp(65535 - (0 if V6 else 20) - 8)
    got = rig.passes(cut(rig.c1.ip, FAR, ident, data, 1448, UDP_P), data)
    port = struct.unpack("!H", got.data()[:2])[0]
    answer = upper(FAR, FW, UDP(sport=9, dport=port) / data[8:])
    for frame in cut(FAR, FW, 77, answer, 1448, UDP_P):
        rig.up.send(frame)
    back = []

    def enough(packets):
        back[:] = [p for p in packets if p.src == FAR]
        return datagrams(back)[0]

    rig.c1.arrived(LATE, enough)
    whole, rest = datagrams(back)
    want("answers", (len(whole), rest), (1, 0))
    want("to the client", whole[0].dst, rig.c1.ip)
    want("the answer's data", whole[0].data()[8:] == data[8:], True)
    want("its checksum", checksum_ok(FAR, rig.c1.ip, UDP_P, whole[0].data()), True)


@case
def f2_duplicate(rig):
    ident, data = rig.udp(4000)
    frames = cut(rig.c1.ip, FAR, ident, data, 1400, UDP_P)
    rig.passes(frames[:2] + frames[:2] + [frames[1]] + frames[2:], data)


@case
def f15_answer_in_any_order(rig):
    """From the uplink, last piece first, to the flow's client only"""
    ident, data = rig.udp(20)
    rig.passes(cut(rig.c1.ip, FAR, ident, data, 1400, UDP_P), data)
    answer = upper(FAR, FW, UDP(sport=9, dport=rig.port) / RNG.randbytes(5000))
    for frame in cut(FAR, FW, 78, answer, 1400, UDP_P)[::-1]:
        rig.up.send(frame)
    got = rig.c1.arrived(LATE, lambda p: datagrams(p)[0])
    want("answers", len(datagrams(got)[0]), 1)
    want("their data", datagrams(got)[0][0].data()[8:] == answer[8:], True)
    want("at client 2", rig.c2.arrived(0.05), [])


# --- overlaps --------------------------------------------------------------------------


def overlap(rig, shift):
    ident, data = rig.udp(2400)
    last = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    evil = piece(rig.c1.ip, FAR, ident, 800 + shift, b"X" * 800, True, UDP_P)
    rig.blocked([last[0], last[1], evil, last[2]], then=last)


@case
def f3_f4_overlap_behind(rig):
    overlap(rig, 8)


@case
def f3_f4_overlap_in_front(rig):
    overlap(rig, -8)


@case
def f3_f4_overlap_other_contents(rig):
    """The same place and length, other bytes: one of them is a lie"""
    ident, data = rig.udp(1600)
    frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    evil = piece(rig.c1.ip, FAR, ident, 0, b"Y" * 800, True, UDP_P)
    for frame in (frames[0], evil, frames[1]):
        rig.c1.send(frame)
    whole, rest = rig.upstream(QUIET)
    # Dropped, or taken for a duplicate: but never a mix.
    want("the data", [d.data()[8:] == data[8:] for d in whole] in ([], [True]), True)
    want("parts", rest, 0)


@case
def f3_f4_overlap_of_the_header(rig):
    """The ports are written over by a second fragment"""
    ident, data = rig.udp(1600)
    evil = struct.pack("!HH", 1234, 80) + data[4:]
    frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    rig.blocked([frames[0], piece(rig.c1.ip, FAR, ident, 0, evil[:16], True, UDP_P), frames[1]])


# --- what is malformed --------------------------------------------------------------------


@case
def f5_tiny_first(rig):
    """TCP's flags are in the second fragment"""
    rig.port += 1
    syn = upper(rig.c1.ip, FAR, TCP(sport=rig.port, dport=80, flags="S", options=[("MSS", 1460)]))
    rig.blocked(cut(rig.c1.ip, FAR, 500, syn, 16, TCP_P))
    rig.blocked(cut(rig.c1.ip, FAR, 501, syn, 8, TCP_P))
    rig.blocked(cut(rig.c1.ip, FAR, 502, syn, 16, TCP_P)[::-1])


@case
def f6_offset_one(rig):
    """A first fragment that is whole, and one that would write over its flags"""
    rig.port += 1
    syn = upper(rig.c1.ip, FAR, TCP(sport=rig.port, dport=80, flags="A") / (b"z" * 40))
    rig.blocked([piece(rig.c1.ip, FAR, 503, 0, syn[:24], True, TCP_P),
                 piece(rig.c1.ip, FAR, 503, 8, syn[8:], False, TCP_P)])


@case
def f7_too_long(rig):
    """The ping of death: ends behind 65535"""
    ident, data = rig.udp(2000)
    rig.blocked([piece(rig.c1.ip, FAR, ident, 0, data[:1400], True, UDP_P),
                 piece(rig.c1.ip, FAR, ident, 65528, b"x" * 100, False, UDP_P)])


@case
def f16_not_a_multiple_of_8(rig):
    ident, data = rig.udp(1600)
    rig.blocked([piece(rig.c1.ip, FAR, ident, 0, data[:801], True, UDP_P),
                 piece(rig.c1.ip, FAR, ident, 800, data[800:], False, UDP_P)])


@case
def f7_two_ends(rig):
    """A last fragment in front of another one"""
    ident, data = rig.udp(2400)
    frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    short = piece(rig.c1.ip, FAR, ident, 800, data[800:1600], False, UDP_P)
    rig.blocked([frames[2], short, frames[0]])


@case
def f1_an_empty_piece(rig):
    ident, data = rig.udp(1600)
    rig.blocked([piece(rig.c1.ip, FAR, ident, 800, b"", True, UDP_P)] * 3)


# --- rules -----------------------------------------------------------------------------


@case
def f13_not_first_alone(rig):
    """Client 2 may use TCP port 80: later pieces alone are nothing"""
    data = upper(rig.c2.ip, FAR, TCP(sport=3000, dport=80, flags="S") / (b"q" * 3000))
    frames = cut(rig.c2.ip, FAR, 600, data, 1400, TCP_P)
    rig.blocked(frames[1:], wire=rig.c2)


@case
def f13_judged_whole(rig):
    data = upper(rig.c2.ip, FAR, TCP(sport=3001, dport=80, flags="S") / (b"q" * 3000))
    rig.passes(cut(rig.c2.ip, FAR, 601, data, 1400, TCP_P), data, TCP_P, wire=rig.c2)
    data = upper(rig.c2.ip, FAR, TCP(sport=3002, dport=81, flags="S") / (b"q" * 3000))
    rig.blocked(cut(rig.c2.ip, FAR, 602, data, 1400, TCP_P), wire=rig.c2)


@case
def f14_first_arrives_last(rig):
    """Nothing leaks before what decides is known"""
    data = upper(rig.c2.ip, FAR, TCP(sport=3003, dport=81, flags="S") / (b"q" * 3000))
    frames = cut(rig.c2.ip, FAR, 603, data, 1400, TCP_P)
    rig.blocked(frames[1:], wire=rig.c2, then=frames[:1])
    data = upper(rig.c2.ip, FAR, TCP(sport=3004, dport=80, flags="S") / (b"q" * 3000))
    frames = cut(rig.c2.ip, FAR, 604, data, 1400, TCP_P)
    rig.blocked(frames[1:], wire=rig.c2)
    rig.passes(frames[:1], data, TCP_P, wire=rig.c2)


@case
def i9_reject_of_a_datagram_in_pieces(rig):
    """One answer, about the first piece, from the gateway that the client knows"""
    data = upper(rig.c2.ip, FAR, UDP(sport=3005, dport=81) / (b"q" * 3000))
    for frame in cut(rig.c2.ip, FAR, 605, data, 1400, UDP_P):
        rig.c2.send(frame)
    got = [p for p in rig.c2.arrived(QUIET) if p.dst == rig.c2.ip]
    want("answers", len(got), 1)
    body = parts(got[0])[4]
    want("source, protocol", (got[0].src, parts(got[0])[1]), (FW, ICMP_P))
    want("type and code", tuple(body[:2]), (1, 1) if V6 else (3, 13))
    want("its checksum", checksum_ok(FW, rig.c2.ip, ICMP_P, body), True)


@case
def f17_two_clients_one_id(rig):
    """The same addresses behind, the same identification: pieces never meet"""
    rig.port += 1
    one = upper(rig.c1.ip, FAR, TCP(sport=rig.port, dport=80, flags="S") / (b"1" * 1600))
    two = upper(rig.c2.ip, FAR, TCP(sport=rig.port, dport=80, flags="S") / (b"2" * 1600))
    mine, theirs = cut(rig.c1.ip, FAR, 700, one, 800, TCP_P), cut(rig.c2.ip, FAR, 700, two, 800,
                                                                 TCP_P)
    rig.c1.send(mine[0])
    rig.c2.send(theirs[1])
    rig.c2.send(theirs[2])
    want("of halves", rig.upstream(QUIET), ([], 0))
    rig.passes(mine[1:], one, TCP_P)
    rig.c2.send(theirs[0])
    whole, rest = rig.upstream()
    want("the other's", (len(whole), rest), (1, 0))
    want("its data", whole[0].data()[20:], b"2" * 1600)


@case
def q1_spoofed_pieces(rig):
    data = upper(rig.c2.ip, FAR, UDP(sport=4000, dport=9) / (b"s" * 2000))
    rig.blocked(cut(rig.c2.ip, FAR, 701, data, 800, UDP_P))


# --- limits -----------------------------------------------------------------------------


@case
def f10_many_pieces(rig):
    """64 of one datagram at most"""
    ident, data = rig.udp(64 * 16 - 8)
    rig.passes(cut(rig.c1.ip, FAR, ident, data, 16, UDP_P), data)
    ident, data = rig.udp(80 * 16 - 8)
    rig.blocked(cut(rig.c1.ip, FAR, ident, data, 16, UDP_P))


@case
def f10_many_datagrams(rig):
    """The oldest of one's own give way, another client's stay"""
    other = upper(rig.c2.ip, FAR, TCP(sport=4001, dport=80, flags="S") / (b"o" * 1600))
    others = cut(rig.c2.ip, FAR, 702, other, 800, TCP_P)
    rig.c2.send(others[0])
    pending = []
    for _ in range(100):
        ident, data = rig.udp(1000)
        frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
        rig.c1.send(frames[0])
        pending.append((frames[1], data))
    rig.c1.send(pending[0][0])  # of the oldest, long gone
    want("the oldest", rig.upstream(QUIET), ([], 0))
    rig.passes([pending[-1][0]], pending[-1][1])
    for frame in others[1:]:
        rig.c2.send(frame)
    whole, rest = rig.upstream()
    want("another client's", (len(whole), rest), (1, 0))


@case
def f11_timeout(rig):
    """An error only if the first piece was seen. Here pieces wait a second."""
    ident, data = rig.udp(1600)
    frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    ident2, data2 = rig.udp(1600)
    rig.c1.send(cut(rig.c1.ip, FAR, ident2, data2, 800, UDP_P)[1])
    rig.c1.send(frames[0])
    # Those that other cases left behind have their errors, too.
    got = [p for p in rig.c1.arrived(3.5, lambda p: data[:8] in bytes(p[-1]))
           if data[:8] in bytes(p) or data2[800:840] in bytes(p)]
    want("errors", len(got), 1)
    body = parts(got[0])[4]
    want("source, protocol", (got[0].src, parts(got[0])[1]), (FW, ICMP_P))
    want("type and code", tuple(body[:2]), (3, 1) if V6 else (11, 1))
    quoted = (IPv6 if V6 else type(got[0]))(body[8:])
    want("quoted addresses", (quoted.src, quoted.dst), (rig.c1.ip, FAR))
    rig.blocked(frames[1:])


# --- the way out ------------------------------------------------------------------------


@case4
def f15_df_small(rig):
    """What fits when it is whole goes out whole, and may still not be fragmented"""
    ident, data = rig.udp(1000)
    got = rig.passes(cut(rig.c1.ip, FAR, ident, data, 800, UDP_P, flags="DF"), data)
    want("DF", "DF" in got.packet.flags, True)


@case4
def f15_df_large(rig):
    """Whole it is too large for the path: frag-needed, and nothing out"""
    ident, data = rig.udp(3000)
    for frame in cut(rig.c1.ip, FAR, ident, data, 800, UDP_P, flags="DF"):
        rig.c1.send(frame)
    got = [p for p in rig.c1.arrived(LATE, lambda p: p) if p.dst == rig.c1.ip]
    want("errors", len(got), 1)
    body = parts(got[0])[4]
    want("type, code, MTU", (body[0], body[1], struct.unpack("!H", body[6:8])[0]), (3, 4, MTU))
    want("upstream", rig.upstream(QUIET), ([], 0))


@case4
def p10_header_fields(rig):
    """TOS, ECN and TTL of the pieces"""
    ident, data = rig.udp(4000)
    got = rig.passes(cut(rig.c1.ip, FAR, ident, data, 1400, UDP_P, tos=0xB9, ttl=33), data)
    want("TOS, TTL", (got.packet.tos, got.packet.ttl), (0xB9, 32))


@case6
def p10_header_fields6(rig):
    ident, data = rig.udp(4000)
    got = rig.passes(cut(rig.c1.ip, FAR, ident, data, 1400, UDP_P, tc=0xB9, fl=0x12345, hlim=33),
                     data)
    want("class, label, hops", (got.packet.tc, got.packet.fl, got.packet.hlim),
         (0xB9, 0x12345, 32))


# --- only IPv6 ----------------------------------------------------------------------------


@case6
def f8_atomic(rig):
    """On its own, whatever else has its identification; the header goes"""
    ident, data = rig.udp(1600)
    frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    rig.c1.send(frames[0])
    _, small = rig.udp(100)
    got = rig.passes([piece(rig.c1.ip, FAR, ident, 0, small, False, UDP_P)], small)
    want("no fragment header", got.packet.nh, UDP_P)
    rig.passes(frames[1:], data)


OPTIONS = struct.pack("!BB", UDP_P, 0) + b"\x01\x04\0\0\0\0"  # destination options: padding


@case6
def i9_reject_of_an_atomic_fragment(rig):
    """The answer quotes what was sent, the fragment header included (I8)"""
    data = upper(rig.c2.ip, FAR, UDP(sport=3006, dport=81) / b"atomic")
    sent = piece(rig.c2.ip, FAR, 606, 0, data, False, UDP_P)
    rig.c2.send(sent)
    got = [p for p in rig.c2.arrived(QUIET) if p.dst == rig.c2.ip]
    want("answers", len(got), 1)
    body = parts(got[0])[4]
    want("type and code", tuple(body[:2]), (1, 1))
    want("the packet quoted", body[8:], bytes(sent))


@case6
def f9_chain_not_in_first(rig):
    """The upper header is in the second piece"""
    _, data = rig.udp(800)
    chain = OPTIONS + data
    rig.blocked([piece(rig.c1.ip, FAR, 801, 0, chain[:8], True, 60),
                 piece(rig.c1.ip, FAR, 801, 8, chain[8:], False, 60)])


@case6
def f12_options_inside(rig):
    """Destination options in the fragmentable part, complete in the first piece"""
    _, data = rig.udp(1600)
    chain = OPTIONS + data
    for frame in cut(rig.c1.ip, FAR, 802, chain, 800, 60):
        rig.c1.send(frame)
    whole, rest = rig.upstream()
    want("datagrams", (len(whole), rest), (1, 0))
    want("the data", whole[0].data()[-1600:] == data[8:], True)


@case6
def f12_options_in_front(rig):
    """Destination options before the fragment header: whole, they stay in front"""
    ident, data = rig.udp(800)
    chain = bytes([44]) + OPTIONS[1:]
    for frame in cut(rig.c1.ip, FAR, ident, data, 400, UDP_P, chain=chain, first=60):
        rig.c1.send(frame)
    whole, rest = rig.upstream()
    want("datagrams", (len(whole), rest), (1, 0))
    want("what is in front", (whole[0].packet.nh, bytes(whole[0].packet)[42:48]),
         (60, OPTIONS[2:]))
    want("the data", whole[0].data()[8:] == data[8:], True)


@case6
def f12_next_header_of_the_first_counts(rig):
    ident, data = rig.udp(1600)
    frames = cut(rig.c1.ip, FAR, ident, data, 800, UDP_P)
    later = [piece(rig.c1.ip, FAR, ident, 800, data[800:1600], True, TCP_P),
             piece(rig.c1.ip, FAR, ident, 1600, data[1600:], False, 59)]
    rig.passes([later[1], later[0], frames[0]], data)


if __name__ == "__main__":
    run(Rig)
