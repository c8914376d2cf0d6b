/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/daemon.h"
#include "firewall/resolver_helper.h"

#include <string.h>

int main(int argc, char **argv)
{
	static struct options options;
	static struct daemon d;
	int err;

	/* before anything else: this process is to have nothing */
	if (argc == 2 && strcmp(argv[1], RESOLVER_HELPER_OPTION) == 0)
		return resolver_helper_main();
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
