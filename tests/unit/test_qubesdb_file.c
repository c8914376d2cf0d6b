// SPDX-License-Identifier: GPL-2.0-or-later
/* The file: source, with temporary files. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/qubesdb_rig.h"

static char dir[] = "/tmp/test_qubesdb_file.XXXXXX";
static char file[64], spec[80], out_file[80], other[80];

static void write_to(const char *path, const void *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	close(fd);
}

static void put(const char *text)
{
	write_to(file, text, strlen(text));
}

/* As editors do it. */
static void replace(const char *text)
{
	write_to(other, text, strlen(text));
	CHECK_INT(rename(other, file), 0);
}

static void settle(struct rig *r)
{
	for (int i = 0; i < 1000 && rig_turn(r); i++)
		;
}

static void open_file(struct rig *r, const char *text)
{
	char err[256] = "";

	rig_init(r);
	put(text);
	CHECK_INT(qubesdb_new(&r->db, spec, &rig_events, r, err, sizeof(err)), 0);
	CHECK_STR(err, "");
	settle(r);
	CHECK_INT(qubesdb_state(r->db), QUBESDB_READY);
}

static const char *have(struct rig *r, const char *path)
{
	const char *v = qubesdb_read(r->db, path, NULL);

	return v ? v : "(none)";
}

static void slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

static void test_format(void)
{
	static const struct {
		const char *line, *path, *value;
	} cases[] = {
		{ "/a = b", "/a", "b" },
		{ "/a=b", "/a", "b" },
		{ "/a =  two ", "/a", " two " },
		{ " \t/a\t = b", "/a", "b" },
		{ "/a = x=y = z", "/a", "x=y = z" },
		{ "/a =", "/a", "" },
		{ "/a = ", "/a", "" },
		{ "/a = \tb", "/a", "\tb" },
		{ "/a = # not a comment", "/a", "# not a comment" },
		{ "# /a = b", "/a", "(none)" },
		{ "  # x\n\n   \n/a = b\n\n", "/a", "b" },
		{ "/a = b\r", "/a", "b\r" },
		{ "", "/a", "(none)" },
	};
	struct rig r;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].line);
		open_file(&r, cases[i].line);
		CHECK_STR(have(&r, cases[i].path), cases[i].value);
		rig_end(&r);
	}
}

static void test_malformed(void)
{
	static char big[8192];
	static const struct {
		const char *text, *err;
	} cases[] = {
		{ "/a\n", ":1: not PATH = VALUE" },
		{ "# c\n\n/a = b\nword\n", ":4: not PATH = VALUE" },
		{ "a = b\n", ":1: not a QubesDB path" },
		{ "/a/ = b\n", ":1: not a QubesDB path" },
		{ "/a b = c\n", ":1: not a QubesDB path" },
		{ " = c\n", ":1: not a QubesDB path" },
		{ "/\xc3\xa4 = c\n", ":1: not a QubesDB path" },
		{ "/a = 1\n/b = 2\n/a = 3\n", ":3: key given twice" },
		{ big, ":1: value too long" },
	};
	struct rig r;
	char err[256], want[160];

	memset(big, 'x', 3072 + 5);
	memcpy(big, "/a = ", 5);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].err);
		rig_init(&r);
		put(cases[i].text);
		CHECK_INT(qubesdb_new(&r.db, spec, &rig_events, &r, err, sizeof(err)), -EINVAL);
		snprintf(want, sizeof(want), "%s%s", file, cases[i].err);
		CHECK_STR(err, want);
		CHECK(r.db == NULL);
		rig_end(&r);
	}

	test_case("a value of 3071 bytes is fine");
	big[3071 + 5] = '\0';
	open_file(&r, big);
	CHECK_INT(strlen(have(&r, "/a")), 3071);
	rig_end(&r);

	test_case("NUL");
	rig_init(&r);
	write_to(file, "/a = b\0c\n", 9);
	CHECK_INT(qubesdb_new(&r.db, spec, &rig_events, &r, err, sizeof(err)), -EINVAL);
	CHECK(strstr(err, ":1: NUL in the value"));
	write_to(file, "/a\0b = c\n", 9);
	CHECK_INT(qubesdb_new(&r.db, spec, &rig_events, &r, err, sizeof(err)), -EINVAL);
	CHECK(strstr(err, ":1: not a QubesDB path"));
	rig_end(&r);
}

