#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make deb: OUT/ringfence_VERSION_ARCH.deb from what `make install` puts in place.
#
#   VERSION=0.1.0 BUILD=DIR packaging/deb.sh
#
# No root and no debhelper. The same sources and compiler give the same bytes:
# times are SOURCE_DATE_EPOCH's (epoch.sh), owners root, order and modes ours.
set -euo pipefail
cd "$(dirname "$0")/.."

BUILD=${BUILD:-build}
VERSION=${VERSION:?set by make}
SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8
umask 022

die()
{
	echo "deb: $*" >&2
	exit 1
}

for tool in dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev strip:binutils gzip:gzip; do
	command -v "${tool%%:*}" >/dev/null ||
		die "${tool%%:*} is missing: install the package ${tool##*:} (make deps)"
done
logged=$(sed -n '1s/^ringfence (\(.*\)) .*/\1/p' packaging/debian/changelog)
[ "$logged" = "$VERSION" ] || die "the newest entry of packaging/debian/changelog is $logged, not $VERSION"

work=$(mktemp -d "$BUILD/.deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/debian/ringfence # where dpkg-shlibdeps looks
arch=$(dpkg --print-architecture)
# MAKEFLAGS: a PREFIX of the user's own is not Debian's.
MAKEFLAGS='' make -s BUILD="$BUILD" PREFIX=/usr DESTDIR="$root" install >/dev/null

programs=("$root/usr/sbin/ringfenced" "$root/usr/bin/ringfence")
strip --strip-unneeded --remove-section=.comment --remove-section=.note "${programs[@]}"
gzip -9n "$root"/usr/share/man/man*/*
doc=$root/usr/share/doc/ringfence
install -D -m 644 packaging/debian/copyright "$doc/copyright"
gzip -9nc packaging/debian/changelog >"$doc/changelog.gz"

mkdir "$root/DEBIAN"
# The libraries' own symbol files say which version each symbol needs.
install -D -m 644 packaging/debian/control "$work/debian/control"
depends=$(
	cd "$work"
	dpkg-shlibdeps -O "${programs[@]/#"$work/"/}" | sed -n 's/^shlibs:Depends=//p'
)
[ -n "$depends" ] || die "dpkg-shlibdeps found no dependency"

# KiB as dpkg-gencontrol counts them: each file rounded up, 1 for anything else.
size=$(find "$root" -mindepth 1 -printf '%y %s\n' |
	awk '{ n += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print n }')
(cd "$root" && find usr -type f | LC_ALL=C sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
# The binary package's stanza, with the source's fields that belong into it.
{
	echo 'Package: ringfence'
	echo "Version: $VERSION"
	echo "Architecture: $arch"
	sed -n '/^$/q; /^\(Maintainer\|Section\|Priority\):/p' packaging/debian/control
	echo "Installed-Size: $size"
	echo "Depends: $depends"
	sed -n '/^Description:/,$p' packaging/debian/control
} >"$root/DEBIAN/control"

find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
deb=ringfence_${VERSION}_$arch.deb
# One thread: xz cuts its blocks by the number of threads.
dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" "$work/$deb" >/dev/null
mv "$work/$deb" "$BUILD/$deb"
echo "$BUILD/$deb: $(stat -c %s "$BUILD/$deb") bytes, installed $size KiB"
echo "  Depends: $depends"
