#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make deb: what is in the package, that it runs from where it was unpacked, and
# that a build elsewhere, by another user's habits, gives the same bytes.
#
# BUILD: the build folder. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

# ok WHAT COMMAND...: shows its output when it fails
ok() {
	local what=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "not ok: $what"
		sed 's/^/  | /' "$dir/log"
	fi
}

finish() {
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
	exit
}

# has EXTENDED-REGEX TEXT: a line of the text
has() { grep -Ex -- "$1" <<<"$2" >/dev/null || { printf 'no line "%s" in:\n%s\n' "$1" "$2" && false; }; }

SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export SOURCE_DATE_EPOCH
ok 'make deb' make -s BUILD="$BUILD" deb
version=$(make -s --no-print-directory --eval='p: ; @echo $(VERSION)' p)
arch=$(dpkg --print-architecture)
name=ringfence_${version}_$arch.deb
deb=$BUILD/$name
[ -f "$deb" ] || finish

control=$(dpkg-deb -f "$deb")
ok 'name' has 'Package: ringfence' "$control"
ok 'version' has "Version: $version" "$control"
ok 'architecture' has "Architecture: $arch" "$control"
ok 'maintainer' has 'Maintainer: .* <.*@.*>' "$control"
ok 'size' has 'Installed-Size: [1-9][0-9]*' "$control"
ok 'description' has 'Description: firewall .*' "$control"
for lib in libc6 libc-ares2 libjansson4 libseccomp2 libxenstore4 libxengnttab1 libxenevtchn1 libxenmisc4.17; do
	ok "depends on $lib" has "Depends: (.*, )?$lib \(>= [0-9][^)]*\).*" "$control"
done
ok 'control members' diff <(dpkg-deb -I "$deb" | awk '/bytes,.*lines/ {print $NF}' | sort) \
	<(printf '%s\n' control md5sums)

# Mode, owner, path: all of it, nothing else.
ok 'files' diff - <(dpkg-deb -c "$deb" | awk '{print $1, $2, $6}' | grep -v '/$') <<-END
	-rwxr-xr-x root/root ./usr/bin/ringfence
	-rwxr-xr-x root/root ./usr/sbin/ringfenced
	-rw-r--r-- root/root ./usr/share/doc/ringfence/changelog.gz
	-rw-r--r-- root/root ./usr/share/doc/ringfence/copyright
	-rw-r--r-- root/root ./usr/share/man/man1/ringfence.1.gz
	-rw-r--r-- root/root ./usr/share/man/man8/ringfenced.8.gz
END
ok 'directories are 755 root' diff /dev/null \
	<(dpkg-deb -c "$deb" | awk '/\/$/ && ($1 != "drwxr-xr-x" || $2 != "root/root")')

root=$dir/root
ok 'unpacks' dpkg -x "$deb" "$root"
dpkg-deb -e "$deb" "$dir/control"
ok 'md5sums' sh -c "cd $root && md5sum --quiet -c $dir/control/md5sums"
ok 'md5sums has every file' diff <(cd "$root" && find usr -type f | sort) \
	<(sed 's/^[0-9a-f]*  //' "$dir/control/md5sums" | sort)
ok 'stripped' diff /dev/null <(nm "$root"/usr/*bin/* 2>/dev/null | grep ' [tT] ')
ok 'changelog is of this version' has "ringfence \($version\) .*" \
	"$(zcat "$root/usr/share/doc/ringfence/changelog.gz" | head -n 1)"
for page in man8/ringfenced.8 man1/ringfence.1; do
	ok "$page" cmp <(zcat "$root/usr/share/man/$page.gz") "doc/${page#*/}"
done

ok 'ringfenced runs' has "ringfenced $version" "$("$root/usr/sbin/ringfenced" --version 2>&1)"
cat >"$dir/db" <<-END
	/qubes-firewall/10.137.0.5/policy = drop
	/qubes-firewall/10.137.0.5/0000 = action=accept proto=tcp dstports=443-443
	/qubes-firewall/10.137.0.5 =
END
explain() { "$root/usr/bin/ringfence" explain --db "$dir/db" 10.137.0.5 tcp 192.0.2.1 "$1" | jq -r .verdict; }
ok 'ringfence explains: accept' test "$(explain 443)" = accept
ok 'ringfence explains: reject' test "$(explain 80)" = reject

# The same sources somewhere else, without git, with another umask, zone and language.
again=$dir/elsewhere/src
mkdir -p "$again"
cp -r Makefile doc firewall netback packaging qubesdb rules "$again"
ok 'builds elsewhere' env -C "$again" TZ=Asia/Tokyo LANG=C LC_ALL=POSIX \
	sh -c 'umask 077; nice -n 5 make -s -j2 BUILD=out deb'
ok 'the same bytes' cmp "$deb" "$again/out/$name"
sed -i '1s/([^)]*)/(99)/' "$again/packaging/debian/changelog"
ok 'a changelog of another version is refused' \
	sh -c "! make -s -C '$again' BUILD=out deb 2>'$dir/err' && grep -q 'changelog is 99, not' '$dir/err'"
finish
