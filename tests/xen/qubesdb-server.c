// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dom0's QubesDB daemon for one qube of the lab.
 *
 *   qubesdb-server DOMID [--socket PATH] [--load FILE] [--journal FILE] [--no-vchan]
 *
 * One tree, two ways in: the qube over vchan (port 111, rings 4096/4096) and
 * dom0's programs over a unix socket. A change from one side is applied, told
 * to the watches, and forwarded to the other side.
 *
 * Its purpose is to be strict. Whatever makes Qubes' daemon exit makes this
 * one exit too (status 3) with a line that starts with VIOLATION. It looks at
 * two more things that the real one does not: replies must answer what was
 * asked, in order, and headers must be zero filled.
 *
 * When the qube closes, a new vchan server is made at once, as a restarted
 * daemon would; the tree stays. SIGHUP drops the link from this side. As in
 * Qubes, the xenstore keys vanish with the first connection, so a client can
 * only come back after they were made again.
 *
 * With a journal the tree outlives kill -9: what was answered or forwarded is in
 * it, and the next server begins with it. One line for a change, "PATH = VALUE"
 * or "-PATH"; a last line without its end never happened.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <xenstore.h>
#ifndef TEST_QUBESDB_SERVER /* brings it along; it has no guard of its own */
#include <libxenvchan.h>
#endif

#include "tests/xen/qdb.h"

#define LOCAL_MAX 64
#define WATCH_MAX 32
#define RING      4096

struct entry {
	char path[QDB_PATH];
	size_t len;
	char value[]; /* NUL behind it */
};

static struct {
	struct entry **e;
	size_t n, cap;
} tree;

static int journal = -1;

struct buf {
	char *p;
	size_t off, len, cap; /* off..len is still to be sent */
};

struct local {
	int fd; /* -1: slot free */
	struct buf out;
	struct qdb_msg in;
	size_t in_len;
	char watch[WATCH_MAX][QDB_PATH];
	size_t watches;
};

static struct local locals[LOCAL_MAX];

static struct {
	int domid;
	char path[64];             /* data/vchan/DOMID/111, below dom0's home */
	struct libxenvchan *ch;    /* NULL with --no-vchan */
	bool connected, have_hdr, asked; /* asked: MULTIREAD came */
	struct qdb_msg in;
	struct buf out;
	struct buf expect; /* paths of our WRITEs and RMs, not yet answered */
} vm;

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "qubesdb-server %d: ", vm.domid);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void __attribute__((format(printf, 2, 3), noreturn)) quit(int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "qubesdb-server %d: %s", vm.domid, status == 3 ? "VIOLATION: " : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	if (vm.ch)
		libxenvchan_close(vm.ch);
	exit(status);
}

static void *grow(void *p, size_t n)
{
	p = realloc(p, n);
	if (!p)
		quit(1, "out of memory");
	return p;
}

static void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	if (b->off == b->len)
		b->off = b->len = 0;
	if (b->len + n > b->cap) {
		b->cap = (b->len + n) * 2;
		b->p = grow(b->p, b->cap);
	}
	memcpy(b->p + b->len, p, n);
	b->len += n;
}

static void buf_msg(struct buf *b, unsigned type, const char *path, const char *data, size_t len)
{
	struct qdb_hdr h;

	qdb_fill(&h, type, path, len);
	buf_add(b, &h, sizeof(h));
	buf_add(b, data, len);
}

/* --- the tree: a sorted array ------------------------------------------- */

