#!/bin/sh
# Installs the system packages that otolith needs: the one place that does. Asks nothing, may be run
# again (what is there already is skipped), and says which packages it could not find.
#
#   scripts/deps.sh [build] [test] [dev]      default: build
#     build   compiler, libraries, and pip, which some models come by: enough for `make demo`
#     test    what `make test` adds: tools and speech the test data are made of
#     dev     clang, clang-format, debugger: for `make fmt` and `make fuzz`
# By hand, for the test kernels.neon (CONTRIBUTING.md): gcc-aarch64-linux-gnu qemu-user-static
# libcmocka-dev:arm64
set -eu

build="build-essential cmake ninja-build pkg-config ca-certificates
  libavformat-dev libavcodec-dev libavutil-dev libswresample-dev libkissfft-dev libjansson-dev
  libcurl4-openssl-dev libseccomp-dev libutf8proc-dev libopencc-dev libzip-dev libssl-dev zlib1g-dev libsqlite3-dev libwebsockets-dev
  libcmocka-dev curl python3 python3-pip"
test="python3-venv ffmpeg sox espeak-ng libopencore-amrnb0
  asterisk-core-sounds-en asterisk-core-sounds-en-g722 asterisk-core-sounds-en-wav
  asterisk-core-sounds-es asterisk-core-sounds-es-g722
  asterisk-core-sounds-fr asterisk-core-sounds-fr-g722
  asterisk-core-sounds-it asterisk-core-sounds-it-g722
  asterisk-core-sounds-ru asterisk-core-sounds-ru-g722"
dev="clang clang-format llvm gdb"

wanted=""
[ $# -gt 0 ] || set -- build
for group in "$@"; do
    case $group in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    dev) wanted="$wanted $dev" ;;
    *)
        echo "deps.sh: unknown group '$group' (build, test, dev)" >&2
        exit 2
        ;;
    esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    name=$(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-}" || true)
    {
        echo "deps.sh: ${name:-this system} has no apt-get; only Debian and Ubuntu are served."
        echo "Install the counterparts of these packages by hand:"
        echo $wanted
    } >&2
    exit 1
fi

missing=""
native=$(dpkg --print-architecture)
for package in $wanted; do
    # a package may also be there for another architecture
    dpkg-query -W -f '${Architecture} ${db:Status-Status}\n' "$package" 2>/dev/null |
        grep -Eqx "($native|all) installed" || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "deps.sh: everything is installed"
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps.sh: neither root nor sudo; as root run: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo -n"
    $as_root true 2>/dev/null || as_root=sudo
fi

echo "deps.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}
# Package lists may be absent or stale on a fresh machine: refresh them first, but let an install
# from the lists at hand go ahead when a mirror is down.
apt update >/dev/null 2>&1 || echo "deps.sh: apt-get update failed; trying the lists at hand" >&2
# -dev packages that exclude one another (two flavours of libcurl) stay as they are.
if ! apt install -y --no-install-recommends $missing; then
    echo "deps.sh: apt-get could not install:$missing" >&2
    exit 1
fi