static void test_unreadable(void)
{
	char err[256];
	struct rig r;

	test_case("missing, a directory, a FIFO: one line, at once");
	rig_init(&r);
	unlink(file);
	CHECK_INT(qubesdb_new(&r.db, spec, &rig_events, &r, err, sizeof(err)), -ENOENT);
	CHECK(strstr(err, file) && strstr(err, "No such file"));
	CHECK_INT(mkdir(file, 0755), 0);
	CHECK_INT(qubesdb_new(&r.db, spec, &rig_events, &r, err, sizeof(err)), -EISDIR);
	rmdir(file);
	CHECK_INT(mkfifo(file, 0644), 0);
	CHECK_INT(qubesdb_new(&r.db, spec, &rig_events, &r, err, sizeof(err)), -EINVAL);
	CHECK(strstr(err, "not a regular file"));
	unlink(file);
	rig_end(&r);
}

#define BASE "/qubes-ip = 1.1.1.1\n/qubes-firewall/10.137.0.1 =\n"

static void test_start(void)
{
	struct rig r;

	test_case("every source with a key below it or a base key counts as committed");
	open_file(&r, "/qubes-firewall/10.137.0.1/0000 = a\n"
		      "/qubes-firewall/10.137.0.1.9 =\n"
		      "/qubes-firewall/10.137.0.10/policy = drop\n"
		      "/qubes-ip = 1.1.1.1\n");
	CHECK_STR(r.events, "commit 10.137.0.1 0000=a\ncommit 10.137.0.1.9\n"
			    "commit 10.137.0.10 policy=drop\nchanged *\nsynced\n");
	CHECK(r.deadline == UINT64_MAX);
	rig_end(&r);
}

static void test_changes(void)
{
	struct rig r;

	test_case("rewritten in place: a changed subtree commits, the others do not");
	open_file(&r, BASE "/qubes-firewall/10.137.0.2/0000 = a\n");
	rig_clear(&r);
	put(BASE "/qubes-firewall/10.137.0.2/0000 = b\n");
	settle(&r);
	CHECK_STR(r.events, "commit 10.137.0.2 0000=b\n");

	test_case("replaced by rename");
	rig_clear(&r);
	replace(BASE "/qubes-firewall/10.137.0.2/0000 = c\n");
	settle(&r);
	CHECK_STR(r.events, "commit 10.137.0.2 0000=c\n");
	rig_clear(&r);
	replace(BASE "/qubes-firewall/10.137.0.2/0000 = d\n");
	settle(&r);
	CHECK_STR(r.events, "commit 10.137.0.2 0000=d\n");

	test_case("written again as it was: nothing");
	rig_clear(&r);
	put(BASE "/qubes-firewall/10.137.0.2/0000 = d\n");
	settle(&r);
	CHECK_STR(r.events, "");

	test_case("a source that left the file is gone");
	put(BASE);
	settle(&r);
	CHECK_STR(r.events, "gone 10.137.0.2\n");

	test_case("other keys: changed, once");
	rig_clear(&r);
	put("/qubes-ip = 2.2.2.2\n/new = 1\n/qubes-firewall/10.137.0.1 =\n");
	settle(&r);
	CHECK_STR(r.events, "changed *\n");
	CHECK_STR(have(&r, "/qubes-ip"), "2.2.2.2");

	test_case("malformed or missing later: logged, the last good content stands");
	rig_clear(&r);
	put("/qubes-ip = 3.3.3.3\nbroken\n");
	settle(&r);
	CHECK_STR(r.events, "");
	CHECK(strstr(r.last_log, ":2: not PATH = VALUE"));
	CHECK(strstr(qubesdb_reason(r.db), ":2: not PATH = VALUE"));
	CHECK_INT(qubesdb_state(r.db), QUBESDB_READY);
	CHECK_STR(have(&r, "/qubes-ip"), "2.2.2.2");
	unlink(file);
	qubesdb_refresh(r.db);
	r.deadline = 0;
	settle(&r);
	CHECK(strstr(r.last_log, "No such file"));
	CHECK_STR(r.events, "");
	put("/qubes-ip = 2.2.2.2\n/new = 1\n/qubes-firewall/10.137.0.1 =\n");
	settle(&r);
	CHECK_STR(qubesdb_reason(r.db), "");
	CHECK_STR(r.events, "");
	rig_end(&r);
}

