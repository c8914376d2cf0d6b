/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rules/text.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
}

static size_t escaped_len(const char *bytes, size_t len, size_t enough)
{
	size_t need = 0;

	for (size_t i = 0; i < len && need <= enough; i++)
		need += is_plain((unsigned char)bytes[i]) ? 1 : 4;
	return need;
}

const char *text_escape(char *buf, size_t size, const char *bytes, size_t len)
{
	size_t room, at = 0;
	bool cut;

	assert(size >= 8);
	cut = escaped_len(bytes, len, size - 1) > size - 1;
	room = cut ? size - 1 - 3 : size - 1;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];
		size_t need = is_plain(c) ? 1 : 4;

		if (need > room - at)
			break;
		if (need == 1)
			buf[at] = (char)c;
		else
			snprintf(buf + at, 5, "\\x%02x", c);
		at += need;
	}
	memcpy(buf + at, cut ? "..." : "", cut ? 4 : 1);
	return buf;
}

const char *text_word(const char **rest, size_t *len)
{
	const char *word;

	if (*rest == NULL)
		return NULL;
	word = *rest + strspn(*rest, " ");
	*len = strcspn(word, " ");
	*rest = word + *len;
	return *len > 0 ? word : NULL;
}