static size_t tree_pos(const char *path)
{
	size_t lo = 0, hi = tree.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(tree.e[mid]->path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct entry *tree_get(const char *path)
{
	size_t i = tree_pos(path);

	return i < tree.n && strcmp(tree.e[i]->path, path) == 0 ? tree.e[i] : NULL;
}

static void tree_set(const char *path, const char *value, size_t len)
{
	struct entry *e = grow(NULL, sizeof(*e) + len + 1);
	size_t i = tree_pos(path), n = strlen(path);

	memset(e->path, 0, sizeof(e->path));
	memcpy(e->path, path, n < QDB_PATH ? n : QDB_PATH - 1);
	if (len)
		memcpy(e->value, value, len);
	e->value[len] = '\0';
	e->len = len;
	if (i < tree.n && strcmp(tree.e[i]->path, path) == 0) {
		free(tree.e[i]);
		tree.e[i] = e;
		return;
	}
	if (tree.n == tree.cap) {
		tree.cap = tree.cap ? tree.cap * 2 : 256;
		tree.e = grow(tree.e, tree.cap * sizeof(*tree.e));
	}
	memmove(tree.e + i + 1, tree.e + i, (tree.n - i) * sizeof(*tree.e));
	tree.e[i] = e;
	tree.n++;
}

/* The keys that @path names: itself, or with a trailing slash all below it. */
static void tree_range(const char *path, size_t *from, size_t *to)
{
	size_t n = strlen(path);

	*from = *to = tree_pos(path);
	if (n && path[n - 1] == '/')
		while (*to < tree.n && strncmp(tree.e[*to]->path, path, n) == 0)
			(*to)++;
	else if (tree_get(path))
		(*to)++;
}

static size_t tree_rm(const char *path)
{
	size_t from, to;

	tree_range(path, &from, &to);
	for (size_t i = from; i < to; i++)
		free(tree.e[i]);
	memmove(tree.e + from, tree.e + to, (tree.n - to) * sizeof(*tree.e));
	tree.n -= to - from;
	return to - from;
}

static void tree_load(const char *file, bool is_journal)
{
	FILE *f = fopen(file, "re");
	char *line = NULL, *path, *value;
	size_t cap = 0, no = 0;
	ssize_t n;

	if (!f)
		quit(1, "%s: %s", file, strerror(errno));
	while ((n = getline(&line, &cap, f)) >= 0) {
		no++;
		if (n && line[n - 1] == '\n')
			line[--n] = '\0';
		else if (is_journal)
			break;
		if (is_journal && line[0] == '-') {
			tree_rm(line + 1);
			continue;
		}
		switch (qdb_line(line, &path, &value)) {
		case 1:
			tree_set(path, value, strlen(value));
			break;
		case -1:
			quit(1, "%s:%zu: not PATH = VALUE", file, no);
		}
	}
	free(line);
	fclose(f);
}

/* One write() a line: a kill comes before it or after it. @value NULL: removed. */
static void journal_add(const char *path, const char *value, size_t len)
{
	static char line[QDB_PATH + QDB_VALUE + 8];
	int n = value ? snprintf(line, sizeof(line), "%s = %.*s\n", path, (int)len, value)
		      : snprintf(line, sizeof(line), "-%s\n", path);

	if (journal >= 0 && write(journal, line, (size_t)n) != n)
		quit(1, "journal: %s", strerror(errno));
}

/* Begin with what the last server had, in a file of whole lines and nothing removed. */
static void journal_open(const char *file)
{
	char fresh[256];

	if (access(file, F_OK) == 0)
		tree_load(file, true);
	snprintf(fresh, sizeof(fresh), "%s.new", file);
	journal = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (journal < 0)
		quit(1, "%s: %s", fresh, strerror(errno));
	for (size_t i = 0; i < tree.n; i++)
		journal_add(tree.e[i]->path, tree.e[i]->value, tree.e[i]->len);
	if (rename(fresh, file) < 0)
		quit(1, "%s: %s", file, strerror(errno));
}

/* --- watches -------------------------------------------------------------- */

static void watches_fire(const char *path)
{
	for (struct local *l = locals; l < locals + LOCAL_MAX; l++) {
		for (size_t i = 0; l->fd >= 0 && i < l->watches; i++) {
			size_t n = strlen(l->watch[i]);
			bool dir = n && l->watch[i][n - 1] == '/';

			if (dir ? strncmp(path, l->watch[i], n) == 0
				: strcmp(path, l->watch[i]) == 0)
				buf_msg(&l->out, QDB_R_WATCH, path, NULL, 0);
		}
	}
}

/* --- the qube's side ------------------------------------------------------ */

static void vm_listen(void)
{
	vm.connected = vm.have_hdr = vm.asked = false;
	vm.out.off = vm.out.len = 0;
	vm.expect.off = vm.expect.len = 0;
	vm.ch = libxenvchan_server_init(NULL, vm.domid, vm.path, RING, RING);
	if (!vm.ch)
		quit(1, "vchan %s: %s", vm.path, strerror(errno));
	vm.ch->blocking = 0;
	say("waiting for the qube at %s", vm.path);
}

static void vm_drop(const char *why)
{
	struct xs_handle *xs = xs_open(0);

	say("link closed: %s", why);
	libxenvchan_close(vm.ch);
	vm.ch = NULL;
	if (xs) {
		xs_rm(xs, XBT_NULL, vm.path);
		xs_close(xs);
	}
	vm_listen();
}

static void vm_connected(void)
{
	struct xs_handle *xs = xs_open(0);

	vm.connected = true;
	say("the qube is connected");
	if (xs) {
		xs_rm(xs, XBT_NULL, vm.path);
		xs_close(xs);
	}
}

static void vm_flush(void)
{
	while (vm.ch && vm.connected && vm.out.off < vm.out.len) {
		int n = libxenvchan_write(vm.ch, vm.out.p + vm.out.off, vm.out.len - vm.out.off);

		if (n <= 0)
			break;
		vm.out.off += (size_t)n;
	}
}

/* Tell the qube about a change made in dom0; nothing before it has asked. */
static void vm_forward(unsigned type, const char *path, const char *data, size_t len)
{
	struct qdb_hdr h;

	if (!vm.asked)
		return;
	buf_msg(&vm.out, type, path, data, len);
	qdb_fill(&h, type, path, 0);
	buf_add(&vm.expect, h.path, sizeof(h.path));
}

static void vm_sync(const struct qdb_hdr *h)
{
	if (vm.asked)
		quit(3, "second MULTIREAD on one connection");
	if (h->path[0] || h->data_len)
		quit(3, "MULTIREAD with path \"%s\", data_len %u", h->path, h->data_len);
	for (size_t i = tree.n; i-- > 0;)
		buf_msg(&vm.out, QDB_R_MULTIREAD, tree.e[i]->path, tree.e[i]->value,
			tree.e[i]->len);
	buf_msg(&vm.out, QDB_R_MULTIREAD, "", NULL, 0);
	vm.asked = true;
	say("sync: %zu keys", tree.n);
}

static void vm_answered(const struct qdb_hdr *h)
{
	if (h->data_len)
		quit(3, "reply type %u with data_len %u", h->type, h->data_len);
	if (vm.expect.off == vm.expect.len)
		quit(3, "reply type %u for \"%s\", nothing was asked", h->type, h->path);
	if (memcmp(vm.expect.p + vm.expect.off, h->path, QDB_PATH) != 0)
		quit(3, "reply for \"%s\" instead of \"%s\"", h->path,
		     vm.expect.p + vm.expect.off);
	vm.expect.off += QDB_PATH;
	if (h->type == QDB_ERROR)
		say("note: the qube answered RESP_ERROR for %s", h->path);
}

static void vm_write(const struct qdb_msg *m)
{
	if (!qdb_path_key(m->h.path))
		quit(3, "WRITE to path \"%s\"", m->h.path);
	if (memchr(m->data, '\0', m->h.data_len)) {
		say("BUG of the qube: NUL in the value of %s", m->h.path);
		buf_msg(&vm.out, QDB_ERROR, m->h.path, NULL, 0);
		return;
	}
	tree_set(m->h.path, m->data, m->h.data_len);
	journal_add(m->h.path, m->data, m->h.data_len);
	buf_msg(&vm.out, QDB_OK, m->h.path, NULL, 0);
	watches_fire(m->h.path);
}

static void vm_rm(const struct qdb_hdr *h)
{
	if (!h->path[0])
		quit(3, "RM of the empty path");
	vm_flush();
	if (vm.out.off < vm.out.len || libxenvchan_buffer_space(vm.ch) < (int)sizeof(*h))
		quit(3, "RM of %s while our ring has no room for the reply", h->path);
	if (h->data_len) {
		say("BUG of the qube: RM of %s with data", h->path);
		buf_msg(&vm.out, QDB_ERROR, h->path, NULL, 0);
		return;
	}
	if (!tree_rm(h->path))
		quit(3, "RM of \"%s\", which does not exist", h->path);
	journal_add(h->path, NULL, 0);
	buf_msg(&vm.out, QDB_OK, h->path, NULL, 0);
	watches_fire(h->path);
}

static void vm_header_ok(const struct qdb_hdr *h)
{
	static const char zero[QDB_PATH];
	size_t n = strnlen(h->path, QDB_PATH);

	if (n == QDB_PATH)
		quit(3, "type %u: path without NUL", h->type);
	if (memcmp(h->path + n, zero, QDB_PATH - n) != 0 || h->pad[0] || h->pad[1] || h->pad[2])
		quit(3, "type %u: header is not zero filled", h->type);
	if (!qdb_path_chars(h->path))
		quit(3, "type %u: forbidden character in path \"%s\"", h->type, h->path);
	if (h->data_len > QDB_VALUE)
		quit(3, "type %u: data_len %u", h->type, h->data_len);
}

static void vm_message(void)
{
	const struct qdb_msg *m = &vm.in;

	switch (m->h.type) {
	case QDB_WRITE:
		vm_write(m);
		break;
	case QDB_MULTIREAD:
		vm_sync(&m->h);
		break;
	case QDB_RM:
		vm_rm(&m->h);
		break;
	case QDB_OK:
	case QDB_ERROR:
		vm_answered(&m->h);
		break;
	default:
		quit(3, "type %u is not for vchan", m->h.type);
	}
}

static bool vm_read_one(void)
{
	if (!vm.have_hdr) {
		if (libxenvchan_recv(vm.ch, &vm.in.h, sizeof(vm.in.h)) != (int)sizeof(vm.in.h))
			return false;
		vm_header_ok(&vm.in.h);
		vm.have_hdr = true;
	}
	if (vm.in.h.data_len && libxenvchan_recv(vm.ch, vm.in.data, vm.in.h.data_len) !=
					(int)vm.in.h.data_len)
		return false;
	vm.have_hdr = false;
	vm_message();
	return true;
}

/* Everything the vchan lets us do now. Pending data of a dead client counts. */
static void vm_work(void)
{
	int open;

	if (!vm.ch)
		return;
	open = libxenvchan_is_open(vm.ch);
	if (open == 2)
		return;
	if (!vm.connected)
		vm_connected();
	while (vm_read_one())
		vm_flush();
	vm_flush();
	if (vm.out.off < vm.out.len)
		libxenvchan_buffer_space(vm.ch); /* asks to be told of room */
	if (open == 0)
		vm_drop("the qube closed");
}

/* --- dom0's programs ------------------------------------------------------ */

static void local_close(struct local *l)
{
	close(l->fd);
	free(l->out.p);
	memset(l, 0, sizeof(*l));
	l->fd = -1;
}

static void local_list(struct local *l, unsigned reply, const char *prefix)
{
	size_t n = strlen(prefix);

	for (size_t i = tree_pos(prefix); i < tree.n; i++) {
		const struct entry *e = tree.e[i];

		if (strncmp(e->path, prefix, n) != 0)
			break;
		buf_msg(&l->out, reply, e->path, e->value,
			reply == QDB_R_MULTIREAD ? e->len : 0);
	}
	buf_msg(&l->out, reply, "", NULL, 0);
}

static unsigned local_unwatch(struct local *l, const char *path)
{
	for (size_t i = 0; i < l->watches; i++) {
		if (strcmp(l->watch[i], path) == 0) {
			l->watches--;
			memmove(l->watch[i], l->watch[l->watches], QDB_PATH);
			return QDB_OK;
		}
	}
	return QDB_NOENT;
}

static unsigned local_write(const struct qdb_msg *m)
{
	if (!qdb_path_key(m->h.path) || memchr(m->data, '\0', m->h.data_len))
		return QDB_ERROR;
	tree_set(m->h.path, m->data, m->h.data_len);
	journal_add(m->h.path, m->data, m->h.data_len);
	watches_fire(m->h.path);
	vm_forward(QDB_WRITE, m->h.path, m->data, m->h.data_len);
	return QDB_OK;
}

static unsigned local_rm(const char *path)
{
	if (!path[0] || !qdb_path_chars(path))
		return QDB_ERROR;
	if (!tree_rm(path))
		return QDB_NOENT;
	journal_add(path, NULL, 0);
	watches_fire(path);
	vm_forward(QDB_RM, path, NULL, 0);
	return QDB_OK;
}

/* Return: false when the program is to be thrown out. */
static bool local_message(struct local *l)
{
	const struct qdb_msg *m = &l->in;
	const char *path = m->h.path;
	const struct entry *e;
	unsigned reply = QDB_OK;

	switch (m->h.type) {
	case QDB_READ:
		e = tree_get(path);
		buf_msg(&l->out, e ? QDB_R_READ : QDB_NOENT, path, e ? e->value : NULL,
			e ? e->len : 0);
		return true;
	case QDB_MULTIREAD:
		if (strcmp(path, "/") == 0)
			say("sync: %zu keys, to a program", tree.n);
		local_list(l, QDB_R_MULTIREAD, path);
		return true;
	case QDB_LIST:
		local_list(l, QDB_R_LIST, path);
		return true;
	case QDB_WRITE:
		reply = local_write(m);
		break;
	case QDB_RM:
		reply = local_rm(path);
		break;
	case QDB_WATCH:
		if (l->watches == WATCH_MAX || !qdb_path_chars(path))
			reply = QDB_ERROR;
		else
			memcpy(l->watch[l->watches++], path, QDB_PATH);
		break;
	case QDB_UNWATCH:
		reply = local_unwatch(l, path);
		break;
	default:
		return false;
	}
	buf_msg(&l->out, reply, path, NULL, 0);
	return true;
}

static bool local_read(struct local *l)
{
	size_t need = sizeof(l->in.h);
	ssize_t n;

	if (l->in_len >= sizeof(l->in.h))
		need += l->in.h.data_len;
	n = recv(l->fd, (char *)&l->in + l->in_len, need - l->in_len, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	l->in_len += (size_t)n;
	if (l->in_len < sizeof(l->in.h))
		return true;
	if (l->in.h.data_len > QDB_VALUE || memchr(l->in.h.path, '\0', QDB_PATH) == NULL)
		return false;
	if (l->in_len < sizeof(l->in.h) + l->in.h.data_len)
		return true;
	l->in_len = 0;
	return local_message(l);
}

static bool local_flush(struct local *l)
{
	while (l->out.off < l->out.len) {
		ssize_t n = send(l->fd, l->out.p + l->out.off, l->out.len - l->out.off,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		l->out.off += (size_t)n;
	}
	return true;
}

static int local_listen(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (n >= sizeof(sa.sun_path))
		quit(1, "%s: path too long", path);
	memcpy(sa.sun_path, path, n);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 16) < 0)
		quit(1, "%s: %s", path, strerror(errno));
	return fd;
}

static void local_accept(int lfd)
{
	int fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (struct local *l = locals; l < locals + LOCAL_MAX; l++) {
		if (l->fd < 0) {
			l->fd = fd;
			return;
		}
	}
	close(fd);
}

/* --- the loop --------------------------------------------------------------- */

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool signals_handle(int fd)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo != SIGHUP)
			return false;
		if (vm.ch && vm.connected)
			vm_drop("SIGHUP");
	}
	return true;
}

