/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: one line in, one JSON object out, closed.
 *
 * Requests: "status", "status MEMBER" for one member of that object, and "explain ..."
 * as question_line() writes it. The socket is root's (mode 0600); still, a client that
 * does not read or write costs a slot for CONTROL_TIMEOUT_MS and nothing else.
 */
#ifndef FIREWALL_CONTROL_H
#define FIREWALL_CONTROL_H

#include <stdbool.h>

#define CONTROL_CLIENTS	   8
#define CONTROL_TIMEOUT_MS 5000
#define CONTROL_LINE_MAX   128

struct control;
struct daemon;

/**
 * control_new() - listen on the options' control path
 *
 * Replaces a socket that nobody listens on any more; refuses one that another
 * daemon serves. Says what went wrong.
 * Return: 0 or -errno.
 */
int control_new(struct control **out, struct daemon *d);
void control_free(struct control **c);

/**
 * control_answer() - what the socket, or a qrexec service, says to a request
 * @request:	without its newline; is cut into words
 * @error:	whether it is an {"error": TEXT}
 *
 * Return: one line of JSON for the caller to free(), or NULL without memory.
 */
char *control_answer(const struct daemon *d, char *request, bool *error);

#endif
