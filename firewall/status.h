/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FIREWALL_STATUS_H
#define FIREWALL_STATUS_H

#include <jansson.h>

struct daemon;

/**
 * status_json() - what `ringfence status` prints: ringfence(1) lists the fields
 *
 * Return: an object for the caller; NULL without memory.
 */
json_t *status_json(const struct daemon *d);

#endif