static void loop(int lfd, int sfd)
{
	struct pollfd p[3 + LOCAL_MAX];

	for (;;) {
		vm_work();
		p[0] = (struct pollfd){ .fd = lfd, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = sfd, .events = POLLIN };
		p[2] = (struct pollfd){ .fd = vm.ch ? libxenvchan_fd_for_select(vm.ch) : -1,
					.events = POLLIN };
		for (size_t i = 0; i < LOCAL_MAX; i++) {
			struct local *l = &locals[i];

			if (l->fd >= 0 && !local_flush(l))
				local_close(l);
			p[3 + i] = (struct pollfd){ .fd = l->fd, .events = POLLIN };
			if (l->out.off < l->out.len)
				p[3 + i].events |= POLLOUT;
		}
		if (poll(p, 3 + LOCAL_MAX, -1) < 0 && errno != EINTR)
			quit(1, "poll: %s", strerror(errno));
		/* Before the signals, which may replace the vchan. */
		if (p[2].revents && vm.ch)
			libxenvchan_wait(vm.ch);
		if (p[1].revents && !signals_handle(sfd))
			return;
		for (size_t i = 0; i < LOCAL_MAX; i++)
			if (locals[i].fd >= 0 && p[3 + i].fd == locals[i].fd &&
			    (p[3 + i].revents & (POLLIN | POLLHUP | POLLERR)) &&
			    !local_read(&locals[i]))
				local_close(&locals[i]);
		if (p[0].revents)
			local_accept(lfd);
	}
}

