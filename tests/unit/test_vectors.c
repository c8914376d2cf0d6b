// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs tests/vectors: histories of packets and what has to come of them. The
 * language of the files is in tests/vectors/README.md, that of the packets in
 * tests/craft/craft.h.
 *
 * A packet that was forwarded is compared byte by byte with one that is built
 * from the line it was sent by and what the expectation says is different: so
 * nothing else may have changed, and every checksum is one that was computed
 * from scratch. Payload that the engine has no business with is not even
 * there while it decides.
 *
 *	test_vectors [-v] [FILE... [-c CASE]]
 */
#include "tests/unit/check.h"
#include "tests/unit/vector_expect.h"

#include <glob.h>

/* --- files --------------------------------------------------------------------------------- */

struct lines {
	char **text;
	int *number;
	size_t n;
};

/* Split into lines; comments and blanks go, a backslash joins with the next. */
static void lines_split(struct lines *l, char *data)
{
	size_t room = 16;
	int number = 0;
	bool join = false;

	for (const char *p = data; *p; p++)
		room += *p == '\n';
	l->text = calloc(room, sizeof(*l->text));
	l->number = calloc(room, sizeof(*l->number));
	if (!l->text || !l->number)
		abort();
	for (char *line = data, *next; line && *line; line = next) {
		size_t len = strcspn(line, "\n"), end;
		char *hash;

		next = line[len] ? line + len + 1 : NULL;
		line[len] = '\0';
		number++;
		hash = strchr(line, '#');
		while (hash && hash > line && hash[-1] != ' ' && hash[-1] != '\t')
			hash = strchr(hash + 1, '#');
		if (hash)
			*hash = '\0';
		line += strspn(line, " \t");
		for (end = strlen(line); end && isspace((unsigned char)line[end - 1]); end--)
			line[end - 1] = '\0';
		if (join) {
			char *before = l->text[l->n - 1];
			char *both = malloc(strlen(before) + strlen(line) + 2);

			if (!both)
				abort();
			snprintf(both, strlen(before) + strlen(line) + 2, "%s %s", before, line);
			free(before);
			l->text[l->n - 1] = both;
		} else if (*line) {
			l->text[l->n] = strdup(line);
			l->number[l->n++] = number;
		}
		if (!join && !*line)
			continue;
		end = strlen(l->text[l->n - 1]);
		join = end && l->text[l->n - 1][end - 1] == '\\';
		if (join)
			l->text[l->n - 1][end - 1] = '\0';
	}
}

static bool lines_read(struct lines *l, const char *name)
{
	FILE *f = fopen(name, "r");
	char *data = NULL;
	long size;
	size_t n;

	memset(l, 0, sizeof(*l));
	if (!f)
		return false;
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	if (size > 0 && size < 1 << 20)
		data = calloc(1, (size_t)size + 1);
	n = data ? fread(data, 1, (size_t)size, f) : 0;
	fclose(f);
	if (n == 0) {
		free(data);
		return false;
	}
	lines_split(l, data);
	free(data);
	return true;
}

static void lines_free(struct lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->text[i]);
	free(l->text);
	free(l->number);
}

/* --- cases --------------------------------------------------------------------------------- */

/* [@LABEL] PORT> PACKET; false: it is something else. */
static bool packet_line(const char *line)
{
	char label[16] = "";
	size_t n;
	int port;

	if (line[0] == '@') {
		n = strcspn(line, " ");
		snprintf(label, sizeof(label), "%.*s", (int)n - 1, line + 1);
		line += n + strspn(line + n, " ");
	}
	n = strcspn(line, "> ");
	if (line[n] != '>' || (port = world_port_id(&r.w, line, n)) < 0)
		return false;
	line += n + 1;
	if (world_start(&r.w) != 0)
		fail("%s", r.w.error);
	else
		send_packet(port, line + strspn(line, " "), label);
	return true;
}

/* t=SECONDS [more of the line] */
static const char *time_line(const char *line)
{
	char *end;
	double t;

	if (strncmp(line, "t=", 2) != 0)
		return line;
	t = strtod(line + 2, &end);
	if (world_start(&r.w) != 0)
		fail("%s", r.w.error);
	if (1000000 + (uint64_t)(t * 1000 + 0.5) < r.w.ms)
		fail("time does not go back");
	advance(1000000 + (uint64_t)(t * 1000 + 0.5), false);
	check_engine();
	while (*end == ' ')
		end++;
	return end;
}

/* repeat A..B[/STEP] PACKET, and the expectations behind it, for each $i. Lines used. */
static size_t repeat(const struct lines *l, size_t at, size_t end)
{
	unsigned int from, to, step = 1;
	int skip = 0;
	size_t n = 1;

	while (at + n < end && strncmp(l->text[at + n], "expect ", 7) == 0)
		n++;
	if ((sscanf(l->text[at], "repeat %u..%u/%u %n", &from, &to, &step, &skip) != 3 || !skip) &&
	    (sscanf(l->text[at], "repeat %u..%u %n", &from, &to, &skip) != 2 || !skip)) {
		fail("repeat FROM..TO PACKET");
		return n;
	}
	for (unsigned int i = from; i <= to && !test_state.bad; i += step) {
		char value[16];

		snprintf(value, sizeof(value), "%u", i);
		var_set("i", 1, value, strlen(value));
		r.line = l->number[at];
		if (!packet_line(l->text[at] + skip))
			fail("not a packet");
		for (size_t k = 1; k < n; k++) {
			r.line = l->number[at + k];
			expect(l->text[at + k] + 7);
		}
		step_end();
	}
	return n;
}

