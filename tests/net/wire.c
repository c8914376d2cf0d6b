/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames on a device, made and looked at below the kernel's own stack: what no
 * honest kernel sends, and what no receiving kernel checks.
 *
 *	wire send DEV KEY=VALUE...	one frame, or count= of them
 *	wire arp DEV SMAC SIP TIP	ask, print who answers ("none" after 700 ms)
 *	wire nd DEV SMAC SIP TIP	the same over IPv6; SIP may be ::
 *	wire verify DEV MS [PROTO]	look at arriving packets, print JSON
 *
 * send: smac dmac sip dip proto=udp|tcp|icmp|NUMBER sport dport ttl flags=SAFR
 * seq len (payload) count bad=ip|l4|ihl|length|version id type=ETHERTYPE, and
 * vary=1: each packet has other ports
 *
 * verify checks every checksum itself. A kernel believes its own machine: it
 * never looks at a packet whose checksum is "partial" (to be completed by
 * hardware) or "validated", and that is what a TAP or a vif delivers. A partial
 * checksum is right when the field holds the folded sum of the pseudo header,
 * not complemented, and start and offset point at it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 70000

struct spec {
	uint8_t smac[6], dmac[6], flags, ttl;
	uint32_t sip, dip, seq; /* addresses in network order */
	unsigned int proto, sport, dport, len, count, id, ethertype, vary;
	char bad[16];
};

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "wire: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void __attribute__((noreturn)) refuse(const char *what)
{
	errno = EINVAL;
	fail(what);
}

static unsigned int number(const char *text, unsigned long max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 0);
	if (errno || end == text || *end || v > max)
		refuse(text);
	return (unsigned int)v;
}

static void parse_mac(uint8_t mac[6], const char *text)
{
	unsigned int b[6], i;
	char rest;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &rest) != 6)
		refuse(text);
	for (i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
}

static uint32_t parse_ip(const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		refuse(text);
	return a.s_addr;
}

static void put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned int get16(const uint8_t *p)
{
	return (unsigned int)(p[0] << 8 | p[1]);
}

static uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The same in both families: IPv6 only has zeros more. */
static uint32_t pseudo_sum(const uint8_t *ip, unsigned int proto, size_t l4_len)
{
	uint8_t tail[4] = {0, (uint8_t)proto, (uint8_t)(l4_len >> 8), (uint8_t)l4_len};
	uint32_t sum = ip[0] >> 4 == 6 ? sum_add(0, ip + 8, 32) : sum_add(0, ip + 12, 8);

	return sum_add(sum, tail, 4);
}

