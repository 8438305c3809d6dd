# shellcheck shell=sh
# packages.sh - what Mobula needs from Debian, and how the scripts get it. To be sourced.

# To build and run: CMakeLists.txt asks for the same.
# shellcheck disable=SC2034 # for the script that sources this
PACKAGES_BUILD="gcc g++ libc6-dev cmake ninja-build pkg-config
    liburing-dev libsodium-dev libxxhash-dev libjansson-dev libsqlite3-dev
    libhwloc-dev libibverbs-dev"

# To test as well.
# shellcheck disable=SC2034 # likewise
PACKAGES_TEST="clang clang-format clang-tidy cppcheck shellcheck
    libcriterion-dev valgrind strace iproute2 procps groff-base mpich libmpich-dev"

# For the emulated guest with RDMA, its kernel aside (tests/rdma/guest.sh fetches that). It is an x86-64 one.
# shellcheck disable=SC2034 # likewise
PACKAGES_GUEST=
if [ "$(uname -m)" = x86_64 ]; then
    PACKAGES_GUEST="qemu-system-x86 busybox-static cpio kmod xz-utils iproute2
    ibverbs-providers ibverbs-utils libibverbs-dev perftest"
fi

# To compare with, in metg_bench; what is missing is left out there.
# shellcheck disable=SC2034 # likewise
PACKAGES_BENCH="libopenmpi-dev openmpi-bin libstarpu-dev"

# Installs those of the packages given that are missing; says nothing if none is. Returns 1, after
# saying what to do, if it cannot.
install_missing()
{
    if ! command -v dpkg-query >/dev/null 2>&1; then
        echo "This is no Debian: install yourself what these packages stand for:" "$@" >&2
        return 0
    fi
    missing=
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *" ok installed") ;;
        *) missing="$missing $package" ;;
        esac
    done
    if [ -z "$missing" ]; then
        return 0
    fi

    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1 || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            echo "Packages are missing, and only root can install them. As root, run:" >&2
            echo "    apt-get update && apt-get install -y --no-install-recommends$missing" >&2
            return 1
        fi
        as_root=sudo
    fi
    echo "installing$missing"
    # The lists of a fresh system are empty or old: look again only if they do not do. The names
    # are split into words on purpose.
    # shellcheck disable=SC2086
    apt_install $missing && return 0
    if ! apt update -qq; then
        echo "apt-get update failed, as shown above: is there a network?" >&2
        return 1
    fi
    # shellcheck disable=SC2086
    if ! apt_install $missing; then
        apt_show_failure
        return 1
    fi
}

# apt-get, as root, asking nothing, and patient if another one is at work.
apt()
{
    ${as_root:+"$as_root"} env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=120 "$@"
}

apt_install()
{
    apt_log=$(apt install -y -qq --no-install-recommends "$@" 2>&1)
}

apt_show_failure()
{
    printf '%s\n' "$apt_log" | tail -n 20 >&2
    echo "apt-get install failed, as shown above." >&2
}
