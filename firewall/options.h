/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the command line says.
 */
#ifndef FIREWALL_OPTIONS_H
#define FIREWALL_OPTIONS_H

#include "firewall/flow.h"
#include "firewall/frag.h"
#include "firewall/name_table.h"
#include "netback/port.h"

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_TAP_MAX 64
#define OPTIONS_RESOLVE_MAX 256

struct tap_option {
	enum port_role role;
	char device[16];
	char ip[128]; /* "IPv4 [IPv6]", as xenstore's ip node has it */
	uint8_t mac[6];
	bool has_mac;
};

struct options {
	bool use_xen, use_qrexec;
	struct tap_option taps[OPTIONS_TAP_MAX];
	unsigned int tap_count;
	const char *qubesdb;
	const char *resolve[OPTIONS_RESOLVE_MAX];
	unsigned int resolve_count;
	struct name_times name_times; /* 0: the default */
	const char *control;
	const char *self_device; /* NULL: no self port */
	uint32_t flows;
	uint32_t spin_us;
	uint32_t timeout_s[FLOW_TIMERS]; /* 0: the default */
	uint32_t frag_timeout_s[FAMS];	 /* likewise */
	bool pass_ip_options, no_mss_clamp, no_inbound_refresh;
	int log_level;
	bool check_only;
};

/** Outcome of options_parse(): go on, or exit with a status. */
enum options_result { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_EXIT_USAGE };

/**
 * options_parse() - read the command line
 *
 * Writes help and version to stdout, one line about a mistake to stderr.
 * Strings in @o point into @argv.
 */
enum options_result options_parse(struct options *o, int argc, char **argv);

#endif