static int packet_socket(const char *dev)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

	if (fd < 0)
		fail("packet socket");
	ll.sll_ifindex = (int)if_nametoindex(dev);
	if (!ll.sll_ifindex)
		fail(dev);
	if (bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		fail("bind");
	return fd;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- send ------------------------------------------------------------------------ */

static unsigned int proto_number(const char *text)
{
	if (strcmp(text, "udp") == 0)
		return IPPROTO_UDP;
	if (strcmp(text, "tcp") == 0)
		return IPPROTO_TCP;
	if (strcmp(text, "icmp") == 0)
		return IPPROTO_ICMP;
	return number(text, 255);
}

static uint8_t parse_flags(const char *text)
{
	static const char names[] = "FSRPAUEC";
	uint8_t flags = 0;
	const char *at;

	for (; *text; text++) {
		at = strchr(names, *text);
		if (!at)
			refuse("flags");
		flags |= (uint8_t)(1 << (at - names));
	}
	return flags;
}

static void spec_set(struct spec *s, const char *key, const char *value)
{
	if (strcmp(key, "smac") == 0)
		parse_mac(s->smac, value);
	else if (strcmp(key, "dmac") == 0)
		parse_mac(s->dmac, value);
	else if (strcmp(key, "sip") == 0)
		s->sip = parse_ip(value);
	else if (strcmp(key, "dip") == 0)
		s->dip = parse_ip(value);
	else if (strcmp(key, "proto") == 0)
		s->proto = proto_number(value);
	else if (strcmp(key, "sport") == 0)
		s->sport = number(value, 65535);
	else if (strcmp(key, "dport") == 0)
		s->dport = number(value, 65535);
	else if (strcmp(key, "ttl") == 0)
		s->ttl = (uint8_t)number(value, 255);
	else if (strcmp(key, "flags") == 0)
		s->flags = parse_flags(value);
	else if (strcmp(key, "seq") == 0)
		s->seq = number(value, UINT32_MAX);
	else if (strcmp(key, "len") == 0)
		s->len = number(value, 1400);
	else if (strcmp(key, "count") == 0)
		s->count = number(value, 10000000);
	else if (strcmp(key, "vary") == 0)
		s->vary = number(value, 1);
	else if (strcmp(key, "id") == 0)
		s->id = number(value, 65535);
	else if (strcmp(key, "type") == 0)
		s->ethertype = number(value, 65535);
	else if (strcmp(key, "bad") == 0 && strlen(value) < sizeof(s->bad))
		snprintf(s->bad, sizeof(s->bad), "%s", value);
	else
		refuse(key);
}

/* The transport header and its checksum. Return: header and payload length. */
static size_t build_l4(const struct spec *s, const uint8_t *ip, uint8_t *l4)
{
	size_t len, at;
	uint32_t sum;

	if (s->proto == IPPROTO_TCP) {
		put16(l4, s->sport);
		put16(l4 + 2, s->dport);
		put16(l4 + 4, s->seq >> 16);
		put16(l4 + 6, s->seq & 0xffff);
		l4[12] = 5 << 4;
		l4[13] = s->flags;
		put16(l4 + 14, 65535);
		len = 20 + s->len;
		at = 16;
	} else if (s->proto == IPPROTO_UDP) {
		put16(l4, s->sport);
		put16(l4 + 2, s->dport);
		put16(l4 + 4, 8 + s->len);
		len = 8 + s->len;
		at = 6;
	} else if (s->proto == IPPROTO_ICMP) {
		l4[0] = 8;
		put16(l4 + 4, s->sport);
		put16(l4 + 6, s->dport);
		len = 8 + s->len;
		at = 2;
	} else {
		return s->len;
	}
	sum = s->proto == IPPROTO_ICMP ? 0 : pseudo_sum(ip, s->proto, len);
	sum = ~sum_add(sum, l4, len) & 0xffff;
	if (strcmp(s->bad, "l4") == 0)
		sum ^= 0x5a5a;
	put16(l4 + at, sum);
	return len;
}

static size_t build(const struct spec *s, uint8_t *f)
{
	uint8_t *ip = f + 14;
	size_t total;

	memset(f, 0, 14 + 20 + 20 + s->len);
	memcpy(f, s->dmac, 6);
	memcpy(f + 6, s->smac, 6);
	put16(f + 12, s->ethertype);
	ip[0] = 0x45;
	put16(ip + 4, s->id);
	put16(ip + 6, 0x4000);
	ip[8] = s->ttl;
	ip[9] = (uint8_t)s->proto;
	memcpy(ip + 12, &s->sip, 4);
	memcpy(ip + 16, &s->dip, 4);
	total = 20 + build_l4(s, ip, ip + 20);
	put16(ip + 2, (unsigned int)total);
	if (strcmp(s->bad, "ihl") == 0)
		ip[0] = 0x44;
	if (strcmp(s->bad, "version") == 0)
		ip[0] = 0x65;
	if (strcmp(s->bad, "length") == 0)
		put16(ip + 2, (unsigned int)total + 100);
	put16(ip + 10, ~sum_add(0, ip, 20) & 0xffff);
	if (strcmp(s->bad, "ip") == 0)
		ip[10] ^= 0x55;
	return 14 + total;
}

static int cmd_send(const char *dev, int argc, char **argv)
{
	static uint8_t frame[2048];
	struct spec s = {.ttl = 64, .count = 1, .proto = IPPROTO_UDP, .ethertype = ETH_P_IP};
	char *eq;
	size_t len;
	unsigned int i;
	int fd;

	memset(s.dmac, 0xff, 6);
	s.dmac[0] = 0xfe;
	for (; argc > 0; argc--, argv++) {
		eq = strchr(*argv, '=');
		if (!eq)
			refuse(*argv);
		*eq = '\0';
		spec_set(&s, *argv, eq + 1);
	}
	fd = packet_socket(dev);
	for (i = 0; i < s.count; i++) {
		len = build(&s, frame);
		if (send(fd, frame, len, 0) != (ssize_t)len && errno != ENOBUFS)
			fail("send");
		s.seq++;
		s.id++;
		s.sport = (s.sport + s.vary) & 0xffff;
		if (s.vary && s.sport == 0)
			s.dport++;
	}
	return 0;
}

/* --- arp --------------------------------------------------------------------------- */

static int cmd_arp(const char *dev, const char *smac, const char *sip, const char *tip)
{
	uint8_t f[60] = {0}, r[2048];
	uint32_t source = parse_ip(sip), target = parse_ip(tip);
	uint64_t end = now_ms() + 700;
	int fd = packet_socket(dev);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct sockaddr_ll from;
	socklen_t from_len;
	ssize_t n;

	memset(f, 0xff, 6);
	parse_mac(f + 6, smac);
	put16(f + 12, ETH_P_ARP);
	put16(f + 14, 1);
	put16(f + 16, ETH_P_IP);
	f[18] = 6;
	f[19] = 4;
	put16(f + 20, 1);
	parse_mac(f + 22, smac);
	memcpy(f + 28, &source, 4);
	memcpy(f + 38, &target, 4);
	if (send(fd, f, sizeof(f), 0) != sizeof(f))
		fail("send");
	while (now_ms() < end) {
		if (poll(&p, 1, (int)(end - now_ms())) <= 0)
			break;
		from_len = sizeof(from);
		n = recvfrom(fd, r, sizeof(r), 0, (struct sockaddr *)&from, &from_len);
		if (n < 42 || from.sll_pkttype == PACKET_OUTGOING || get16(r + 12) != ETH_P_ARP ||
		    get16(r + 20) != 2 || memcmp(r + 28, &target, 4) != 0)
			continue;
		printf("%02x:%02x:%02x:%02x:%02x:%02x\n", r[22], r[23], r[24], r[25], r[26],
		       r[27]);
		return 0;
	}
	puts("none");
	return 0;
}

/* --- nd ---------------------------------------------------------------------------- */

/* A neighbour solicitation, to the group that the target must be in. */
static size_t build_solicitation(uint8_t *f, const uint8_t smac[6], const struct in6_addr *source,
				 const struct in6_addr *target)
{
	static const uint8_t group[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
	uint8_t *ip = f + 14, *icmp = ip + 40;
	size_t len = IN6_IS_ADDR_UNSPECIFIED(source) ? 24 : 32;

	f[0] = f[1] = 0x33;
	f[2] = 0xff;
	memcpy(f + 3, target->s6_addr + 13, 3);
	memcpy(f + 6, smac, 6);
	put16(f + 12, ETH_P_IPV6);
	ip[0] = 0x60;
	put16(ip + 4, (unsigned int)len);
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, source, 16);
	memcpy(ip + 24, group, sizeof(group));
	memcpy(ip + 37, target->s6_addr + 13, 3);
	icmp[0] = 135;
	memcpy(icmp + 8, target, 16);
	if (len == 32) { /* where to answer to */
		icmp[24] = icmp[25] = 1;
		memcpy(icmp + 26, smac, 6);
	}
	put16(icmp + 2, ~sum_add(pseudo_sum(ip, IPPROTO_ICMPV6, len), icmp, len) & 0xffff);
	return 14 + 40 + len;
}

static int cmd_nd(const char *dev, const char *smac_text, const char *sip, const char *tip)
{
	uint8_t f[128] = {0}, r[2048], smac[6], *icmp = r + 54;
	struct in6_addr source, target;
	uint64_t end = now_ms() + 700;
	int fd = packet_socket(dev);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct sockaddr_ll from;
	socklen_t from_len;
	size_t len;
	ssize_t n;

	parse_mac(smac, smac_text);
	if (inet_pton(AF_INET6, sip, &source) != 1 || inet_pton(AF_INET6, tip, &target) != 1)
		refuse("address");
	len = build_solicitation(f, smac, &source, &target);
	if (send(fd, f, len, 0) != (ssize_t)len)
		fail("send");
	while (now_ms() < end) {
		if (poll(&p, 1, (int)(end - now_ms())) <= 0)
			break;
		from_len = sizeof(from);
		n = recvfrom(fd, r, sizeof(r), 0, (struct sockaddr *)&from, &from_len);
		if (n < 86 || from.sll_pkttype == PACKET_OUTGOING ||
		    get16(r + 12) != ETH_P_IPV6 || r[20] != IPPROTO_ICMPV6 || icmp[0] != 136 ||
		    memcmp(icmp + 8, &target, 16) != 0)
			continue;
		printf("%02x:%02x:%02x:%02x:%02x:%02x %s%s%s hops %u\n", icmp[26], icmp[27],
		       icmp[28], icmp[29], icmp[30], icmp[31], icmp[4] & 0x80 ? "R" : "",
		       icmp[4] & 0x40 ? "S" : "", icmp[4] & 0x20 ? "O" : "", r[21]);
		return 0;
	}
	puts("none");
	return 0;
}

/* --- verify ------------------------------------------------------------------------ */

struct tally {
	unsigned long complete, complete_bad, partial, partial_bad, validated, validated_bad;
	unsigned long gso, ip_bad, fragments, other, ipv6;
};

static bool complete_is_right(const uint8_t *ip, size_t l4_len, unsigned int proto,
			      const uint8_t *l4)
{
	if (proto == IPPROTO_ICMP)
		return sum_add(0, l4, l4_len) == 0xffff;
	if (proto == IPPROTO_UDP && get16(l4 + 6) == 0)
		return ip[0] >> 4 == 4; /* no checksum: allowed over IPv4 */
	return sum_add(pseudo_sum(ip, proto, l4_len), l4, l4_len) == 0xffff;
}

static bool partial_is_right(const struct virtio_net_hdr *h, const uint8_t *f, const uint8_t *l4,
			     size_t l4_len, unsigned int proto)
{
	size_t offset = proto == IPPROTO_TCP ? 16 : 6;

	return (proto == IPPROTO_TCP || proto == IPPROTO_UDP) && h->csum_start == l4 - f &&
	       h->csum_offset == offset &&
	       get16(l4 + offset) == pseudo_sum(f + 14, proto, l4_len);
}

struct view {
	const uint8_t *l4;
	size_t l4_len;
	unsigned int proto;
	bool is_fragment;
};

/* Where what lies. Extension headers are for others to look at. */
static bool view4(struct view *v, const uint8_t *f, size_t len)
{
	const uint8_t *ip = f + 14;
	size_t ihl = (size_t)(ip[0] & 15) * 4, total = get16(ip + 2);

	if (ihl < 20 || total < ihl + 8 || 14 + total > len || sum_add(0, ip, ihl) != 0xffff)
		return false;
	*v = (struct view){.l4 = ip + ihl, .l4_len = total - ihl, .proto = ip[9],
			   .is_fragment = (get16(ip + 6) & 0x3fff) != 0};
	return true;
}

static bool view6(struct view *v, const uint8_t *f, size_t len)
{
	const uint8_t *ip = f + 14;
	size_t total = get16(ip + 4);

	if (len < 54 || total < 8 || 54 + total > len)
		return false;
	*v = (struct view){.l4 = ip + 40, .l4_len = total, .proto = ip[6],
			   .is_fragment = ip[6] == IPPROTO_FRAGMENT};
	return true;
}

static void judge(struct tally *t, const struct virtio_net_hdr *h, const uint8_t *f, size_t len,
		  unsigned int want)
{
	struct view v;
	bool right, v6;

	v6 = len >= 34 && get16(f + 12) == ETH_P_IPV6;
	if (len < 34 || (!v6 && get16(f + 12) != ETH_P_IP) || (want && f[v6 ? 20 : 23] != want)) {
		t->other++;
		return;
	}
	if (v6 ? !view6(&v, f, len) : !view4(&v, f, len)) {
		t->ip_bad++;
		return;
	}
	t->ipv6 += v6;
	if (v.is_fragment) {
		t->fragments++;
		return;
	}
	if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		t->gso++;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		t->partial++;
		if (!partial_is_right(h, f, v.l4, v.l4_len, v.proto))
			t->partial_bad++;
		return;
	}
	right = complete_is_right(f + 14, v.l4_len, v.proto, v.l4);
	if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
		t->validated++;
		t->validated_bad += !right;
	} else {
		t->complete++;
		t->complete_bad += !right;
	}
}