int main(int argc, char **argv)
{
	const char *sock = QDB_SOCKET, *load = NULL, *log = NULL;
	bool vchan = true;
	char *end = NULL;
	int lfd, sfd;

	if (argc >= 2)
		vm.domid = (int)strtol(argv[1], &end, 10);
	if (!end || *end || end == argv[1] || vm.domid < 0) {
		fprintf(stderr, "usage: %s DOMID [--socket PATH] [--load FILE] [--journal FILE] "
				"[--no-vchan]\n", argv[0]);
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--no-vchan") == 0)
			vchan = false;
		else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc)
			sock = argv[++i];
		else if (strcmp(argv[i], "--load") == 0 && i + 1 < argc)
			load = argv[++i];
		else if (strcmp(argv[i], "--journal") == 0 && i + 1 < argc)
			log = argv[++i];
		else
			quit(2, "%s: unknown option", argv[i]);
	}
	for (size_t i = 0; i < LOCAL_MAX; i++)
		locals[i].fd = -1;
	snprintf(vm.path, sizeof(vm.path), "data/vchan/%d/111", vm.domid);
	if (load)
		tree_load(load, false);
	if (log)
		journal_open(log);
	sfd = signals_open();
	lfd = local_listen(sock);
	if (vchan)
		vm_listen();
	loop(lfd, sfd);
	say("stopped");
	if (vm.ch)
		libxenvchan_close(vm.ch);
	unlink(sock);
	return 0;
}
