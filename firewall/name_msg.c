/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/name_msg.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct name_request) == 16 + 4 * NAME_SERVERS_MAX + 256, "no holes");
static_assert(sizeof(struct name_reply) == 36 + 16 * NAME_SET_MAX, "no holes");

static bool is_zero(const void *bytes, size_t len)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++)
		if (b[i] != 0)
			return false;
	return true;
}

void name_servers_request(struct name_request *out, const struct addr *servers, size_t count)
{
	memset(out, 0, sizeof(*out));
	out->type = NAME_SERVERS;
	for (size_t i = 0; i < count && out->count < NAME_SERVERS_MAX; i++)
		if (servers[i].family == 4)
			memcpy(out->servers[out->count++], servers[i].bytes, 4);
}

void name_ask_request(struct name_request *out, uint32_t id, uint8_t family, const char *name)
{
	size_t len = strnlen(name, sizeof(out->name) - 1);

	memset(out, 0, sizeof(*out));
	out->type = NAME_ASK;
	out->id = id;
	out->family = family;
	memcpy(out->name, name, len);
}

static bool servers_check(const struct name_request *r)
{
	if (r->id != 0 || r->family != 0 || r->count > NAME_SERVERS_MAX ||
	    !is_zero(r->name, sizeof(r->name)))
		return false;
	for (size_t i = 0; i < NAME_SERVERS_MAX; i++)
		if (is_zero(r->servers[i], 4) != (i >= r->count))
			return false;
	return true;
}

static bool ask_check(const struct name_request *r)
{
	size_t len = strnlen(r->name, sizeof(r->name));

	if (r->id == 0 || (r->family != 4 && r->family != 6) || r->count != 0 ||
	    !is_zero(r->servers, sizeof(r->servers)) || len == sizeof(r->name) ||
	    !is_zero(r->name + len, sizeof(r->name) - len) || !dns_name_is_possible(r->name))
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = r->name[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '.' &&
		    c != '_')
			return false;
	}
	return true;
}

bool name_request_check(struct name_request *out, const void *bytes, size_t len)
{
	struct name_request r;

	if (len != sizeof(r))
		return false;
	memcpy(&r, bytes, sizeof(r));
	if (!(r.type == NAME_SERVERS && servers_check(&r)) &&
	    !(r.type == NAME_ASK && ask_check(&r)))
		return false;
	*out = r;
	return true;
}

void name_reply_make(struct name_reply *out, uint32_t id, uint8_t family,
		     const struct name_answer *answer)
{
	memset(out, 0, sizeof(*out));
	out->type = NAME_REPLY;
	out->id = id;
	out->family = family;
	out->outcome = answer->outcome;
	if (answer->outcome != DNS_ADDRESSES)
		return;
	out->ttl_s = answer->ttl_s;
	out->more = answer->more;
	for (size_t i = 0; i < answer->count; i++)
		if (answer->addrs[i].family == family)
			memcpy(out->addrs[out->count++], answer->addrs[i].bytes,
			       addr_len(&answer->addrs[i]));
}

static bool answer_check(const struct name_reply *r)
{
	size_t used = r->family == 4 ? 4 : 16;

	if (r->id == 0 || (r->family != 4 && r->family != 6) || r->outcome >= DNS_OUTCOMES ||
	    r->count > NAME_SET_MAX || r->more > 1 || r->ttl_s > INT32_MAX ||
	    r->stage != NAME_STAGE_NONE || r->detail != 0)
		return false;
	if (r->outcome != DNS_ADDRESSES && (r->count != 0 || r->ttl_s != 0 || r->more != 0))
		return false;
	for (size_t i = 0; i < NAME_SET_MAX; i++)
		if (!is_zero(r->addrs[i] + (i < r->count ? used : 0),
			     16 - (i < r->count ? used : 0)))
			return false;
	return true;
}

/* Everything but type, stage and detail is zero. */
static bool report_check(const struct name_reply *r)
{
	if (r->id != 0 || r->family != 0 || r->outcome != 0 || r->ttl_s != 0 || r->count != 0 ||
	    r->more != 0 || !is_zero(r->addrs, sizeof(r->addrs)))
		return false;
	if (r->type == NAME_FAILED)
		return r->stage > NAME_STAGE_NONE && r->stage < NAME_STAGES && r->detail >= 0 &&
		       r->detail < 4096;
	if (r->type == NAME_DIED)
		return r->stage == NAME_STAGE_NONE && r->detail >= 0 && r->detail <= 0xffff;
	return r->type == NAME_HELLO && r->stage == NAME_STAGE_NONE && r->detail == 0;
}

bool name_reply_check(struct name_reply *out, const void *bytes, size_t len)
{
	struct name_reply r;

	if (len != sizeof(r))
		return false;
	memcpy(&r, bytes, sizeof(r));
	if (!(r.type == NAME_REPLY ? answer_check(&r) : report_check(&r)))
		return false;
	*out = r;
	return true;
}

void name_reply_answer(struct name_answer *out, const struct name_reply *reply)
{
	memset(out, 0, sizeof(*out));
	out->outcome = (enum dns_outcome)reply->outcome;
	out->ttl_s = reply->ttl_s;
	out->more = reply->more != 0;
	out->count = reply->count;
	for (size_t i = 0; i < out->count; i++) {
		out->addrs[i].family = (uint8_t)reply->family;
		memcpy(out->addrs[i].bytes, reply->addrs[i], addr_len(&out->addrs[i]));
	}
}

const char *name_stage_text(enum name_stage stage)
{
	static const char *const texts[] = {
		[NAME_STAGE_NONE] = "",
		[NAME_STAGE_LIMITS] = "limits",
		[NAME_STAGE_USER] = "another user",
		[NAME_STAGE_FILTER] = "filter of system calls",
		[NAME_STAGE_ARES] = "c-ares",
		[NAME_STAGE_FORK] = "fork",
	};

	static_assert(sizeof(texts) / sizeof(texts[0]) == NAME_STAGES, "one text a stage");
	return stage < NAME_STAGES ? texts[stage] : "?";
}
