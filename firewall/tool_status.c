/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/tool.h"

int tool_status(int argc, char **argv)
{
	static const struct option options[] = {
	    {"control", required_argument, NULL, 'c'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *path = TOOL_CONTROL_PATH;
	int opt;

	while ((opt = tool_option(argc, argv, options)) != -1) {
		if (opt == 'h')
			return tool_help();
		if (opt != 'c')
			return TOOL_USAGE;
		path = optarg;
	}
	if (optind != argc) {
		tool_error("status: takes no arguments but --control PATH");
		return TOOL_USAGE;
	}
	return tool_ask("status", path, "status\n");
}