static int cmd_verify(const char *dev, unsigned int ms, const char *proto)
{
	static uint8_t buf[FRAME_MAX];
	struct virtio_net_hdr h;
	struct tally t = {0};
	unsigned int want = proto ? proto_number(proto) : 0;
	int one = 1, room = 16 << 20, fd = packet_socket(dev);
	uint64_t end = now_ms() + ms, now;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct sockaddr_ll from;
	socklen_t from_len;
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		fail("PACKET_VNET_HDR");
	while ((now = now_ms()) < end) {
		if (poll(&p, 1, (int)(end - now)) <= 0)
			break;
		from_len = sizeof(from);
		n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);
		if (n < (ssize_t)sizeof(h) || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		memcpy(&h, buf, sizeof(h));
		judge(&t, &h, buf + sizeof(h), (size_t)n - sizeof(h), want);
	}
	printf("{\"complete\":%lu,\"complete_bad\":%lu,\"partial\":%lu,\"partial_bad\":%lu,"
	       "\"validated\":%lu,\"validated_bad\":%lu,\"gso\":%lu,\"ip_bad\":%lu,"
	       "\"fragments\":%lu,\"other\":%lu,\"ipv6\":%lu}\n",
	       t.complete, t.complete_bad, t.partial, t.partial_bad, t.validated,
	       t.validated_bad, t.gso, t.ip_bad, t.fragments, t.other,
	       t.ipv6);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "send") == 0)
		return cmd_send(argv[2], argc - 3, argv + 3);
	if (argc == 6 && strcmp(argv[1], "arp") == 0)
		return cmd_arp(argv[2], argv[3], argv[4], argv[5]);
	if (argc == 6 && strcmp(argv[1], "nd") == 0)
		return cmd_nd(argv[2], argv[3], argv[4], argv[5]);
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "verify") == 0)
		return cmd_verify(argv[2], number(argv[3], 600000), argc == 5 ? argv[4] : NULL);
	fputs("usage: wire send|arp|nd|verify DEV ... (see wire.c)\n", stderr);
	return 2;
}
