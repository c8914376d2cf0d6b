// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lab's QubesDB server against our client, without Xen: the server's own
 * source, its libxenvchan replaced by rings in shared memory, runs in a child
 * process; the client, dom0's programs and an ill-behaved qube run here.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/qubesdb_rig.h"

/* --- the shared page, two of them: a server made anew gets the other one ----- */

#define RING_SIZE 4096

struct ring {
	_Atomic uint32_t cons, prod;
	uint8_t data[RING_SIZE];
};

struct page {
	struct ring to_vm, to_dom0;
	_Atomic int srv, cli; /* libxenvchan's live bytes */
};

static struct world {
	struct page page[2];
	_Atomic unsigned server; /* page[server % 2] is the one to connect to */
} *world;

static int wake_vm, wake_srv;

static void wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static size_t ring_ready(struct ring *r)
{
	return r->prod - r->cons;
}

static size_t ring_put(struct ring *r, const void *buf, size_t len)
{
	size_t n = RING_SIZE - ring_ready(r);

	if (n > len)
		n = len;
	for (size_t i = 0; i < n; i++)
		r->data[(r->prod + i) % RING_SIZE] = ((const uint8_t *)buf)[i];
	r->prod += (uint32_t)n;
	return n;
}

static size_t ring_get(struct ring *r, void *buf, size_t len)
{
	size_t n = ring_ready(r);

	if (n > len)
		n = len;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = r->data[(r->cons + i) % RING_SIZE];
	r->cons += (uint32_t)n;
	return n;
}

/* --- the server's side ---------------------------------------------------------- */

#include <libxenvchan.h>
#include <xenstore.h>

static struct libxenvchan shim_handle;

static struct page *server_page(void)
{
	return &world->page[world->server % 2];
}

static struct libxenvchan *shim_init(struct xentoollog_logger *logger, int domid, const char *path,
				     size_t r, size_t w)
{
	struct page *p = &world->page[(world->server + 1) % 2];

	(void)logger;
	if (domid != 7 || strcmp(path, "data/vchan/7/111") != 0 || r != RING_SIZE || w != RING_SIZE)
		return NULL;
	p->to_vm.cons = p->to_vm.prod = p->to_dom0.cons = p->to_dom0.prod = 0;
	p->cli = 2;
	p->srv = 1;
	world->server++;
	wake(wake_vm);
	return &shim_handle;
}

static void shim_close(struct libxenvchan *ch)
{
	(void)ch;
	server_page()->srv = 0;
	wake(wake_vm);
}

static int shim_is_open(struct libxenvchan *ch)
{
	(void)ch;
	return server_page()->cli;
}

static int shim_recv(struct libxenvchan *ch, void *buf, size_t len)
{
	struct ring *r = &server_page()->to_dom0;

	if (ring_ready(r) < len)
		return shim_is_open(ch) ? 0 : -1;
	ring_get(r, buf, len);
	wake(wake_vm);
	return (int)len;
}

static int shim_write(struct libxenvchan *ch, const void *buf, size_t len)
{
	size_t n = ring_put(&server_page()->to_vm, buf, len);

	(void)ch;
	if (n)
		wake(wake_vm);
	return (int)n;
}

static int shim_space(struct libxenvchan *ch)
{
	(void)ch;
	return (int)(RING_SIZE - ring_ready(&server_page()->to_vm));
}

static int shim_fd(struct libxenvchan *ch)
{
	(void)ch;
	return wake_srv;
}

static int shim_wait(struct libxenvchan *ch)
{
	uint64_t n;

	(void)ch;
	return read(wake_srv, &n, sizeof(n)) == (ssize_t)sizeof(n) ? 0 : -1;
}

static struct xs_handle *shim_xs_open(unsigned long flags)
{
	(void)flags;
	return NULL;
}

#define TEST_QUBESDB_SERVER
#define libxenvchan_server_init	   shim_init
#define libxenvchan_close	   shim_close
#define libxenvchan_is_open	   shim_is_open
#define libxenvchan_recv	   shim_recv
#define libxenvchan_write	   shim_write
#define libxenvchan_buffer_space   shim_space
#define libxenvchan_fd_for_select  shim_fd
#define libxenvchan_wait	   shim_wait
#define xs_open			   shim_xs_open
#define main			   server_main
int server_main(int argc, char **argv);
#include "tests/xen/qubesdb-server.c"
#undef main

