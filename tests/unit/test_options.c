/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/options.h"

#include "firewall/log.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

static struct options o;

/* Words separated by spaces; stderr of a refusal goes to /dev/null. */
static enum options_result parse(const char *line)
{
	static char copy[1024], name[] = "ringfenced";
	char *argv[32] = {name}, *rest = copy;
	int argc = 1, err_fd = dup(STDERR_FILENO), null_fd = open("/dev/null", O_WRONLY);
	enum options_result r;

	snprintf(copy, sizeof(copy), "%s", line);
	while (rest != NULL && *rest != '\0' && argc < 31)
		argv[argc++] = strsep(&rest, " ");
	argv[argc] = NULL;
	optind = 0; /* glibc: start over */
	dup2(null_fd, STDERR_FILENO);
	r = options_parse(&o, argc, argv);
	dup2(err_fd, STDERR_FILENO);
	close(err_fd);
	close(null_fd);
	return r;
}

int main(void)
{
	static const char *const bad[] = {
		"--timeout", "--timeout tcp-open", "--timeout nothing=1", "--timeout icmp=0",
		"--timeout icmp=1209601", "--timeout fragment-ipv4=3601", "--name-time",
		"--name-time grace", "--name-time ttl=1", "--name-time ttl-min=0",
		"--name-time ttl-max=86401", "--name-time grace=1s",
		"--nonsense", "stray", "--tap", "--tap client", "--tap client=c1",
		"--tap other=c1,ip=10.0.0.1", "--tap client=c1,ip=10.0.0",
		"--tap client=,ip=10.0.0.1",
		"--tap client=c1,ip=fd00::1", "--tap client=c1,ip=10.0.0.1,ip6=10.0.0.2",
		"--tap client=c1,ip=10.0.0.1,mac=00:16:3e", "--tap uplink=u,ip=10.0.0.1",
		"--tap client=c1,ip=10.0.0.1,mac=01:16:3e:00:00:01", "--tap uplink=u,mtu=9",
		"--tap client=a-name-of-16-ch,ip=10.0.0.1,",
		"--tap client=a-name-of-16-chr,ip=10.0.0.1",
		"--flows 0", "--flows 1023", "--flows 1048577", "--flows -1", "--flows 12x",
		"--flows",
		"--spin-us 1001", "--spin-us +1", "--log-level loud", "--qubesdb", "--control=",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		test_case(bad[i]);
		CHECK_INT(parse(bad[i]), OPTIONS_EXIT_USAGE);
	}

	test_case("options_defaults");
	CHECK_INT(parse(""), OPTIONS_RUN);
	CHECK(o.use_xen);
	CHECK_STR(o.qubesdb, "vchan");
	CHECK_STR(o.control, "/run/ringfenced.sock");
	CHECK_INT(o.flows, 65536);
	CHECK_INT(o.spin_us, 0);
	CHECK_INT(o.log_level, LOG_LEVEL_INFO);
	CHECK(o.self_device == NULL);

	test_case("options_taps");
	CHECK_INT(parse("--tap uplink=up0,mac=00:16:3e:5e:6c:00 "
			"--tap client=c1,ip=10.137.0.5,ip6=FD09:24ef:4179::a89:5 --self -n"),
		  OPTIONS_RUN);
	CHECK(!o.use_xen);
	CHECK_INT(o.tap_count, 2);
	CHECK(o.taps[0].role == PORT_ROLE_UPLINK && o.taps[0].has_mac);
	CHECK_INT(o.taps[0].mac[3], 0x5e);
	CHECK_STR(o.taps[1].device, "c1");
	CHECK_STR(o.taps[1].ip, "10.137.0.5 fd09:24ef:4179::a89:5");
	CHECK(!o.taps[1].has_mac);
	CHECK_STR(o.self_device, "rf-self");
	CHECK(o.check_only);

	test_case("T13_U1_options_timeouts");
	CHECK_INT(parse("--timeout tcp-open=7440 --timeout udp-replied=1209600 "
			"--timeout fragment-ipv6=1"),
		  OPTIONS_RUN);
	CHECK(o.timeout_s[TIMER_TCP_OPEN] == 7440 && o.timeout_s[TIMER_UDP_REPLIED] == 1209600);
	CHECK(o.frag_timeout_s[V6] == 1 && o.frag_timeout_s[V4] == 0);
	CHECK(o.timeout_s[TIMER_ICMP] == 0);

	test_case("R8_options_times_of_names");
	CHECK(o.name_times.ttl_min_s == 0);
	CHECK_INT(parse("--name-time ttl-min=1 --name-time ttl-max=86400 --name-time grace=5"),
		  OPTIONS_RUN);
	CHECK(o.name_times.ttl_min_s == 1 && o.name_times.ttl_max_s == 86400 &&
	      o.name_times.grace_s == 5);

	test_case("P5_U2_options_of_the_engine");
	CHECK(!o.pass_ip_options && !o.no_mss_clamp && !o.no_inbound_refresh);
	CHECK_INT(parse("--pass-ip-options --no-mss-clamp --no-inbound-refresh"), OPTIONS_RUN);
	CHECK(o.pass_ip_options && o.no_mss_clamp && o.no_inbound_refresh);

	test_case("options_xen_and_taps_together");
	CHECK_INT(parse("--xen --tap client=c1,ip=10.137.0.5 --spin-us 0"), OPTIONS_RUN);
	CHECK(o.use_xen);
	CHECK_INT(o.spin_us, 0);

	test_case("options_qrexec");
	CHECK(!o.use_qrexec);
	CHECK_INT(parse("--qrexec"), OPTIONS_RUN);
	CHECK(o.use_qrexec && o.use_xen);
	CHECK_INT(parse("--qubesdb vchan:0:112 --qrexec"), OPTIONS_RUN);
	CHECK_INT(parse("--qrexec --qubesdb file:a"), OPTIONS_EXIT_USAGE);
	CHECK_INT(parse("--qubesdb socket:a --qrexec"), OPTIONS_EXIT_USAGE);

	test_case("options_too_many_taps");
	{
		char *argv[2 * (OPTIONS_TAP_MAX + 1) + 2];
		char specs[OPTIONS_TAP_MAX + 1][40];
		char name[] = "ringfenced", option[] = "--tap";
		int argc = 0;

		argv[argc++] = name;
		for (int i = 0; i <= OPTIONS_TAP_MAX; i++) {
			snprintf(specs[i], sizeof(specs[i]), "client=c%d,ip=10.0.0.1", i);
			argv[argc++] = option;
			argv[argc++] = specs[i];
		}
		argv[argc] = NULL;
		optind = 0;
		CHECK_INT(options_parse(&o, argc, argv), OPTIONS_EXIT_USAGE);
	}
	return test_end();
}
