// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * reload NS-PREFIX SOCKET 4|6 storm COMMITS		which policy judges what
 * reload NS-PREFIX SOCKET 4|6 latency RULES TIMES	how long a commit takes
 *
 * Client 1 (device c1 in NS-PREFIX-c1) is the source; QubesDB is the lab's server at
 * SOCKET, and nothing else commits meanwhile. Prints a JSON object, or one line that
 * says what was wrong.
 */
#include "tests/net/reload/reload.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct config config;

void die(const char *fmt, ...)
{
	va_list ap;

	fputs("reload: ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	exit(1);
}

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || n > 1000000)
		die("not a number: %s", text);
	return (unsigned int)n;
}

int main(int argc, char **argv)
{
	bool is_storm = argc == 6 && strcmp(argv[4], "storm") == 0;

	if (!is_storm && (argc != 7 || strcmp(argv[4], "latency") != 0))
		die("usage: NS-PREFIX SOCKET 4|6 storm COMMITS | latency RULES TIMES");
	config = (struct config){argv[1], argv[2], number(argv[3]) == 6 ? 6 : 4};
	dom0_open(); /* before the namespaces: the socket is where we come from */
	probe_open();
	if (is_storm)
		storm(number(argv[5]));
	else
		latency(number(argv[5]), number(argv[6]));
	return 0;
}
