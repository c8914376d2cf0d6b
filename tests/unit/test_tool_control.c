/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ringfence status and explain against daemons that answer, refuse, babble, hang or die.
 *
 * The file under test is included: its clock and its socket are real, the
 * daemon is a child process, and the time limit is short.
 */
#include "check.h"
#include "firewall/tool_control.c" // NOLINT(bugprone-suspicious-include): see above

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#define LIMIT_MS 300

static char dir[] = "/tmp/ringfence-status-XXXXXX";
static char path[64], said[512], printed[4096];

/* The parts of firewall/tool.c that the command would bring. */
void tool_error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(said, sizeof(said), format, ap);
	va_end(ap);
}

int tool_option(int argc, char **argv, const struct option *options)
{
	return getopt_long(argc, argv, ":", options, NULL);
}

int tool_help(void)
{
	return TOOL_OK;
}

int tool_flush(int code)
{
	return fflush(stdout) == 0 ? code : TOOL_USAGE;
}

static int listener(int backlog)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(sa.sun_path, path, strlen(path));
	(void)unlink(path);
	CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0 &&
	      listen(fd, backlog) == 0);
	return fd;
}

enum ending { CLOSE, HANG };

/* One client: take its request, send the reply in two pieces, end. */
static void serve(int fd, const char *reply, size_t len, enum ending ending)
{
	char request[64] = "";
	int client = accept(fd, NULL, NULL);
	size_t half = len / 2;

	if (recv(client, request, sizeof(request) - 1, 0) <= 0 || strcmp(request, "status\n") != 0)
		_exit(1);
	if (send(client, reply, half, MSG_NOSIGNAL) < 0)
		_exit(1);
	usleep(20000);
	while (half < len) {
		ssize_t n = send(client, reply + half, len - half, MSG_NOSIGNAL);

		if (n <= 0)
			_exit(1);
		half += (size_t)n;
	}
	if (ending == HANG)
		pause();
	close(client);
	_exit(0);
}

/* Run status() with stdout in a file; what it printed goes to printed[]. */
static int run(void)
{
	int saved = dup(STDOUT_FILENO), code, fd;
	char file[80];
	ssize_t n;

	snprintf(file, sizeof(file), "%s/out", dir);
	fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	fflush(stdout);
	said[0] = '\0';
	dup2(fd, STDOUT_FILENO);
	code = ask_within("status", path, "status\n", LIMIT_MS);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	n = pread(fd, printed, sizeof(printed) - 1, 0);
	printed[n > 0 ? n : 0] = '\0';
	close(fd);
	return code;
}

static int run_with(const char *reply, size_t len, enum ending ending)
{
	int fd = listener(4), code, how = 0;
	pid_t child = fork();

	if (child == 0)
		serve(fd, reply, len, ending);
	close(fd);
	code = run();
	if (ending == HANG)
		kill(child, SIGKILL);
	CHECK(waitpid(child, &how, 0) == child);
	CHECK(ending == HANG || (WIFEXITED(how) && WEXITSTATUS(how) == 0));
	return code;
}

static void test_replies(void)
{
	static const struct {
		const char *reply;
		enum ending ending;
		int code;
		const char *out, *err; /* parts of it */
	} rows[] = {
	    {"{\"z\": 1, \"a\": {\"b\": []}}\n", CLOSE, TOOL_OK,
	     "{\n  \"z\": 1,\n  \"a\": {\n    \"b\": []\n  }\n}\n", ""},
	    {"{\"error\": \"unknown request\"}\n", CLOSE, TOOL_NO, "",
	     "the daemon says: unknown request"},
	    {"{\"clients\": [", CLOSE, TOOL_NO, "", "the reply is not JSON"},
	    {"hello", CLOSE, TOOL_NO, "", "the reply is not JSON"},
	    {"{} {}", CLOSE, TOOL_NO, "", "the reply is not JSON"},
	    {"", CLOSE, TOOL_NO, "", "the daemon closed the connection"},
	    {"{\"a\": 1", HANG, TOOL_NO, "", "no answer in 0.3 s"},
	    {"", HANG, TOOL_NO, "", "no answer in 0.3 s"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		test_case(rows[i].reply);
		CHECK_INT(run_with(rows[i].reply, strlen(rows[i].reply), rows[i].ending),
			  rows[i].code);
		CHECK_STR(printed, rows[i].out);
		if (!CHECK(strstr(said, rows[i].err) != NULL))
			printf("  said \"%s\"\n", said);
		CHECK(rows[i].err[0] != '\0' || said[0] == '\0');
	}
}

static void test_long_reply(void)
{
	size_t len = 3u << 20;
	char *reply = malloc(len);

	test_case("a reply of 3 MiB");
	if (!CHECK(reply != NULL))
		return;
	memset(reply, ' ', len);
	reply[0] = '{';
	reply[len - 1] = '}';
	CHECK_INT(run_with(reply, len, CLOSE), TOOL_OK);
	CHECK_STR(printed, "{}\n");
	free(reply);
}

static void test_no_daemon(void)
{
	int fd, waiting[8];
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	test_case("nothing there");
	(void)unlink(path);
	CHECK_INT(run(), TOOL_NO);
	CHECK(strstr(said, "No such file or directory: no ringfenced runs there") != NULL);

	test_case("a socket that nobody listens on");
	fd = listener(4);
	close(fd);
	CHECK_INT(run(), TOOL_NO);
	CHECK(strstr(said, "Connection refused: no ringfenced runs there") != NULL);

	test_case("a daemon that accepts nobody");
	fd = listener(0);
	memcpy(sa.sun_path, path, strlen(path));
	for (size_t i = 0; i < 8; i++) {
		waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(waiting[i], (const struct sockaddr *)&sa, sizeof(sa));
	}
	CHECK_INT(run(), TOOL_NO);
	CHECK(strstr(said, "no answer in 0.3 s") != NULL);
	for (size_t i = 0; i < 8; i++)
		close(waiting[i]);
	close(fd);

	test_case("not a socket");
	(void)unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	CHECK_INT(run(), TOOL_NO);
	CHECK(strstr(said, path) != NULL);

	test_case("a path too long for a socket");
	memset(printed, 'x', 200);
	printed[200] = '\0';
	CHECK_INT(ask(printed, "status\n", LIMIT_MS), -ENAMETOOLONG);
}

int main(void)
{
	char file[80];

	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/socket", dir);
	test_replies();
	test_long_reply();
	test_no_daemon();
	snprintf(file, sizeof(file), "%s/out", dir);
	(void)unlink(file);
	(void)unlink(path);
	(void)rmdir(dir);
	return test_end();
}
