// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DNS messages from the wire: the first byte says whether the rest is a query or an
 * answer to a question that stands before it. What is read out must be what a rule
 * could name, and within its bounds.
 */
#include "firewall/dns_message.h"
#include "tests/fuzz/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_name(const char *name)
{
	size_t len = strlen(name);

	REQUIRE(len > 0 && len < DNS_NAME_MAX);
	REQUIRE(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_question q = { .id = 7, .type = DNS_TYPE_A, .name = "www.example.com" };
	struct dns_answer a;

	if (size == 0)
		return 0;
	if (data[0] & 1) {
		if (dns_query_parse(data + 1, size - 1, &q))
			check_name(q.name);
		return 0;
	}
	if (data[0] & 2)
		q.type = DNS_TYPE_AAAA;
	if (!dns_answer_parse(data + 1, size - 1, &q, &a))
		return 0;
	REQUIRE(a.count <= DNS_ADDRS_MAX);
	for (size_t i = 0; i < a.count; i++)
		REQUIRE(a.addr[i].family == (q.type == DNS_TYPE_A ? 4 : 6));
	return 0;
}
