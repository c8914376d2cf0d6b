/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * init of the appliance: PID 1 of a qube in which nothing but ringfenced runs.
 *
 * It mounts what ringfenced looks at, loads the kernel modules that the image
 * brought (/lib/modules/order: a file name and its parameters on a line, in the
 * order to load them in), starts ringfenced and starts it again whenever it ends,
 * after 0.1 s, and twice that after each further death up to 5 s; one that lived
 * for 10 s begins anew. Nothing is forwarded meanwhile: there is no other path.
 *
 * Dom0's shutdown reaches Linux through xenstore; the kernel answers by running
 * /sbin/poweroff or /sbin/reboot. Both are links to this program, which under
 * these names tells PID 1. SIGTERM and SIGINT (the kernel's ctrl-alt-del) mean
 * power off, SIGUSR1 reboot. ringfenced then lets go of its devices and ends; one
 * that does not is killed after STOP_MS.
 *
 * All signals are blocked and taken by sigtimedwait(); no handler exists. (The
 * kernel keeps blocked signals even for PID 1, whose unhandled ones it ignores.)
 * PID 1 must not end: what fails is said on the console, and the rest goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DAEMON		"/sbin/ringfenced"
#define MODULES		"/lib/modules/"

#define BACKOFF_MIN_MS	100
#define BACKOFF_MAX_MS	5000
#define LIVED_MS	10000	/* a daemon that ran so long was all right */
#define STOP_MS		3000	/* dom0 and its user wait for us */

struct supervisor {
	pid_t pid;		/* of ringfenced, 0 when it does not run */
	int64_t started_ms;
	int64_t again_ms;	/* when to start it, if it does not run */
	int64_t backoff_ms;
	int64_t kill_ms;	/* when to lose patience with it, 0: never */
	int how;		/* RB_*, once the qube is to end, else 0 */
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2)))
static void say(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(STDERR_FILENO, "init: %s\n", text); /* in one write */
}

static void open_console(void)
{
	int fd;

	/* The kernel opens it for us if the image has the node; ours has not. */
	if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return;
	for (fd = open("/dev/console", O_RDWR); fd >= 0 && fd < STDERR_FILENO; fd = dup(fd))
		;
}

static void mount_all(void)
{
	static const struct {
		const char *type, *where, *options;
		unsigned long flags;
	} mounts[] = {
		/* first: the console is in it, and what fails should be said there */
		{"devtmpfs", "/dev", NULL, MS_NOSUID | MS_NOEXEC},
		{"proc", "/proc", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
		{"sysfs", "/sys", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
		{"tmpfs", "/run", "mode=755,size=1m", MS_NOSUID | MS_NOEXEC | MS_NODEV},
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		int bad = mount(mounts[i].type, mounts[i].where, mounts[i].type, mounts[i].flags,
				mounts[i].options), err = errno;

		open_console();
		if (bad && err != EBUSY)
			say("mount %s: %s", mounts[i].where, strerror(err));
	}
}

static void load_modules(void)
{
	FILE *order = fopen(MODULES "order", "re");
	char line[256], path[sizeof(line) + sizeof(MODULES)];

	/* A kernel that has all built in comes without modules. */
	while (order && fgets(line, sizeof(line), order)) {
		char *parameters = line + strcspn(line, " \n");

		line[strcspn(line, "\n")] = '\0';
		if (*parameters != '\0')
			*parameters++ = '\0';
		snprintf(path, sizeof(path), MODULES "%s", line);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		/* EEXIST: it is in the kernel already, or built into it. */
		if (fd < 0 || (syscall(SYS_finit_module, fd, parameters, 0) < 0 && errno != EEXIST))
			say("module %s: %s", line, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (order)
		fclose(order);
}

static void ended(struct supervisor *s, const char *why)
{
	int64_t now = now_ms();

	if (now - s->started_ms >= LIVED_MS)
		s->backoff_ms = BACKOFF_MIN_MS;
	s->pid = 0;
	s->kill_ms = 0;
	if (s->how != 0) {
		say("ringfenced ended: %s", why);
		return;
	}
	s->again_ms = now + s->backoff_ms;
	say("ringfenced died: %s; again in %lld.%lld s", why, (long long)s->backoff_ms / 1000,
	    (long long)s->backoff_ms % 1000 / 100);
	s->backoff_ms *= 2;
	s->backoff_ms = s->backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : s->backoff_ms;
}

static void start(struct supervisor *s)
{
	char *const nothing[] = {NULL}; /* of the kernel's command line, if any */
	sigset_t none;

	s->started_ms = now_ms();
	s->pid = fork();
	if (s->pid < 0) {
		ended(s, strerror(errno));
		return;
	}
	if (s->pid > 0)
		return;
	setsid(); /* what it does to its process group does not reach us */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execle(DAEMON, "ringfenced", "--xen", "--qubesdb", "vchan", "--qrexec", "--self",
	       NULL, nothing);
	say("%s: %s", DAEMON, strerror(errno));
	_exit(127);
}

/* Whoever lost its parent is ours, too: reap all, mourn one. */
static void reap(struct supervisor *s)
{
	char why[64];
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != s->pid)
			continue;
		if (WIFSIGNALED(status))
			snprintf(why, sizeof(why), "signal %d (%s)", WTERMSIG(status),
				 strsignal(WTERMSIG(status)));
		else
			snprintf(why, sizeof(why), "exit status %d", WEXITSTATUS(status));
		ended(s, why);
	}
}

static void end_begins(struct supervisor *s, int how)
{
	if (s->how != 0)
		return;
	s->how = how;
	say("%s", how == RB_AUTOBOOT ? "rebooting" : "powering off");
	if (s->pid != 0) {
		kill(s->pid, SIGTERM);
		s->kill_ms = now_ms() + STOP_MS;
	}
}

/* Sleep until a signal comes or something is due. */
static int next_signal(const struct supervisor *s, const sigset_t *signals)
{
	int64_t due = s->pid == 0 ? s->again_ms : s->kill_ms;
	int64_t left = due > now_ms() ? due - now_ms() : 0;
	struct timespec t = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

	return due == 0 ? sigwaitinfo(signals, NULL) : sigtimedwait(signals, NULL, &t);
}

int main(int argc, char **argv)
{
	struct supervisor s = {.backoff_ms = BACKOFF_MIN_MS};
	const char *name = argc > 0 ? basename(argv[0]) : "";
	sigset_t signals;

	if (strcmp(name, "poweroff") == 0)
		return kill(1, SIGTERM) != 0;
	if (strcmp(name, "reboot") == 0)
		return kill(1, SIGUSR1) != 0;
	if (getpid() != 1) {
		fputs("init: this is the first process of a machine of its own\n", stderr);
		return 2;
	}
	sigfillset(&signals);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	mount_all();
	reboot(RB_DISABLE_CAD); /* ctrl-alt-del comes as SIGINT */
	load_modules();

	while (s.how == 0 || s.pid != 0) {
		if (s.pid == 0 && now_ms() >= s.again_ms)
			start(&s);
		if (s.kill_ms != 0 && now_ms() >= s.kill_ms) {
			say("ringfenced does not stop: killed");
			kill(s.pid, SIGKILL);
			s.kill_ms = 0;
		}
		switch (next_signal(&s, &signals)) {
		case SIGCHLD: reap(&s); break;
		case SIGTERM:
		case SIGINT: end_begins(&s, RB_POWER_OFF); break;
		case SIGUSR1: end_begins(&s, RB_AUTOBOOT); break;
		}
	}
	reboot(s.how);
	say("reboot: %s", strerror(errno));
	for (;;)
		pause();
}
