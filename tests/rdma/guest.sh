#!/bin/sh
# guest.sh - runs a command on a machine that has RDMA: one that qemu emulates, without KVM and without
# root. Its kernel is Debian's own, with software RDMA (rxe); its files are this machine's, read-only,
# with a /tmp, /run, /var/tmp and /dev/shm of its own. See README.md.
#
#   guest.sh run [OPTION...] COMMAND...   shows the command's output and exits with its status
#   guest.sh shell [OPTION...]            a shell there; its end is the machine's
#   guest.sh make [OPTION...]             makes what is kept in BUILD/guest, and no more
#
#   --build BUILD    the folder of the build; without it build/release of this tree
#   --timeout S      the guest is ended after so many seconds; without it 300
#   --memory MIB     without it 2048
#   --cpus N         without it 2
#   --numa N         the CPUs lie on so many packages, each a NUMA node with its share of the memory; without it 1
#   --threads N      of each core; without it 1
#   --times          says how long it took
#
# Variables that begin with MOB_, and CI, are there as here. Exit status: the command's; 77, after the reason,
# if this machine cannot do it; 124 if the time was up; 125 if the guest failed; 2 for a bad option.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
tree=$(cd "$here/../.." && pwd -P)
PATH=$PATH:/usr/sbin:/sbin # where modprobe is, for ordinary users too
packages='qemu-system-x86 busybox-static cpio kmod xz-utils'
# What rxe needs and does not name comes before it: without the checksums it says "failed to add".
modules='virtio_pci virtio_console 9p 9pnet_virtio dummy crc32_generic crc32_pclmul
    rdma_rxe ib_uverbs rdma_ucm sch_netem'
# A frame of 4096 bytes and its headers fit into the device's. TCP between its addresses does not touch it.
# shellcheck disable=SC2016 # for the guest's shell
devices='set -e
    ip link set lo up
    ip link add d0 mtu 4200 type dummy
    for i in 1 2 3; do ip addr add 10.9.0.$i/24 dev d0; done
    ip link set d0 up
    rdma link add rxe0 type rxe netdev d0'

usage()
{
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
}

skip()
{
    echo "skipped: $*"
    exit 77
}

fail()
{
    echo "guest.sh: $*" >&2
    exit 125
}

# An option's value: a number, or 2.
number()
{
    case $2 in
    '' | *[!0-9]* | 0*) echo "guest.sh: $1 takes a number, not '$2'" >&2 && exit 2 ;;
    esac
}

what=${1:-}
[ $# -gt 0 ] && shift
case $what in
run | shell | make) ;;
*) usage ;;
esac
build=$tree/build/release
seconds=300
[ "$what" = run ] || seconds=86400
memory=2048
cpus=2
numa=1
threads=1
times=
while [ $# -gt 0 ]; do
    case $1 in
    --build | --timeout | --memory | --cpus | --numa | --threads)
        [ $# -ge 2 ] || usage
        case $1 in
        --build) build=$2 ;;
        --timeout) number "$1" "$2" && seconds=$2 ;;
        --memory) number "$1" "$2" && memory=$2 ;;
        --cpus) number "$1" "$2" && cpus=$2 ;;
        --numa) number "$1" "$2" && numa=$2 ;;
        --threads) number "$1" "$2" && threads=$2 ;;
        esac
        shift 2
        ;;
    --times) times=1 && shift ;;
    --) shift && break ;;
    -*) usage ;;
    *) break ;;
    esac
