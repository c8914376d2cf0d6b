// SPDX-License-Identifier: GPL-2.0-or-later
#include "qubesdb/qrexec_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum input {
	NO_INPUT,   /* answers at once; what comes is thrown away */
	LINE,	    /* answers to a line */
	LINE_OR_ARG /* answers to its argument, or without one to a line */
};

struct qrexec_service {
	const char *name;
	enum input input;
	bool words; /* its argument is words: a + is a blank, a _ is a colon */
	void (*run)(const struct qrexec_host *host, const char *text, struct qrexec_reply *reply);
};

void qrexec_refuse(struct qrexec_reply *reply, const char *service, const char *why)
{
	int n;

	reply->status = QREXEC_STATUS_NO_SUCH;
	n = snprintf(reply->err, sizeof(reply->err), "ringfence: %.*s%s%s\n", QREXEC_SERVICE_SHOW,
		     service, service[0] ? ": " : "", why);
	/* The name is the caller's: what could move the cursor of a terminal does not return. */
	for (int i = 0; i < n - 1; i++)
		if (reply->err[i] < ' ' || reply->err[i] > '~')
			reply->err[i] = '?';
}

void qrexec_reply_bad(struct qrexec_reply *reply, const char *why)
{
	reply->status = QREXEC_STATUS_BAD;
	snprintf(reply->err, sizeof(reply->err), "ringfence: %s\n", why);
}

/* --- what dom0 calls in every qube ----------------------------------------------------- */

static void run_nothing(const struct qrexec_host *host, const char *text,
			struct qrexec_reply *reply)
{
	(void)host;
	(void)text;
	reply->status = 0;
}

/* "2026-11-26T06:46:02+00:00" or with a Z, as date -Iseconds has it. */
static bool is_date(const char *text)
{
	static const char *const forms[] = {"dddd-dd-ddTdd:dd:dd+dd:dd",
					    "dddd-dd-ddTdd:dd:dd-dd:dd", "dddd-dd-ddTdd:dd:ddZ"};

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		const char *form = forms[f];
		size_t i;

		for (i = 0; form[i] && text[i]; i++)
			if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
				break;
		if (!form[i] && !text[i])
			return true;
	}
	return false;
}

/* Nothing of ours looks at the time of day, so there is no clock to set. */
static void run_date(const struct qrexec_host *host, const char *text, struct qrexec_reply *reply)
{
	(void)host;
	reply->status = 0;
	if (!is_date(text))
		qrexec_reply_bad(reply, "qubes.SetDateTime: the input is not a date");
}

/* --- ours: read only ------------------------------------------------------------------- */

/* What the control socket would answer; takes no longer than there. */
static void ask(const struct qrexec_host *host, char *request, struct qrexec_reply *reply)
{
	bool error = false;

	reply->out = host->ask(host->arg, request, &error);
	if (!reply->out) {
		qrexec_reply_bad(reply, "out of memory");
		return;
	}
	reply->out_len = strlen(reply->out);
	reply->status = error ? QREXEC_STATUS_BAD : 0;
}

static void run_status(const struct qrexec_host *host, const char *text, struct qrexec_reply *reply)
{
	char request[sizeof("status ") + QREXEC_LINE_MAX];

	snprintf(request, sizeof(request), "status%s%s", text[0] ? " " : "", text);
	ask(host, request, reply);
}

static void run_explain(const struct qrexec_host *host, const char *text,
			struct qrexec_reply *reply)
{
	char request[sizeof("explain ") + QREXEC_LINE_MAX];

	snprintf(request, sizeof(request), "explain %s", text);
	ask(host, request, reply);
}

static const struct qrexec_service services[] = {
    {"qubes.SetDateTime", LINE, false, run_date},
    {"qubes.WaitForSession", NO_INPUT, false, run_nothing},
    {"qubes.SuspendPre", NO_INPUT, false, run_nothing},
    {"qubes.SuspendPost", NO_INPUT, false, run_nothing},
    {"ringfence.Status", NO_INPUT, false, run_status},
    {"ringfence.Explain", LINE_OR_ARG, true, run_explain},
};

const struct qrexec_service *qrexec_service_find(const char *name)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (strcmp(services[i].name, name) == 0)
			return &services[i];
	return NULL;
}

bool qrexec_service_reads(const struct qrexec_service *s, const char *argument)
{
	return s->input == LINE || (s->input == LINE_OR_ARG && argument[0] == '\0');
}

/*
 * An argument has no blank and no colon: dom0 takes letters, digits and "-._+" only.
 * Where it is words, a + stands for the blank between two and a _ for the colon of
 * an address.
 *
 * Return: whether it has only what dom0 lets pass.
 */
static bool spell_out(const struct qrexec_service *s, char *to, const char *argument)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				 "-._+";
	size_t n = strlen(argument);

	if (n > QREXEC_LINE_MAX || argument[strspn(argument, ok)] != '\0')
		return false;
	memcpy(to, argument, n + 1);
	for (char *p = to; s->words && *p; p++)
		*p = (char)(*p == '+' ? ' ' : *p == '_' ? ':' : *p);
	return true;
}

static bool is_text(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (line[i] < ' ' || line[i] > '~')
			return false;
	return true;
}

void qrexec_service_run(const struct qrexec_service *s, const struct qrexec_host *host,
			const char *argument, const char *line, size_t len,
			struct qrexec_reply *reply)
{
	char words[QREXEC_LINE_MAX + 1];

	if (qrexec_service_reads(s, argument)) {
		if (is_text(line, len))
			s->run(host, line, reply);
		else
			qrexec_reply_bad(reply, "the input is not a line of text");
		return;
	}
	if (spell_out(s, words, argument))
		s->run(host, words, reply);
	else
		qrexec_reply_bad(reply, "the argument has characters that none has, or too many");
}
