/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/options.h"

#include "firewall/log.h"
#include "netback/netback.h"
#include "rules/addr.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS_DEFAULT	65536
#define FLOWS_MIN	1024
#define NAME_TIME_MAX_S 86400
#define FLOWS_MAX	(1u << 20)
#define SPIN_US_DEFAULT 0 /* takes time from the peers unless the host has idle cores */
#define SPIN_US_MAX	1000

static const char usage[] =
	"usage: ringfenced [--xen] [--tap uplink=DEV[,mac=MAC]]\n"
	"                  [--tap client=DEV,ip=ADDR[,ip6=ADDR][,mac=MAC]]... [option]...\n"
	"\n"
	"The firewall between client qubes and their uplink.\n"
	"\n"
	"  --xen                 serve Xen vifs (default when there is no --tap)\n"
	"  --tap ROLE=DEV,...    use an existing TAP device as uplink or as a client\n"
	"  --qubesdb SOURCE      vchan[:DOMID:PORT] (default), socket:PATH or file:PATH\n"
	"  --qrexec              answer dom0's qrexec, once rules are in force\n"
	"  --resolve NAME=ADDR,...  what a dsthost resolves to, without asking\n"
	"  --self[=DEV]          TUN into the own kernel, which may ask the DNS servers; all\n"
	"                        other names in rules are then looked up there\n"
	"  --name-time CLASS=S   seconds (1..86400): ttl-min 30, ttl-max 3600, grace 600\n"
	"  --control PATH        socket of `ringfence status` (default /run/ringfenced.sock)\n"
	"  --flows N             flows at a time, 1024..1048576 (default 65536)\n"
	"  --timeout CLASS=S     seconds without a packet after which a flow ends (1..1209600):\n"
	"                        tcp-opening 240, tcp-open 86400, tcp-half-closed 900,\n"
	"                        tcp-closing 240, udp-unreplied 120, udp-replied 300,\n"
	"                        dns-unreplied 30, dns-replied 5, icmp 60, other 600,\n"
	"                        mapping 300, fragment-ipv4 30, fragment-ipv6 60\n"
	"  --pass-ip-options     let IPv4 options pass, but for source routes\n"
	"  --no-mss-clamp        leave the MSS option of TCP alone\n"
	"  --no-inbound-refresh  answers do not keep a UDP flow alive\n"
	"  --spin-us N           poll the rings so long before sleeping, 0..1000 (default 0)\n"
	"  --log-level LEVEL     error, warning, info (default) or debug\n"
	"  -n, --check           print the policies that would be in force, and exit\n"
	"  --help, --version\n";

static enum options_result complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static enum options_result complain(const char *fmt, ...)
{
	va_list ap;

	fputs("ringfenced: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (ringfenced --help lists the options)\n", stderr);
	return OPTIONS_EXIT_USAGE;
}

static int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	char *end;
	unsigned long v;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || v < min || v > max)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

/* One "key=value" of a --tap after the role. */
static enum options_result tap_field(struct tap_option *tap, const char *key, const char *value,
				     struct addr *ip, struct addr *ip6)
{
	if (strcmp(key, "mac") == 0) {
		if (netback_parse_mac(value, tap->mac) != 0)
			return complain("--tap %s: mac: \"%s\" is not the MAC address of a station",
					tap->device, value);
		tap->has_mac = true;
		return OPTIONS_RUN;
	}
	if (tap->role == PORT_ROLE_CLIENT && strcmp(key, "ip") == 0) {
		if (addr_parse(value, strlen(value), ip) != 0 || ip->family != 4)
			return complain("--tap %s: ip: \"%s\" is not an IPv4 address",
					tap->device, value);
		return OPTIONS_RUN;
	}
	if (tap->role == PORT_ROLE_CLIENT && strcmp(key, "ip6") == 0) {
		if (addr_parse(value, strlen(value), ip6) != 0 || ip6->family != 6)
			return complain("--tap %s: ip6: \"%s\" is not an IPv6 address",
					tap->device, value);
		return OPTIONS_RUN;
	}
	return complain("--tap %s: unknown field \"%s\"", tap->device, key);
}

static enum options_result parse_tap(struct options *o, char *spec)
{
	struct tap_option *tap = &o->taps[o->tap_count];
	struct addr ip = {0}, ip6 = {0};
	char ip_text[ADDR_STRLEN], ip6_text[ADDR_STRLEN];
	char *rest = spec, *field;

