// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/drop.h"

#include <assert.h>
#include <stddef.h>

static const char *const drop_names[] = {
#define DROP_NAME(id, name) [DROP_##id] = name,
	DROP_REASONS(DROP_NAME)
#undef DROP_NAME
};

static_assert(sizeof(drop_names) / sizeof(drop_names[0]) == DROP_REASON_MAX,
	      "every drop reason has a name (D8)");
/* frame.reason is one byte */
static_assert(DROP_REASON_MAX <= 256, "a reason fits struct frame");

const char *drop_name(enum drop_reason reason)
{
	if ((size_t)reason >= DROP_REASON_MAX)
		return "unknown";
	return drop_names[reason];
}
