// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Small strict helpers over the xenstore operations of the seam.
 *
 * What a frontend writes is hostile text: a number is one to ten decimal digits,
 * nothing else, and fits 32 bits.
 */
#include "netback/device.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int parse_u32(const char *text, uint32_t *value)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; text[n]; n++) {
		if (n == 10 || text[n] < '0' || text[n] > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(text[n] - '0');
	}
	if (n == 0 || v > UINT32_MAX)
		return -EINVAL;
	*value = (uint32_t)v;
	return 0;
}

/**
 * xenbus_read_u32() - read a node that holds a decimal number
 *
 * Return: 0; -EINVAL when the text is no number of 32 bits (also when it is too
 * long to be one); -ENOENT, -EACCES and others as they come. @value is unchanged
 * on failure.
 */
int xenbus_read_u32(struct xen *x, uint32_t t, const char *path, uint32_t *value)
{
	char buf[16];
	int ret = x->ops->store_read(x, t, path, buf, sizeof(buf));

	if (ret == -E2BIG)
		return -EINVAL;
	if (ret)
		return ret;
	return parse_u32(buf, value);
}

/** xenbus_printf() - write a formatted node; -E2BIG when it is too long */
int xenbus_printf(struct xen *x, uint32_t t, const char *path, const char *fmt, ...)
{
	char value[XEN_VALUE_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(value))
		return -E2BIG;
	return x->ops->store_write(x, t, path, value);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int netback_parse_mac(const char *text, uint8_t mac[6])
{
	uint8_t got[6];

	for (unsigned int i = 0; i < 6; i++, text += 3) {
		int hi = hex(text[0]), lo = hi < 0 ? -1 : hex(text[1]);

		if (lo < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		got[i] = (uint8_t)(hi << 4 | lo);
	}
	if ((got[0] & 1) || !(got[0] | got[1] | got[2] | got[3] | got[4] | got[5]))
		return -EINVAL;
	memcpy(mac, got, sizeof(got));
	return 0;
}

/** xenbus_state_name() - for log lines and status; "?" for what is no state */
const char *xenbus_state_name(unsigned int state)
{
	static const char *const names[] = {
		[XB_UNKNOWN] = "Unknown",
		[XB_INITIALISING] = "Initialising",
		[XB_INIT_WAIT] = "InitWait",
		[XB_INITIALISED] = "Initialised",
		[XB_CONNECTED] = "Connected",
		[XB_CLOSING] = "Closing",
		[XB_CLOSED] = "Closed",
		[XB_RECONFIGURING] = "Reconfiguring",
		[XB_RECONFIGURED] = "Reconfigured",
	};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

/** xen_close() - close an implementation of the seam */
void xen_close(struct xen **x)
{
	if (*x)
		(*x)->ops->close(*x);
	*x = NULL;
}
