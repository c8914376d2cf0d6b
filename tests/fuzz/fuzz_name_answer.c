/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A DNS message from bytes, as the answer to a question for "a.test", and what must
 * hold for any of them.
 *
 * Input: one byte (bit 0: the question was for AAAA), then the message.
 */
#include "firewall/name_msg.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct name_answer a, again;
	struct name_reply reply;
	uint8_t family, *exact;

	if (size == 0)
		return 0;
	family = data[0] & 1 ? 6 : 4;
	exact = malloc(size); /* of exactly the size: ASan sees a byte too far */
	assert(exact != NULL);
	memcpy(exact, data + 1, size - 1);
	name_answer_parse(&a, exact, size - 1, "a.test", family);
	name_answer_parse(&again, exact, size - 1, "A.Test.", family);
	free(exact);
	assert(a.outcome == again.outcome && a.ttl_s == again.ttl_s && a.more == again.more &&
	       a.count == again.count);
	assert(a.outcome < DNS_OUTCOMES && a.count <= NAME_SET_MAX);
	assert(a.outcome == DNS_ADDRESSES || (a.count == 0 && a.ttl_s == 0 && !a.more));
	assert(a.outcome != DNS_TIMEOUT && a.ttl_s <= INT32_MAX);
	assert(!a.more || a.count == NAME_SET_MAX);
	for (size_t i = 0; i < a.count; i++)
		for (size_t k = 0; k <= i; k++)
			assert(a.addrs[i].family == family &&
			       (i == k || !addr_equal(&a.addrs[i], &a.addrs[k])));
	/* whatever was read, the daemon accepts the message about it */
	name_reply_make(&reply, 1, family, &a);
	assert(name_reply_check(&reply, &reply, sizeof(reply)));
	name_reply_answer(&again, &reply);
	assert(again.count == a.count && again.outcome == a.outcome);
	return 0;
}