static void test_own(void)
{
	struct rig r;
	char text[512];

	test_case("own writes: on top, mirrored to FILE.out, kept when the file is read again");
	open_file(&r, BASE "/mine = from the file\n");
	CHECK_INT(qubesdb_write(r.db, "/mine", "own", 3), 0);
	CHECK_INT(qubesdb_write(r.db, "/qubes-firewall-handled/10.137.0.1", "1", 1), 0);
	CHECK_STR(have(&r, "/mine"), "own");
	slurp(out_file, text, sizeof(text));
	CHECK_STR(text, "/mine = own\n/qubes-firewall-handled/10.137.0.1 = 1\n");
	rig_clear(&r);
	put(BASE "/mine = from the file again\n");
	settle(&r);
	CHECK_STR(have(&r, "/mine"), "own");
	CHECK_STR(r.events, "changed *\n");
	CHECK_INT(qubesdb_rm(r.db, "/mine"), 0);
	slurp(out_file, text, sizeof(text));
	CHECK_STR(text, "/qubes-firewall-handled/10.137.0.1 = 1\n");
	CHECK_INT(qubesdb_write(r.db, "/bad/", "", 0), -EINVAL);
	rig_end(&r);

	test_case("the handled counter from inside commit()");
	open_file(&r, BASE);
	r.handled = "/qubes-firewall-handled/10.137.0.1";
	put(BASE "/qubes-firewall/10.137.0.1/0000 = a\n");
	settle(&r);
	CHECK_STR(have(&r, r.handled), "2");
	slurp(out_file, text, sizeof(text));
	CHECK_STR(text, "/qubes-firewall-handled/10.137.0.1 = 2\n");
	rig_end(&r);
}

static void test_many(void)
{
	static char text[400000];
	struct rig r;
	size_t n = 0;

	test_case("300 sources are told a few at a time");
	for (int i = 0; i < 300; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "/qubes-firewall/10.137.%d.%d/policy = drop\n", i / 250,
				      i % 250);
	open_file(&r, text);
	CHECK_INT(r.commits, 300);
	CHECK(r.calls >= 30);

	test_case("a change while they are told is not lost");
	r.commits = 0;
	put("/a = 1\n");
	(void)rig_turn(&r);
	put("/a = 2\n/qubes-firewall/10.137.0.1/policy = accept\n");
	settle(&r);
	CHECK_STR(have(&r, "/a"), "2");
	CHECK_INT(r.commits, 1);
	CHECK(strstr(r.events, "gone 10.137.1.49\n"));
	CHECK(strstr(r.events, "commit 10.137.0.1 policy=accept\n"));
	rig_end(&r);
}

static void test_relative(void)
{
	struct rig r;
	char err[256], old[256];

	test_case("a path without a directory");
	CHECK(getcwd(old, sizeof(old)) != NULL);
	CHECK_INT(chdir(dir), 0);
	put("/a = 1\n");
	rig_init(&r);
	CHECK_INT(qubesdb_new(&r.db, "file:db", &rig_events, &r, err, sizeof(err)), 0);
	settle(&r);
	put("/a = 2\n");
	settle(&r);
	CHECK_STR(have(&r, "/a"), "2");
	rig_end(&r);
	CHECK_INT(chdir(old), 0);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(file, sizeof(file), "%s/db", dir);
	snprintf(spec, sizeof(spec), "file:%s", file);
	snprintf(out_file, sizeof(out_file), "%s.out", file);
	snprintf(other, sizeof(other), "%s/.db.swp", dir);
	test_format();
	test_malformed();
	test_unreadable();
	test_start();
	test_changes();
	test_own();
	test_many();
	test_relative();
	unlink(file);
	unlink(out_file);
	rmdir(dir);
	return test_end();
}
