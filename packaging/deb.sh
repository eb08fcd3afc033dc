#!/bin/sh
# Makes a Debian package of a build, for the release of Debian or Ubuntu it runs on.
#
#   packaging/deb.sh BUILD OUT      writes OUT/otolith_VERSION_ARCH.deb
set -eu
build=$1
out=$2
version=$(sed -n 's/^project(otolith VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
arch=$(dpkg --print-architecture)
stage=$(mktemp -d "${TMPDIR:-/tmp}/otolith-deb.XXXXXX")
trap 'rm -rf "$stage"' EXIT
root=$stage/root

umask 022
cmake --install "$build" --prefix "$root/usr" --strip >/dev/null
gzip -9n "$root/usr/share/man/man1/otolith.1"
install -D -m 644 packaging/otolith.conf "$root/etc/otolith/otolith.conf"
install -D -m 644 packaging/otolith.service "$root/usr/lib/systemd/system/otolith.service"
install -D -m 644 LICENSE "$root/usr/share/doc/otolith/copyright"
install -D -m 644 CHANGELOG.md "$root/usr/share/doc/otolith/changelog"
gzip -9n "$root/usr/share/doc/otolith/changelog"

# What the program is linked with, and libav, which only a decoder loads: the version that it was
# compiled for, which the names in the program tell.
mkdir -p "$stage/debian" "$root/DEBIAN"
printf 'Source: otolith\n\nPackage: otolith\nArchitecture: any\n' >"$stage/debian/control"
depends=$(cd "$stage" && dpkg-shlibdeps -O "$root/usr/bin/otolith" 2>"$stage/log") || {
    cat "$stage/log" >&2
    exit 1
}
depends=${depends#shlibs:Depends=}
for name in avformat avcodec avutil swresample; do
    soname=$(grep -aoE "lib$name\.so\.[0-9]+" "$root/usr/bin/otolith" | head -n 1)
    package=$(dpkg-query -S "*/$soname" | sed -n '1s/:.*//p')
    [ -n "$package" ] || { echo "deb.sh: no package holds $soname" >&2; exit 1; }
    depends="$depends, $package"
done

# OpenCC, loaded when a conversion of script is asked for; its dictionaries are a package of their own.
soname=$(grep -aoE "libopencc\.so\.[0-9.]+" "$root/usr/bin/otolith" | head -n 1)
package=$(dpkg-query -S "*/$soname" | sed -n '1s/:.*//p')
[ -n "$package" ] || { echo "deb.sh: no package holds $soname" >&2; exit 1; }

cat >"$root/DEBIAN/control" <<EOF
Package: otolith
Version: $version
Architecture: $arch
Maintainer: otolith <otolith@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends
Recommends: ca-certificates, python3-pip, $package, libopencc-data
Section: sound
Priority: optional
Description: speech to text on this machine
 Recordings of any length and format to text and subtitles with Whisper models,
 on the command line or as a server with OpenAI's API and a durable queue.
EOF
echo /etc/otolith/otolith.conf >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/postinst" <<'EOF'
#!/bin/sh
# Not started by itself: which model it fetches and where it listens is the operator's choice.
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    [ -z "$2" ] || systemctl try-restart otolith.service
fi
EOF
cat >"$root/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now otolith.service
fi
EOF
cat >"$root/DEBIAN/postrm" <<'EOF'
#!/bin/sh
# Models can be fetched again; recordings and texts in /var/lib/otolith are left to their owner.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ "$1" = purge ]; then
    rm -rf /var/cache/private/otolith /var/cache/otolith
fi
EOF
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/otolith_${version}_$arch.deb"
