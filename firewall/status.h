/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FIREWALL_STATUS_H
#define FIREWALL_STATUS_H

struct daemon;

/**
 * status_json() - what `ringfence status` prints: ringfence(1) lists the fields
 *
 * Return: text for the caller to free(), ending in a newline; NULL without memory.
 */
char *status_json(const struct daemon *d);

#endif
