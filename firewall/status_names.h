/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FIREWALL_STATUS_NAMES_H
#define FIREWALL_STATUS_NAMES_H

#include "firewall/resolver.h"

#include <jansson.h>

/** status_names_json() - an array: each name with its state and addresses */
json_t *status_names_json(const struct resolver *r);

/** status_resolver_json() - an object: whether there is somebody to ask */
json_t *status_resolver_json(const struct resolver *r);

#endif
