/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why a packet was not forwarded: one enum, one name each (D8).
 */
#ifndef FIREWALL_DROP_H
#define FIREWALL_DROP_H

#define DROP_REASONS(X) \
	X(NONE, "none") \
	X(COPY_FAILED, "copy-failed")		/* its bytes could not be fetched */ \
	X(NO_IFACE, "no-interface")		/* from or to a port that is gone */ \
	X(SHORT_FRAME, "short-frame")		/* P8: below an Ethernet header */ \
	X(ETHERTYPE, "ethertype")		/* P8: VLAN, LLC, unknown */ \
	X(SOURCE_MAC, "source-mac")		/* Q2 */ \
	X(DEST_MAC, "destination-mac")		/* not for us */ \
	X(ARP, "arp")				/* malformed, or nothing to answer */ \
	X(NDP, "ndp")				/* malformed, or not for us to answer */ \
	X(IPV6, "ipv6")				/* no IPv6 here */ \
	X(IP_HEADER, "ip-header")		/* P1, P2 */ \
	X(IP_CHECKSUM, "ip-checksum")		/* P3 */ \
	X(IP_OPTIONS, "ip-options")		/* P5 */ \
	X(EXT_HEADER, "ext-header")		/* P7 */ \
	X(MARTIAN, "martian")			/* P6 */ \
	X(MULTICAST, "multicast")		/* P9 */ \
	X(SPOOFED, "spoofed")			/* Q1 */ \
	X(UPLINK_SPOOFED, "uplink-spoofed")	/* Q10 */ \
	X(FRAGMENT, "fragment")			/* F2-F7, F9, F16: bad, or overlaps */ \
	X(FRAGMENT_LIMIT, "fragment-limit")	/* F10 */ \
	X(FRAGMENT_TIMEOUT, "fragment-timeout")	/* F11 */ \
	X(TTL, "ttl-exceeded")			/* P6 */ \
	X(TOO_BIG, "too-big")			/* P11 */ \
	X(L4_HEADER, "l4-header")		/* P12 */ \
	X(GSO, "gso")				/* P13 */ \
	X(TCP_FLAGS, "tcp-flags")		/* T12 */ \
	X(TCP_NO_FLOW, "tcp-no-flow")		/* T3: no SYN, no flow */ \
	X(TCP_WINDOW, "tcp-window")		/* T6, T7 */ \
	X(UDP_CHECKSUM, "udp-checksum")		/* 2.3: none, over IPv6 */ \
	X(ICMP_TYPE, "icmp-type")		/* I6 */ \
	X(ICMP_NO_FLOW, "icmp-no-flow")		/* I3 */ \
	X(ICMP_CHECKSUM, "icmp-checksum") \
	X(PROTOCOL, "protocol")			/* U11: another client has it */ \
	X(NO_POLICY, "no-policy")		/* Q9: nothing committed */ \
	X(REJECTED, "rejected")			/* by a rule, ICMP sent or limited */ \
	X(INTER_CLIENT, "inter-client")		/* Q3 */ \
	X(INBOUND, "inbound")			/* Q4, T17 */ \
	X(TO_FIREWALL, "to-firewall")		/* Q5 */ \
	X(DNS_SERVER, "dns-server")		/* a virtual one without a real one */ \
	X(NO_UPLINK, "no-uplink")		/* Q13 */ \
	X(NO_PORT, "no-nat-port")		/* N3 */ \
	X(FLOW_LIMIT, "flow-limit")		/* D2 */ \
	X(TX_FULL, "tx-full")			/* the receiver gave no room */ \
	X(TX_ERROR, "tx-error")			/* the receiver cannot take it */

enum drop_reason {
#define DROP_ENUM(id, name) DROP_##id,
	DROP_REASONS(DROP_ENUM)
#undef DROP_ENUM
	DROP_REASON_MAX
};

/** drop_name() - the stable name of a reason, as status prints it */
const char *drop_name(enum drop_reason reason);

#endif
