/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ask the daemon: one line out, one JSON object back, then end of file. The
 * whole exchange has one deadline, so a daemon that hangs does not hang us.
 */
#include "firewall/tool.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 5000
#define REPLY_MAX  (64u << 20)
#define REPLY_STEP 65536u

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Return: a socket that has sent the request, or -errno. */
static int ask(const char *path, const char *request, int timeout_ms)
{
	struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	ssize_t sent;
	int fd, ret;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A daemon that accepts nobody: connect() obeys the send timeout. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
	    connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0) {
		sent = send(fd, request, strlen(request), MSG_NOSIGNAL);
		if (sent == (ssize_t)strlen(request))
			return fd;
	}
	ret = errno == EAGAIN ? -ETIMEDOUT : errno != 0 ? -errno : -EIO;
	close(fd);
	return ret;
}

/* Read to the end of file. Return: bytes in *out (the caller's), or -errno. */
static ssize_t read_reply(int fd, int64_t deadline_ms, char **out)
{
	char *buf = NULL;
	size_t len = 0, size = 0;
	int ret = 0;

	while (ret == 0) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int64_t left = deadline_ms - clock_ms();
		ssize_t n;

		if (size - len < REPLY_STEP) {
			char *grown = size < REPLY_MAX ? realloc(buf, size + 4 * REPLY_STEP) : NULL;

			if (grown == NULL) {
				ret = -EMSGSIZE;
				break;
			}
			buf = grown;
			size += 4 * REPLY_STEP;
		}
		if (left <= 0 || poll(&pfd, 1, (int)left) == 0) {
			ret = -ETIMEDOUT;
			break;
		}
		n = recv(fd, buf + len, size - len, MSG_DONTWAIT);
		if (n == 0) {
			*out = buf;
			return (ssize_t)len;
		}
		if (n > 0)
			len += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			ret = -errno;
	}
	free(buf);
	return ret;
}

static int print_reply(const char *command, const char *path, const char *text, size_t len)
{
	json_error_t err;
	json_t *reply;
	const char *refusal;
	int code = TOOL_OK;

	if (len == 0) {
		tool_error("%s: %s: the daemon closed the connection", command, path);
		return TOOL_NO;
	}
	reply = json_loadb(text, len, 0, &err);
	if (reply == NULL) {
		tool_error("%s: %s: the reply is not JSON: %s", command, path, err.text);
		return TOOL_NO;
	}
	refusal = json_string_value(json_object_get(reply, "error"));
	if (refusal != NULL) {
		tool_error("%s: %s: the daemon says: %s", command, path, refusal);
		code = TOOL_NO;
	} else {
		(void)json_dumpf(reply, stdout, JSON_INDENT(2));
		putchar('\n');
		code = tool_flush(TOOL_OK);
	}
	json_decref(reply);
	return code;
}

static void say_failure(const char *command, const char *path, int error, int timeout_ms)
{
	if (error == ENOENT || error == ECONNREFUSED)
		tool_error("%s: %s: %s: no ringfenced runs there", command, path, strerror(error));
	else if (error == ETIMEDOUT)
		tool_error("%s: %s: no answer in %g s", command, path, timeout_ms / 1000.0);
	else
		tool_error("%s: %s: %s", command, path, strerror(error));
}

static int ask_within(const char *command, const char *path, const char *request, int timeout_ms)
{
	int64_t deadline_ms = clock_ms() + timeout_ms;
	char *text = NULL;
	ssize_t len;
	int fd, code;

	fd = ask(path, request, timeout_ms);
	if (fd < 0) {
		say_failure(command, path, -fd, timeout_ms);
		return TOOL_NO;
	}
	len = read_reply(fd, deadline_ms, &text);
	close(fd);
	if (len < 0) {
		say_failure(command, path, (int)-len, timeout_ms);
		return TOOL_NO;
	}
	code = print_reply(command, path, text, (size_t)len);
	free(text);
	return code;
}

int tool_ask(const char *command, const char *path, const char *request)
{
	return ask_within(command, path, request, TIMEOUT_MS);
}