static void other_line(const char *line)
{
	char *copy = strdup(line);
	int err;

	if (!copy)
		abort();
	if (strcmp(line, "neighbours") == 0) {
		r.neighbours = true;
	} else if (strncmp(line, "jump ", 5) == 0) {
		if (world_start(&r.w) == 0)
			advance(r.w.ms + strtoull(line + 5, NULL, 10) * 1000, true);
	} else {
		err = world_line(&r.w, copy);
		if (err > 0)
			fail("what is this? %s", line);
		else if (err < 0)
			fail("%s", r.w.error);
		if (r.w.e)
			take_all(); /* say that we are there, and whom we look for */
	}
	free(copy);
}

static void run_lines(const struct lines *l, size_t from, size_t to, int depth);

/* The line behind the end of a macro that begins at @at. */
static size_t macro_end(const struct lines *l, size_t at)
{
	while (at < l->n && strcmp(l->text[at], "end") != 0)
		at++;
	return at < l->n ? at + 1 : l->n;
}

/* do NAME: the lines of macro NAME, which stands in front of all cases */
static void run_macro(const struct lines *l, const char *name, int depth)
{
	if (depth > 3) {
		fail("do, too deep");
		return;
	}
	for (size_t i = 0; i < l->n && strncmp(l->text[i], "case ", 5) != 0; i++)
		if (strncmp(l->text[i], "macro ", 6) == 0 && strcmp(l->text[i] + 6, name) == 0) {
			run_lines(l, i + 1, macro_end(l, i) - 1, depth + 1);
			return;
		}
	fail("no macro %s", name);
}

static void run_lines(const struct lines *l, size_t from, size_t to, int depth)
{
	for (size_t i = from; i < to && !test_state.bad;) {
		const char *line = l->text[i];

		r.line = l->number[i];
		if (strncmp(line, "expect ", 7) == 0) {
			expect(line + 7);
			i++;
			continue;
		}
		step_end();
		if (strncmp(line, "macro ", 6) == 0) {
			i = macro_end(l, i);
			continue;
		}
		if (strncmp(line, "do ", 3) == 0) {
			run_macro(l, line + 3, depth);
			i++;
			continue;
		}
		if (strncmp(line, "repeat ", 7) == 0) {
			i += repeat(l, i, to);
			continue;
		}
		line = time_line(line);
		if (*line && r.outs) {
			r.line = l->number[i];
			step_end(); /* what came while time passed, nobody expects */
		}
		if (*line && !packet_line(line))
			other_line(line);
		i++;
	}
	if (!test_state.bad)
		step_end();
}

static void run_case(const struct lines *l, size_t header, size_t from, size_t to, int family)
{
	r.vars = r.labels = 0;
	r.fed = r.replies = r.plain = 0;
	r.is_packet = r.neighbours = false;
	world_init(&r.w, family);
	run_lines(l, 0, header, 0);
	run_lines(l, from, to, 0);
	outputs_clear();
	if (r.w.e)
		engine_free(&r.w.e);
}

/* case NAME [4|6]: for both families when none is named */
static void run_file(const char *file, const char *only)
{
	struct lines l;
	size_t header = 0;

	r.file = file;
	if (!lines_read(&l, file)) {
		test_case(file);
		fail("cannot be read");
		return;
	}
	while (header < l.n && strncmp(l.text[header], "case ", 5) != 0)
		header++;
	if (header == l.n) {
		test_case(file);
		fail("no case in it");
	}
	for (size_t i = header, end; i < l.n; i = end) {
		char name[64] = "", title[80], which[4] = "";
		int n = sscanf(l.text[i], "case %63s %3s", name, which);

		for (end = i + 1; end < l.n && strncmp(l.text[end], "case ", 5) != 0; end++)
			;
		for (int family = 4; family <= 6; family += 2) {
			if ((n == 2 && which[0] != '0' + family) || (only && !strstr(name, only)))
				continue;
			snprintf(title, sizeof(title), "%s_v%d", name, family);
			test_case(title);
			r.line = l.number[i];
			run_case(&l, header, i + 1, end, family);
		}
	}
	lines_free(&l);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	glob_t files;
	int named = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-v") == 0)
			verbose = true;
		else if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
			only = argv[++i];
		else
			named++;
	}
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0)
			i++;
		else if (argv[i][0] != '-')
			run_file(argv[i], only);
	}
	if (named == 0) {
		if (glob("tests/vectors/*.vec", 0, NULL, &files) != 0) {
			test_case("vectors");
			r.file = "tests/vectors";
			fail("no vectors found; run in the top directory");
			return test_end();
		}
		for (size_t i = 0; i < files.gl_pathc; i++)
			run_file(files.gl_pathv[i], only);
		globfree(&files);
	}
	return test_end();
}