/* --- the qube's side -------------------------------------------------------------- */

struct qube {
	unsigned server;
	bool connected;
};

static struct page *qube_page(const struct qube *q)
{
	return &world->page[q->server % 2];
}

static int qube_connect(void *v)
{
	struct qube *q = v;
	unsigned server = world->server;
	struct page *p = &world->page[server % 2];

	if (!p->srv || p->cli != 2)
		return -EAGAIN;
	q->server = server;
	q->connected = true;
	p->cli = 1;
	wake(wake_srv);
	return 0;
}

static int qube_is_open(void *v)
{
	const struct qube *q = v;

	return q->server == world->server && qube_page(q)->srv;
}

static int qube_fd(const void *v)
{
	(void)v;
	return wake_vm;
}

static bool qube_clear(void *v)
{
	uint64_t n;

	(void)v;
	return read(wake_vm, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

static int qube_read(void *v, void *buf, size_t len)
{
	struct qube *q = v;
	size_t n = ring_get(&qube_page(q)->to_vm, buf, len);

	if (n)
		wake(wake_srv);
	return n || qube_is_open(v) ? (int)n : -EPIPE;
}

static int qube_write(void *v, const void *buf, size_t len)
{
	struct qube *q = v;
	size_t n = ring_put(&qube_page(q)->to_dom0, buf, len);

	wake(wake_srv);
	return (int)n;
}

static int qube_ready(void *v)
{
	return (int)ring_ready(&qube_page(v)->to_vm);
}

static int qube_space(void *v)
{
	return (int)(RING_SIZE - ring_ready(&qube_page(v)->to_dom0));
}

static void qube_close(void *v)
{
	struct qube *q = v;

	if (q->connected)
		qube_page(q)->cli = 0;
	q->connected = false;
	wake(wake_srv);
}

static const struct qdb_vchan_ops qube_ops = {
	.connect = qube_connect,
	.fd = qube_fd,
	.clear_event = qube_clear,
	.read = qube_read,
	.write = qube_write,
	.data_ready = qube_ready,
	.buffer_space = qube_space,
	.is_open = qube_is_open,
	.close = qube_close,
	.free = qube_close,
};

/* --- the test's world -------------------------------------------------------------- */

static char dir[] = "/tmp/test_qubesdb_server.XXXXXX";
static char sock[64], file[64], log_file[64];
static pid_t server;

static void server_start(const char *content)
{
	static char a0[] = "qubesdb-server", a1[] = "7", a2[] = "--socket", a4[] = "--load";
	char *argv[] = { a0, a1, a2, sock, a4, file, NULL };
	FILE *f = fopen(file, "we");
	int fd;

	CHECK(f && fputs(content, f) >= 0 && fclose(f) == 0);
	unlink(sock);
	memset(world, 0, sizeof(*world));
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = open(log_file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		dup2(fd, 2);
		_exit(server_main(6, argv));
	}
	for (int i = 0; i < 500 && world->server == 0; i++)
		usleep(10000);
}

/* Return: the server's exit status. */
static int server_wait(int signal_no)
{
	int status = -1;

	if (signal_no)
		kill(server, signal_no);
	for (int i = 0; i < 500; i++) {
		if (waitpid(server, &status, WNOHANG) == server)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		usleep(10000);
	}
	kill(server, SIGKILL);
	waitpid(server, &status, 0);
	return -1;
}

static bool log_has(const char *text)
{
	char buf[8192];
	int fd = open(log_file, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return strstr(buf, text) != NULL;
}

static uint64_t clock_ms(void)
{
	return qdb_now_ms();
}

/* Run the client until its events contain @text. */
static bool until(struct rig *r, const char *text)
{
	uint64_t end = clock_ms() + 5000;

	while (!strstr(r->events, text) && clock_ms() < end) {
		struct pollfd p = { .fd = wake_vm, .events = POLLIN };

		(void)poll(&p, 1, 5);
		r->now = clock_ms();
		(void)rig_turn(r);
	}
	return strstr(r->events, text) != NULL;
}

static unsigned dom0_ask(unsigned type, const char *path, const char *value, char *reply)
{
	int fd = qdb_connect(sock);
	struct qdb_msg m = { .h = { .type = 255 } };

	CHECK(fd >= 0);
	CHECK_INT(qdb_put(fd, type, path, value, strlen(value)), 0);
	CHECK_INT(qdb_reply(fd, &m), 0);
	if (reply)
		memcpy(reply, m.data, m.h.data_len + 1);
	close(fd);
	return m.h.type;
}

static bool dom0_sees(struct rig *r, const char *path, const char *value)
{
	char got[QDB_VALUE + 1];

	for (int i = 0; i < 200; i++) {
		if (dom0_ask(QDB_READ, path, "", got) == QDB_R_READ && strcmp(got, value) == 0)
			return true;
		r->now = clock_ms();
		while (rig_turn(r))
			;
		usleep(5000);
	}
	return false;
}

static void qube_new(struct rig *r, struct qube *q)
{
	rig_init(r);
	memset(q, 0, sizeof(*q));
	CHECK_INT(qdb_base_new(&r->db, &rig_events, r), 0);
	CHECK_INT(qdb_client_new(r->db, &qube_ops, q), 0);
}

static void test_life(void)
{
	static char content[1 << 18];
	struct qube q;
	struct rig r;
	size_t n = 0;

	test_case("sync of 2000 keys");
	for (int i = 0; i < 2000; i++)
		n += (size_t)snprintf(content + n, sizeof(content) - n,
				      "/qubes-firewall/10.137.0.5/%04d = action=accept\n", i);
	snprintf(content + n, sizeof(content) - n,
		 "/qubes-firewall/10.137.0.5 =\n/qubes-ip = 10.137.0.9\n");
	server_start(content);
	qube_new(&r, &q);
	r.handled = "/qubes-firewall-handled/10.137.0.5";
	CHECK(until(&r, "synced\n"));
	CHECK_INT(r.commits, 1);
	CHECK_STR(qubesdb_read(r.db, "/qubes-ip", NULL), "10.137.0.9");

	test_case("our write reaches dom0");
	CHECK(dom0_sees(&r, r.handled, "1"));

	test_case("dom0's update reaches us, and is answered as it wants it");
	rig_clear(&r);
	CHECK_INT(dom0_ask(QDB_RM, "/qubes-firewall/10.137.0.5/", "", NULL), QDB_OK);
	CHECK_INT(dom0_ask(QDB_RM, "/qubes-firewall/10.137.0.5/", "", NULL), QDB_NOENT);
	CHECK_INT(dom0_ask(QDB_WRITE, "/qubes-firewall/10.137.0.5/policy", "drop", NULL), QDB_OK);
	CHECK_INT(dom0_ask(QDB_WRITE, "/qubes-firewall/10.137.0.5", "", NULL), QDB_OK);
	CHECK(until(&r, "commit 10.137.0.5 policy=drop\n"));
	CHECK(dom0_sees(&r, r.handled, "2"));

	test_case("our rm reaches dom0");
	CHECK_INT(qubesdb_rm(r.db, r.handled), 0);
	CHECK_INT(qubesdb_write(r.db, "/after", "1", 1), 0);
	CHECK(dom0_sees(&r, "/after", "1"));
	CHECK_INT(dom0_ask(QDB_READ, r.handled, "", NULL), QDB_NOENT);

	test_case("SIGHUP: the link is made anew, without a commit");
	rig_clear(&r);
	r.commits = 0;
	kill(server, SIGHUP);
	CHECK(until(&r, "synced\n"));
	CHECK(strstr(r.events, "lost "));
	CHECK_INT(r.commits, 0);

	test_case("we close: the server waits for the next qube");
	rig_end(&r);
	qube_new(&r, &q);
	CHECK(until(&r, "synced\n"));
	CHECK_STR(qubesdb_read(r.db, "/after", NULL), "1");
	rig_end(&r);
	CHECK_INT(server_wait(SIGTERM), 0);
	CHECK(!log_has("VIOLATION"));
}

/* One header by hand, after a correct start or instead of it. */
static void test_strict(void)
{
	static const struct {
		const char *name;
		bool start; /* MULTIREAD first */
		unsigned type;
		const char *path;
		size_t len;
		const char *said; /* NULL: tolerated */
	} cases[] = {
		{ "READ", true, QDB_READ, "/a", 0, "type 0 is not for vchan" },
		{ "LIST", true, QDB_LIST, "/a", 0, "type 3" },
		{ "WATCH", true, QDB_WATCH, "/a", 0, "type 5" },
		{ "NOENT", true, QDB_NOENT, "/a", 0, "type 8" },
		{ "RESP_READ", true, QDB_R_READ, "/a", 0, "type 10" },
		{ "RESP_MULTIREAD", true, QDB_R_MULTIREAD, "", 0, "type 11" },
		{ "a second MULTIREAD", true, QDB_MULTIREAD, "", 0, "second MULTIREAD" },
		{ "MULTIREAD with a path", false, QDB_MULTIREAD, "/a", 0, "MULTIREAD with path" },
		{ "a leading -", true, QDB_WRITE, "-a", 0, "forbidden character" },
		{ "a blank", true, QDB_WRITE, "/a b", 0, "forbidden character" },
		{ "WRITE of a directory", true, QDB_WRITE, "/a/", 0, "WRITE to path" },
		{ "WRITE of a relative path", true, QDB_WRITE, "a", 0, "WRITE to path" },
		{ "3072 bytes", true, QDB_WRITE, "/a", 3072, "data_len 3072" },
		{ "RM of nothing", true, QDB_RM, "/none", 0, "which does not exist" },
		{ "RM of an empty subtree", true, QDB_RM, "/none/", 0, "which does not exist" },
		{ "RM of the empty path", true, QDB_RM, "", 0, "empty path" },
		{ "RESP_OK unasked", true, QDB_OK, "/a", 0, "nothing was asked" },
		{ "RESP_ERROR with data", true, QDB_ERROR, "/a", 1, "with data_len 1" },
		{ "WRITE", true, QDB_WRITE, "/a", 1, NULL },
		{ "RM of a key", true, QDB_RM, "/key", 0, NULL },
		{ "WRITE before the sync", false, QDB_WRITE, "/a", 1, NULL },
	};
	struct qube q;
	struct qdb_msg m;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].name);
		memset(&q, 0, sizeof(q));
		memset(&m, 'd', sizeof(m));
		server_start("/key = 1\n");
		CHECK_INT(qube_connect(&q), 0);
		if (cases[i].start) {
			qdb_fill(&m.h, QDB_MULTIREAD, "", 0);
			qube_write(&q, &m, sizeof(m.h));
		}
		qdb_fill(&m.h, cases[i].type, cases[i].path, cases[i].len);
		qube_write(&q, &m, sizeof(m.h) + cases[i].len);
		if (cases[i].said) {
			CHECK_INT(server_wait(0), 3);
			CHECK(log_has("VIOLATION"));
			CHECK(log_has(cases[i].said));
		} else {
			usleep(50000);
			CHECK_INT(server_wait(SIGTERM), 0);
			CHECK(!log_has("VIOLATION"));
		}
	}

	test_case("padding that is not zero");
	memset(&q, 0, sizeof(q));
	server_start("/key = 1\n");
	CHECK_INT(qube_connect(&q), 0);
	qdb_fill(&m.h, QDB_MULTIREAD, "", 0);
	m.h.pad[1] = 1;
	qube_write(&q, &m, sizeof(m.h));
	CHECK_INT(server_wait(0), 3);

	test_case("RM while dom0's ring is full");
	memset(&q, 0, sizeof(q));
	server_start("/key = 1\n");
	CHECK_INT(qube_connect(&q), 0);
	for (int i = 0; i < 60; i++) {
		qdb_fill(&m.h, QDB_WRITE, "/a", 0);
		while (qube_space(&q) < (int)sizeof(m.h))
			usleep(1000);
		qube_write(&q, &m, sizeof(m.h));
	}
	qdb_fill(&m.h, QDB_RM, "/key", 0);
	qube_write(&q, &m, sizeof(m.h));
	CHECK_INT(server_wait(0), 3);
	CHECK(log_has("no room for the reply"));
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(sock, sizeof(sock), "%s/sock", dir);
	snprintf(file, sizeof(file), "%s/load", dir);
	snprintf(log_file, sizeof(log_file), "%s/log", dir);
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	wake_vm = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	wake_srv = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (world == MAP_FAILED || wake_vm < 0 || wake_srv < 0)
		return 1;
	test_life();
	test_strict();
	unlink(sock);
	unlink(file);
	unlink(log_file);
	rmdir(dir);
	return test_end();
}