	if (o->tap_count == OPTIONS_TAP_MAX)
		return complain("--tap: more than %d devices", OPTIONS_TAP_MAX);
	memset(tap, 0, sizeof(*tap));
	for (bool first = true; (field = strsep(&rest, ",")) != NULL; first = false) {
		char *value = strchr(field, '=');
		enum options_result r;

		if (value == NULL)
			return complain("--tap: \"%s\" is not FIELD=VALUE", field);
		*value++ = '\0';
		if (!first) {
			r = tap_field(tap, field, value, &ip, &ip6);
			if (r != OPTIONS_RUN)
				return r;
			continue;
		}
		if (strcmp(field, "uplink") == 0)
			tap->role = PORT_ROLE_UPLINK;
		else if (strcmp(field, "client") == 0)
			tap->role = PORT_ROLE_CLIENT;
		else
			return complain("--tap: \"%s\" is neither uplink nor client", field);
		if (*value == '\0' || strlen(value) >= sizeof(tap->device))
			return complain("--tap: \"%s\" is not a device name", value);
		snprintf(tap->device, sizeof(tap->device), "%s", value);
	}
	if (tap->role == PORT_ROLE_CLIENT && ip.family == 0)
		return complain("--tap client=%s: needs ip=ADDR", tap->device);
	if (ip.family != 0)
		snprintf(tap->ip, sizeof(tap->ip), "%s%s%s", addr_format(&ip, ip_text),
			 ip6.family ? " " : "", ip6.family ? addr_format(&ip6, ip6_text) : "");
	o->tap_count++;
	return OPTIONS_RUN;
}

/* Where the timeout of a class is kept, and how long it may be; or NULL. */
static uint32_t *timeout_of(struct options *o, const char *class, uint32_t *max)
{
	*max = FRAG_TIMEOUT_MAX_S;
	if (strcmp(class, "fragment-ipv4") == 0)
		return &o->frag_timeout_s[V4];
	if (strcmp(class, "fragment-ipv6") == 0)
		return &o->frag_timeout_s[V6];
	*max = FLOW_TIMEOUT_MAX_S;
	for (unsigned int i = 0; i < FLOW_TIMERS; i++)
		if (strcmp(class, flow_timer_name((enum flow_timer)i)) == 0)
			return &o->timeout_s[i];
	return NULL;
}

static enum options_result parse_timeout(struct options *o, char *arg)
{
	char *value = strchr(arg, '=');
	uint32_t *timeout, max;

	if (value == NULL)
		return complain("--timeout: \"%s\" is not CLASS=SECONDS", arg);
	*value++ = '\0';
	timeout = timeout_of(o, arg, &max);
	if (timeout == NULL)
		return complain("--timeout: \"%s\" is no class of flows", arg);
	if (parse_u32(value, 1, max, timeout) != 0)
		return complain("--timeout %s: \"%s\" is not a number from 1 to %u", arg, value,
				max);
	return OPTIONS_RUN;
}

static enum options_result parse_name_time(struct options *o, char *arg)
{
	char *value = strchr(arg, '=');
	uint32_t *time;

	if (value == NULL)
		return complain("--name-time: \"%s\" is not CLASS=SECONDS", arg);
	*value++ = '\0';
	time = strcmp(arg, "ttl-min") == 0   ? &o->name_times.ttl_min_s
	       : strcmp(arg, "ttl-max") == 0 ? &o->name_times.ttl_max_s
	       : strcmp(arg, "grace") == 0   ? &o->name_times.grace_s
					     : NULL;
	if (time == NULL)
		return complain("--name-time: \"%s\" is none of ttl-min, ttl-max, grace", arg);
	if (parse_u32(value, 1, NAME_TIME_MAX_S, time) != 0)
		return complain("--name-time %s: \"%s\" is not a number from 1 to %d", arg, value,
				NAME_TIME_MAX_S);
	return OPTIONS_RUN;
}

enum {
	OPT_XEN = 256, OPT_TAP, OPT_QUBESDB, OPT_RESOLVE, OPT_SELF, OPT_CONTROL, OPT_FLOWS,
	OPT_TIMEOUT, OPT_PASS_OPTIONS, OPT_NO_CLAMP, OPT_NO_REFRESH, OPT_SPIN, OPT_LOG, OPT_HELP,
	OPT_NAME_TIME, OPT_QREXEC, OPT_VERSION,
};