done
case $what in
run) [ $# -gt 0 ] || usage ;;
*) [ $# -eq 0 ] || usage ;;
esac
if [ $((cpus % (numa * threads))) -ne 0 ] || [ $((memory % numa)) -ne 0 ]; then
    echo "guest.sh: $cpus CPUs and $memory MiB cannot lie on $numa nodes with $threads threads a core" >&2
    exit 2
fi

# ---- what this machine has to have ----------------------------------------------------------------------

[ "$(uname -s) $(uname -m)" = 'Linux x86_64' ] ||
    skip "the guest is not supported on $(uname -m): it is an x86-64 machine that runs this machine's programs"
for tool in qemu-system-x86_64 busybox cpio modprobe depmod xz setpriv flock; do
    command -v $tool >/dev/null || skip "$tool is missing; as root: apt-get install $packages"
done
for tool in apt-get apt-cache dpkg-deb; do
    command -v $tool >/dev/null || skip "$tool is missing: the guest's kernel is a package of Debian"
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
    skip "busybox is not the static one; as root: apt-get install busybox-static"
fi
for tool in ip rdma; do
    command -v $tool >/dev/null || skip "$tool is missing; as root: apt-get install iproute2"
done
named=$build
build=$(cd "$named" 2>/dev/null && pwd -P) || fail "no folder $named: build first, or name it with --build"
[ -x "$build/bin/guest_clock" ] ||
    fail "no $build/bin/guest_clock: build it first (cmake --build $build --target guest_clock)"

work=$(mktemp -d "${TMPDIR:-/tmp}/mob-guest.XXXXXX") || exit 125
child=
reader=
# shellcheck disable=SC2317,SC2086 # called by the trap; a number
clean_up()
{
    code=$?
    trap - EXIT HUP INT TERM
    exec 3>&-
    for pid in $child $reader; do
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$work" "$cache/new.$$"
    exit $code
}
cache=$build/guest
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# ---- the kernel -----------------------------------------------------------------------------------------

# Fetches Debian's kernel into $1/package and names it. The cloud kernel has no InfiniBand.
fetch()
{
    package=$(apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1)
    [ -n "$package" ] || return 1
    (cd "$1" && apt-get -qq -o APT::Sandbox::User=root download "$package") >"$1/log" 2>&1 || return 1
    # Not the 3000 modules that are not asked for: this is about reading, and disks are slow.
    mkdir "$1/package" && dpkg-deb --fsys-tarfile "$1"/linux-image-*.deb | tar -x -C "$1/package" \
        --wildcards './boot/vmlinuz-*' '*/modules.*' '*/kernel/arch/*' '*/kernel/crypto/*' '*/kernel/fs/*' \
        '*/kernel/lib/*' '*/kernel/net/*' '*/drivers/infiniband/*' '*/drivers/virtio/*' \
        '*/drivers/char/*' '*/drivers/net/dummy.ko*' >>"$1/log" 2>&1
}

# The kernel without its loader, which would take seconds to unpack it there: at the offset and of the
# size that its header names. Any other form is booted as it is.
unpack_kernel()
{
    number_at()
    {
        od -An -v -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
    }
    sectors=$(number_at "$1" 497 1)
    offset=$(number_at "$1" 584 4)
    size=$(number_at "$1" 588 4)
    tail -c "+$(((sectors + 1) * 512 + offset + 1))" "$1" | head -c "$size" >"$2.packed"
    # Its last four bytes are the size once more.
    xz -dc --single-stream <"$2.packed" >"$2" 2>/dev/null
    [ "$(head -c 4 "$2" | tr -d '\177')" = ELF ] || cp "$1" "$2"
    rm "$2.packed"
}

# make_kernel FOLDER: vmlinux, and the modules as a piece of an initramfs.
make_kernel()
{
    new=$cache/new.$$
    mkdir -p "$new/root/modules" || fail "cannot write to $cache"
    if ! fetch "$new"; then
        # The lists of packages may be old, or not there at all.
        { [ "$(id -u)" = 0 ] && apt-get -qq update >"$new/log" 2>&1 && rm -rf "$new/package" "$new"/*.deb &&
            fetch "$new"; } ||
            skip "Debian's kernel (linux-image-amd64) cannot be fetched by apt-get download: $(
                tail -n 1 "$new/log" 2>/dev/null)"
    fi
    release=$(basename "$new"/package/lib/modules/*)
    unpack_kernel "$new/package/boot/vmlinuz-$release" "$new/vmlinux"
    depmod -b "$new/package" "$release" || fail "depmod failed"
    for module in $modules; do
        modprobe -d "$new/package" -S "$release" --show-depends "$module" ||
            fail "the kernel $release has no module $module"
    done >"$new/list" || exit
    sed -n 's/^insmod \([^ ]*\).*/\1/p' "$new/list" | awk '!seen[$0]++' >"$new/files"
    while read -r file; do
        cp "$file" "$new/root/modules" && basename "$file" >>"$new/root/modules/order"
    done <"$new/files"
    pack "$new/root" >"$new/modules.cpio"
    mkdir "$new/done" && mv "$new/vmlinux" "$new/modules.cpio" "$new/done" && mv "$new/done" "$1"
    rm -rf "$new"
}

pack()
{
    (cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet)
}

mkdir -p "$cache" || fail "cannot write to $build"
kernel=$cache/kernel-$(echo "$modules" | cksum | cut -d ' ' -f 1)
began=$(date +%s)
exec 9>"$cache/lock"
flock 9 # two at once make it once
[ -f "$kernel/vmlinux" ] || make_kernel "$kernel"
exec 9>&-
if [ "$what" = make ]; then
    exit 0
fi
[ -z "$times" ] || echo "guest.sh: the kernel was there after $(($(date +%s) - began)) s"

# ---- what the guest is told -----------------------------------------------------------------------------

# The arguments as words of a shell.
quote()
{
    for word in "$@"; do
        printf "'%s' " "$(printf '%s\n' "$word" | sed "s/'/'\\\\''/g")"
    done
}

mkdir -p "$work/root/bin" "$work/root/job"
cp "$(command -v busybox)" "$work/root/bin/busybox"
cp "$here/guest_init.sh" "$work/root/init"
chmod 755 "$work/root/init" "$work/root/bin/busybox"
cat >"$work/root/job/variables" <<END
TREES=$(quote "$tree $build")
DEVICES=$(quote "$devices")
SHELL_IN_IT=$([ "$what" = run ] || echo 1)
END
{
    echo 'export HOME=/tmp/home LC_ALL=C.UTF-8'
    env | sed -n 's/^\(MOB_[A-Za-z0-9_]*\|CI\)=.*/\1/p' | while read -r name; do
        # MOB_TEST_RUN is a folder that is not there.
        [ "$name" = MOB_TEST_RUN ] || echo "export $name=$(eval "quote \"\$$name\"")"
    done
    echo "cd $(quote "$(pwd -P)") 2>/dev/null || cd /"
    if [ "$what" = run ]; then
        echo "exec $(quote "$@")"
    else
        echo "export TERM=vt100 PS1='guest# ' BUILD=$(quote "$build")"
        echo "echo 'The folder of the build is \$BUILD. The end of this shell ends the guest.'"
        echo 'exec sh -i'
    fi
} >"$work/root/job/script"
{ cat "$kernel/modules.cpio" && pack "$work/root"; } >"$work/initrd"

# ---- the machine ----------------------------------------------------------------------------------------

khz=$("$build/bin/guest_clock") || fail "cannot measure this processor's clock"
# The kernel takes the clock's rate from here (see guest_clock.c), does not test timers and ciphers, and
# leaves out defences that cost time.
append="console=ttyS0 loglevel=5 panic=-1 tsc_early_khz=$khz tsc=reliable no_timer_check lpj=$((khz * 4))
    cryptomgr.notests mitigations=off random.trust_cpu=on nowatchdog"
# As Intel's it tells of threads and cores to who does not know AMD's extensions, which qemu lacks.
each=$((cpus / numa))
set -- -accel tcg,thread=multi -cpu max,la57=off,vendor=GenuineIntel -m "$memory" \
    -smp "$cpus,sockets=$numa,cores=$((each / threads)),threads=$threads" \
    -nodefaults -no-user-config -display none -monitor none -no-reboot \
    -kernel "$kernel/vmlinux" -initrd "$work/initrd" -append "$(echo "$append" | tr -s ' \n' ' ')" \
    -serial "file:$work/console" \
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -device virtio-serial-pci,id=ports

# limited COMMAND...: with the time limit, and dead when this shell is, however that ends.
limited()
{
    exec setpriv --pdeathsig KILL timeout --foreground -k 5 "$seconds" setpriv --pdeathsig KILL "$@"
}

if [ "$numa" -gt 1 ]; then
    node=0
    while [ $node -lt "$numa" ]; do
        set -- "$@" -object "memory-backend-ram,id=memory$node,size=$((memory / numa))M" \
            -numa "node,nodeid=$node,cpus=$((node * each))-$((node * each + each - 1)),memdev=memory$node"
        node=$((node + 1))
    done
fi

if [ "$what" = shell ]; then
    (limited qemu-system-x86_64 "$@" -chardev stdio,id=terminal,signal=off \
        -device virtconsole,chardev=terminal)
    exit
fi

# A pipe between, since qemu makes what it writes to non-blocking, and that would be others' output too.
mkfifo "$work/output"
exec 3<>"$work/output"
cat <"$work/output" 3>&- &
reader=$!
(limited qemu-system-x86_64 "$@" \
    -chardev "file,id=output,path=$work/output" -device virtserialport,nr=1,chardev=output \
    -chardev "file,id=status,path=$work/status" -device virtserialport,nr=2,chardev=status \
    3>&- </dev/null 2>"$work/qemu") &
child=$!
wait $child
code=$?
child=
exec 3>&-
wait $reader
reader=

status=$(sed -n 's/^ended \([0-9]*\)$/\1/p' "$work/status" 2>/dev/null)
if [ -n "$times" ]; then
    up=$(sed -n 's/^began //p' "$work/status" 2>/dev/null)
    echo "guest.sh: the command began at ${up:-no} s of the guest's time; all in all $(($(date +%s) - began)) s"
fi
if [ -z "$status" ]; then
    echo "guest.sh: the end of the guest's console:" >&2
    tail -n 20 "$work/console" | tr -d '\r' | sed 's/^/    /' >&2
    cat "$work/qemu" >&2
    if [ $code = 124 ] || [ $code = 137 ]; then
        echo "guest.sh: no end after $seconds s: the guest was ended" >&2
        exit 124
    fi
    grep -q '^began' "$work/status" 2>/dev/null || fail "the guest did not start"
    fail "the guest ended before the command"
fi
exit "$status"
