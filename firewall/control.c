/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/control.h"

#include "firewall/daemon.h"
#include "firewall/explain.h"
#include "firewall/log.h"
#include "firewall/status.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static_assert(CONTROL_LINE_MAX >= QUESTION_LINE_MAX, "a question fits");

struct client {
	struct loop_watch watch; /* fd -1: a free slot */
	struct control *control;
	char line[CONTROL_LINE_MAX];
	size_t line_len;
	char *reply;
	size_t reply_len, sent;
};

struct control {
	struct daemon *d;
	struct loop_watch listen;
	struct client clients[CONTROL_CLIENTS];
};

static void client_close(struct client *c)
{
	if (c->watch.fd < 0)
		return;
	loop_remove(c->control->d->loop, &c->watch);
	close(c->watch.fd);
	c->watch.fd = -1;
	free(c->reply);
	c->reply = NULL;
}

static void client_write(struct client *c)
{
	while (c->sent < c->reply_len) {
		ssize_t n = send(c->watch.fd, c->reply + c->sent, c->reply_len - c->sent,
				 MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (!c->watch.want_write) {
				c->watch.want_write = true;
				loop_update(c->control->d->loop, &c->watch);
			}
			return;
		}
		if (n < 0)
			break;
		c->sent += (size_t)n;
	}
	client_close(c);
}

/* One line; NULL without memory. */
static char *line_of(const json_t *j)
{
	char *dump = json_dumps(j, JSON_COMPACT), *line = NULL;

	if (dump != NULL && asprintf(&line, "%s\n", dump) < 0)
		line = NULL;
	free(dump);
	return line;
}

/* One member of the status, still as an object. */
static json_t *status_member(const struct daemon *d, const char *name)
{
	json_t *all = status_json(d), *one = json_object_get(all, name);
	json_t *j = one != NULL ? json_pack("{s:O}", name, one)
				: json_pack("{s:s}", "error", "status has no such member");

	json_decref(all);
	return j;
}

char *control_answer(const struct daemon *d, char *request, bool *error)
{
	static const char explain[] = QUESTION_REQUEST " ", member[] = "status ";
	char *line;
	json_t *j;

	if (strcmp(request, "status") == 0)
		j = status_json(d);
	else if (strncmp(request, member, sizeof(member) - 1) == 0)
		j = status_member(d, request + sizeof(member) - 1);
	else if (strncmp(request, explain, sizeof(explain) - 1) == 0)
		j = explain_live(d, request + sizeof(explain) - 1);
	else
		j = json_pack("{s:s}", "error", "unknown request");
	/* the mistakes in a source's rules are an object: that is an answer */
	*error = json_is_string(json_object_get(j, "error"));
	line = line_of(j);
	json_decref(j);
	return line;
}

static void client_answer(struct client *c)
{
	bool error;

	c->reply = control_answer(c->control->d, c->line, &error);
	if (c->reply == NULL) {
		client_close(c);
		return;
	}
	c->reply_len = strlen(c->reply);
	client_write(c);
}

static void client_read(struct client *c)
{
	size_t room = sizeof(c->line) - 1 - c->line_len;
	ssize_t n = recv(c->watch.fd, c->line + c->line_len, room, 0);
	char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(c);
		return;
	}
	c->line_len += (size_t)n;
	c->line[c->line_len] = '\0';
	end = memchr(c->line, '\n', c->line_len);
	if (end != NULL) {
		*end = '\0';
		/* what stands behind a NUL is not to be overlooked: no request has one */
		if (strlen(c->line) != (size_t)(end - c->line))
			c->line[0] = '\0';
		client_answer(c);
	} else if (c->line_len == sizeof(c->line) - 1) {
		client_close(c);
	}
}

static void client_ready(void *arg, uint64_t now_ms)
{
	struct client *c = arg;

	if (now_ms >= c->watch.deadline_ms)
		client_close(c);
	else if (c->reply != NULL)
		client_write(c);
	else
		client_read(c);
}

static void accept_ready(void *arg, uint64_t now_ms)
{
	struct control *ctl = arg;
	int fd = accept4(ctl->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *c = &ctl->clients[i];

		if (c->watch.fd >= 0)
			continue;
		*c = (struct client){.control = ctl};
		c->watch = (struct loop_watch){.fd = fd,
					       .deadline_ms = now_ms + CONTROL_TIMEOUT_MS,
					       .ready = client_ready, .arg = c};
		if (loop_add(ctl->d->loop, &c->watch) == 0)
			return;
		c->watch.fd = -1;
		break;
	}
	close(fd); /* busy: the tool says that the daemon closed the connection */
}

static int listen_on(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, err = 0;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	/* connect() says ECONNREFUSED of a plain file, too: nothing to replace */
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	memcpy(sa.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		err = -EADDRINUSE;
	else if (errno == ECONNREFUSED)
		(void)unlink(path);
	if (err == 0) {
		mode_t old = umask(0177);

		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
		    listen(fd, CONTROL_CLIENTS) != 0)
			err = -errno;
		umask(old);
	}
	if (err != 0) {
		close(fd);
		return err;
	}
	return fd;
}

int control_new(struct control **out, struct daemon *d)
{
	struct control *ctl = calloc(1, sizeof(*ctl));
	int fd;

	if (ctl == NULL)
		return -ENOMEM;
	fd = listen_on(d->options->control);
	if (fd < 0) {
		log_msg(LOG_LEVEL_ERROR, "--control %s: %s", d->options->control,
			fd == -EADDRINUSE ? "another ringfenced serves it" : strerror(-fd));
		free(ctl);
		return fd;
	}
	ctl->d = d;
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		ctl->clients[i].watch.fd = -1;
	ctl->listen = (struct loop_watch){.fd = fd, .deadline_ms = UINT64_MAX,
					  .ready = accept_ready, .arg = ctl};
	*out = ctl;
	return loop_add(d->loop, &ctl->listen);
}

void control_free(struct control **out)
{
	struct control *ctl = *out;

	if (ctl == NULL)
		return;
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		client_close(&ctl->clients[i]);
	loop_remove(ctl->d->loop, &ctl->listen);
	close(ctl->listen.fd);
	(void)unlink(ctl->d->options->control);
	free(ctl);
	*out = NULL;
}