static const struct option long_options[] = {
	{"xen", no_argument, NULL, OPT_XEN},
	{"tap", required_argument, NULL, OPT_TAP},
	{"qubesdb", required_argument, NULL, OPT_QUBESDB},
	{"qrexec", no_argument, NULL, OPT_QREXEC},
	{"resolve", required_argument, NULL, OPT_RESOLVE},
	{"self", optional_argument, NULL, OPT_SELF},
	{"name-time", required_argument, NULL, OPT_NAME_TIME},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"flows", required_argument, NULL, OPT_FLOWS},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"pass-ip-options", no_argument, NULL, OPT_PASS_OPTIONS},
	{"no-mss-clamp", no_argument, NULL, OPT_NO_CLAMP},
	{"no-inbound-refresh", no_argument, NULL, OPT_NO_REFRESH},
	{"spin-us", required_argument, NULL, OPT_SPIN},
	{"log-level", required_argument, NULL, OPT_LOG},
	{"check", no_argument, NULL, 'n'},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* Options without an argument. */
static enum options_result parse_flag(struct options *o, int opt)
{
	bool *const flag = opt == OPT_XEN	    ? &o->use_xen
			   : opt == OPT_QREXEC	     ? &o->use_qrexec
			   : opt == OPT_PASS_OPTIONS ? &o->pass_ip_options
			   : opt == OPT_NO_CLAMP     ? &o->no_mss_clamp
			   : opt == OPT_NO_REFRESH   ? &o->no_inbound_refresh
			   : opt == 'n'		     ? &o->check_only
						     : NULL;

	if (flag == NULL)
		return OPTIONS_EXIT_USAGE; /* getopt has said what is wrong */
	*flag = true;
	return OPTIONS_RUN;
}

static enum options_result parse_one(struct options *o, int opt, char *arg)
{
	switch (opt) {
	case OPT_TAP:
		return parse_tap(o, arg);
	case OPT_QUBESDB:
		o->qubesdb = arg;
		return OPTIONS_RUN;
	case OPT_RESOLVE:
		if (o->resolve_count == OPTIONS_RESOLVE_MAX)
			return complain("--resolve: more than %d names", OPTIONS_RESOLVE_MAX);
		o->resolve[o->resolve_count++] = arg;
		return OPTIONS_RUN;
	case OPT_SELF:
		o->self_device = arg != NULL ? arg : "rf-self";
		return OPTIONS_RUN;
	case OPT_CONTROL:
		/* an empty path would be an abstract socket, open to every user */
		if (*arg == '\0')
			return complain("--control: needs a path");
		o->control = arg;
		return OPTIONS_RUN;
	case OPT_FLOWS:
		if (parse_u32(arg, FLOWS_MIN, FLOWS_MAX, &o->flows) != 0)
			return complain("--flows: \"%s\" is not a number from %d to %u", arg,
					FLOWS_MIN, FLOWS_MAX);
		return OPTIONS_RUN;
	case OPT_TIMEOUT:
		return parse_timeout(o, arg);
	case OPT_NAME_TIME:
		return parse_name_time(o, arg);
	case OPT_SPIN:
		if (parse_u32(arg, 0, SPIN_US_MAX, &o->spin_us) != 0)
			return complain("--spin-us: \"%s\" is not a number from 0 to %d", arg,
					SPIN_US_MAX);
		return OPTIONS_RUN;
	case OPT_LOG:
		o->log_level = log_level_parse(arg);
		if (o->log_level < 0)
			return complain("--log-level: \"%s\" is no level", arg);
		return OPTIONS_RUN;
	case OPT_HELP:
		fputs(usage, stdout);
		return OPTIONS_EXIT_OK;
	case OPT_VERSION:
		puts("ringfenced " RINGFENCE_VERSION);
		return OPTIONS_EXIT_OK;
	default:
		return parse_flag(o, opt);
	}
}

enum options_result options_parse(struct options *o, int argc, char **argv)
{
	int opt;

	memset(o, 0, sizeof(*o));
	o->qubesdb = "vchan";
	o->control = "/run/ringfenced.sock";
	o->flows = FLOWS_DEFAULT;
	o->spin_us = SPIN_US_DEFAULT;
	o->log_level = LOG_LEVEL_INFO;
	while ((opt = getopt_long(argc, argv, "n", long_options, NULL)) != -1) {
		enum options_result r = parse_one(o, opt, optarg);

		if (r != OPTIONS_RUN)
			return r;
	}
	if (optind < argc)
		return complain("unexpected argument \"%s\"", argv[optind]);
	/* elsewhere dom0's qrexec has an agent, and QubesDB a daemon */
	if (o->use_qrexec && strncmp(o->qubesdb, "vchan", 5) != 0)
		return complain("--qrexec: not with --qubesdb %s, only with a vchan", o->qubesdb);
	if (o->tap_count == 0)
		o->use_xen = true;
	return OPTIONS_RUN;
}
