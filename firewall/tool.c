/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
    {"explain", tool_explain},
    {"check", tool_check},
    {"status", tool_status},
};

void tool_error(const char *format, ...)
{
	va_list ap;

	fputs("ringfence: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int tool_option(int argc, char **argv, const struct option *options)
{
	int at = optind > 0 ? optind : 1, opt;

	opterr = 0;
	opt = getopt_long(argc, argv, ":", options, NULL);
	if (opt == ':') {
		tool_error("%s: %s needs a value", argv[0], argv[optind - 1]);
		return '?';
	}
	/* getopt has stepped over the word, or stands in a cluster like -xy. */
	if (opt == '?')
		tool_error("%s: bad option %s", argv[0],
			   optind > at ? argv[optind - 1] : argv[optind]);
	return opt;
}

int tool_help(void)
{
	fputs("usage: ringfence explain [--control PATH] [--trace] SRC PROTO DST [PORT|TYPE]\n"
	      "       ringfence explain --db DB [--resolve NAME=ADDR,...]... [--trace]\n"
	      "                         SRC PROTO DST [PORT|TYPE]\n"
	      "       ringfence check --db DB\n"
	      "       ringfence status [--control PATH]\n"
	      "       ringfence --help | --version\n"
	      "\n"
	      "explain  which rule decides on the first packet of a flow, as JSON: in the\n"
	      "         running daemon, or with --db by the rules in a database\n"
	      "         PROTO DST PORT   tcp or udp\n"
	      "         icmp DST TYPE    ICMPv6 when SRC is an IPv6 address\n"
	      "         NUMBER DST       any other IP protocol\n"
	      "check    every problem of rules and settings as \"PATH: problem\"; exit 1 if any\n"
	      "status   what the running daemon knows, as JSON\n"
	      "\n"
	      "  --trace            why each rule before did not match\n"
	      "  --db DB            QubesDB: a file, one \"PATH = VALUE\" a line, or\n"
	      "                     socket:PATH of a QubesDB daemon\n"
	      "  --resolve NAME=ADDR,...\n"
	      "                     what a dsthost resolves to; others do not resolve\n"
	      "  --control PATH     the daemon's socket (/run/ringfenced.sock)\n",
	      stdout);
	return tool_flush(TOOL_OK);
}

int tool_flush(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	tool_error("cannot write to standard output");
	return TOOL_USAGE;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		tool_error("no command given; see ringfence --help");
		return TOOL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return tool_help();
	if (strcmp(argv[1], "--version") == 0) {
		puts("ringfence " RINGFENCE_VERSION);
		return tool_flush(TOOL_OK);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	tool_error("unknown command \"%s\"; see ringfence --help", argv[1]);
	return TOOL_USAGE;
}
