#!/bin/busybox sh
# shellcheck shell=dash
# guest_init.sh - the first process of the guest. guest.sh packs it with busybox, the modules of the
# kernel, and /job: what to run, as a script, after the variables that it sets here.
#
# Output of the job goes to the first port, "began" and "ended STATUS" to the second; what goes wrong
# before goes to the console. The machine ends with the job; a kernel that panics ends too.
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /host
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

end()
{
    echo b >/proc/sysrq-trigger
    sleep 60
}

die()
{
    echo "<3>guest: $*" >/dev/kmsg # a write to the console itself would be lost with the machine
    end
}

while read -r module; do
    insmod "/modules/$module" || die "no module $module"
done </modules/order

# Nobody writes to the host's files while it looks at them: it may keep what it has read.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host ||
    die "cannot mount the host's files"

# shellcheck source=/dev/null
. /job/variables # TREES, DEVICES, SHELL_IN_IT

# What the mounts below would hide: folders of the host in which the job works.
mkdir /kept
n=0
for tree in $TREES; do
    n=$((n + 1))
    mkdir "/kept/$n"
    mount -o bind "/host$tree" "/kept/$n" || die "cannot reach $tree of the host"
done

for folder in /tmp /run /var/tmp; do
    mount -t tmpfs -o mode=1777 tmpfs "/host$folder" || die "no tmpfs on $folder"
done
mount -t proc proc /host/proc
mount -t sysfs sys /host/sys
# As a machine of today has it: version 2 alone, its controllers handed down.
mount -t cgroup2 cgroup /host/sys/fs/cgroup || die "no cgroups"
echo '+cpuset +cpu +memory' >/host/sys/fs/cgroup/cgroup.subtree_control || die "cgroups without controllers"
mount -t devtmpfs dev /host/dev
mkdir -p /host/dev/pts /host/dev/shm
mount -t devpts devpts /host/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /host/dev/shm
ln -s /proc/self/fd /host/dev/fd
mkdir -m 700 /host/tmp/home
hostname guest

n=0
for tree in $TREES; do
    n=$((n + 1))
    if [ ! -d "/host$tree" ]; then
        mkdir -p "/host$tree"
        mount -o bind "/kept/$n" "/host$tree" || die "cannot show $tree of the host"
    fi
done

cp /job/script /host/run/job
inside()
{
    PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin chroot /host "$@"
}
inside /bin/sh -c "$DEVICES" >/dev/kmsg 2>&1 || die "cannot set up the RDMA device"

if [ -n "$SHELL_IN_IT" ]; then
    # A terminal of its own, so that ^C and job control work.
    setsid sh -c 'exec chroot /host /bin/sh /run/job <>/dev/hvc0 >&0 2>&0'
    end
fi
# They appear some time after their module, called by the number of their device.
both_ports()
{
    set -- /dev/vport*p1 /dev/vport*p2
    output=$1
    status=$2
    [ -c "$output" ] && [ -c "$status" ]
}
n=0
until both_ports; do
    n=$((n + 1))
    [ $n -lt 200 ] || die "no port for the output"
    sleep 0.05
done
exec 3>"$status"
read -r up _ </proc/uptime
echo "began $up" >&3
inside /bin/sh /run/job >"$output" 2>&1 </dev/null 3>&-
echo "ended $?" >&3
end
