/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rules/names.c: what --resolve accepts, and what it then answers. */
#include "check.h"
#include "rules/names.h"

#include <errno.h>

static const struct {
	const char *text;
	int ret;
} forms[] = {
    {"a=1.2.3.4", 0},
    {"a.b-c_d.0=1.2.3.4,::1,5.6.7.8", 0},
    {"Example.COM=1.2.3.4", 0},
    {"a=", 0},
    {"", -EINVAL},
    {"=", -EINVAL},
    {"a", -EINVAL},
    {"=1.2.3.4", -EINVAL},
    {"a b=1.2.3.4", -EINVAL},
    {"a/b=1.2.3.4", -EINVAL},
    {"a\xc3\xa4=1.2.3.4", -EINVAL},
    {"a=1.2.3", -EINVAL},
    {"a=1.2.3.4,", -EINVAL},
    {"a=,1.2.3.4", -EINVAL},
    {"a=1.2.3.4,,5.6.7.8", -EINVAL},
    {"a=1.2.3.4, 5.6.7.8", -EINVAL},
    {"a=,", -EINVAL},
    {"a=1.2.3.4=", -EINVAL},
    {"a=b", -EINVAL},
    {"a=1.2.3.0/24", -EINVAL},
};

static void expect(struct names *n, const char *name, const char *want)
{
	const struct addr *addrs = NULL;
	char got[256] = "";
	size_t count = 0, len = 0;

	if (names_lookup(n, name, &addrs, &count) == NAME_UNRESOLVED) {
		CHECK_STR("unresolved", want);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		char buf[ADDR_STRLEN];

		len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%s", i > 0 ? " " : "",
					addr_format(&addrs[i], buf));
	}
	CHECK_STR(got, want);
}

int main(void)
{
	struct names *n = NULL;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		test_case(forms[i].text);
		CHECK(names_new(&n) == 0);
		CHECK_INT(names_add(n, forms[i].text), forms[i].ret);
		names_free(&n);
	}

	test_case("lookup");
	CHECK(names_new(&n) == 0);
	expect(n, "a.test", "unresolved");
	CHECK(names_add(n, "a.test=1.2.3.4,::1") == 0);
	CHECK(names_add(n, "a.tes=9.9.9.9") == 0);
	CHECK(names_add(n, "A.Test=5.6.7.8") == 0); /* adds up */
	CHECK(names_add(n, "empty.test=") == 0);
	CHECK(names_add(n, "a.test=8.8.8.8,x") == -EINVAL); /* nothing of it stays */
	expect(n, "a.test", "1.2.3.4 ::1 5.6.7.8");
	expect(n, "a.tes", "9.9.9.9");
	expect(n, "a.te", "unresolved");
	expect(n, "a.test.", "unresolved");
	expect(n, "empty.test", "");
	expect(n, "", "unresolved");

	test_case("a refused text adds no name");
	CHECK(names_add(n, "bad.test=1.2.3.4,x") == -EINVAL);
	expect(n, "bad.test", "unresolved");
	names_free(&n);
	CHECK(n == NULL);
	names_free(&n);
	return test_end();
}
