/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/daemon.h"

int main(int argc, char **argv)
{
	static struct options options;
	static struct daemon d;
	int err;

	switch (options_parse(&options, argc, argv)) {
	case OPTIONS_EXIT_OK:
		return 0;
	case OPTIONS_EXIT_USAGE:
		return 2;
	case OPTIONS_RUN:
		break;
	}
	err = daemon_start(&d, &options);
	if (err == 0)
		err = options.check_only ? daemon_check(&d) : daemon_run(&d);
	daemon_stop(&d);
	return err == 0 ? 0 : 1;
}
