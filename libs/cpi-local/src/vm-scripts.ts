/**
 * Set-up of a VM's namespaces, run by bash inside of them as the later PID 1. The environment carries:
 * VM_ROOT (root directory), VM_LOWER, VM_UPPER and VM_WORK (overlay: of the machine's /usr for a host-rootfs, of the stemcell
 * for a rootfs; VM_UPPER empty: the root directory is a copy), VM_RUNTIME (the agent's Node.js), VM_CONSOLE, VM_HOSTNAME,
 * VM_NODES (one `name major minor link` per line), VM_KIND. It waits for a line on standard input, which says that the
 * network cards and the control groups are there; end of file means that the caller is gone, and nothing is started.
 */
export const setupScript = String.raw`set -euo pipefail
fail() { echo "microbosh: $1" >&2; exit 1; }
root=$VM_ROOT

mount --make-rprivate /
if [ "$VM_KIND" = rootfs ] && [ -n "$VM_UPPER" ]; then
  mount -t overlay overlay -o "lowerdir=$VM_LOWER,upperdir=$VM_UPPER,workdir=$VM_WORK" "$root" \
    || fail 'overlayfs cannot be mounted'
else
  mount --bind "$root" "$root"
fi
if [ "$VM_KIND" = host-rootfs ]; then
  if ! mount -t overlay overlay -o "lowerdir=$VM_LOWER,upperdir=$VM_UPPER,workdir=$VM_WORK" "$root/usr" 2>/dev/null; then
    # The upper directory lies on a file system that cannot be one: changes below /usr live until the next boot.
    mount -t tmpfs -o mode=0755,size=512m tmpfs "$root/mnt"
    mkdir "$root/mnt/upper" "$root/mnt/work"
    cd "$root/mnt"
    mount -t overlay overlay -o "lowerdir=$VM_LOWER,upperdir=upper,workdir=work" "$root/usr" \
      || fail 'overlayfs cannot be mounted'
    cd /
  fi
  mount --bind "$VM_RUNTIME" "$root/var/vcap/bosh/bin/node"
  mount -o remount,bind,ro "$root/var/vcap/bosh/bin/node"
fi

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$root/sys"
mount -t tmpfs -o nosuid,mode=0755,size=16m tmpfs "$root/dev"
mkdir -m 0755 "$root/dev/pts" "$root/dev/shm" "$root/dev/disk" "$root/dev/disk/by-id"
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o nosuid,nodev,mode=1777,size=64m tmpfs "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev,mode=0755,size=64m tmpfs "$root/run"
mkdir -m 1777 "$root/run/lock"
while read -r name major minor; do mknod -m 0666 "$root/dev/$name" c "$major" "$minor"; done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
while read -r name major minor link; do
  [ -n "$name" ] || continue
  mknod -m 0600 "$root/dev/$name" b "$major" "$minor"
  ln -s "../../$name" "$root/dev/disk/by-id/$link"
done <<< "$VM_NODES"
if [ "$VM_KIND" = rootfs ]; then
  # What systemd and its units print before there is a journal ends where a host-rootfs VM's output does.
  : > "$root/dev/console"
  mount --bind "$VM_CONSOLE" "$root/dev/console"
fi

# What belongs to the machine and not to the VM.
for file in kcore keys kmsg latency_stats sched_debug sysrq-trigger timer_list; do
  [ ! -e "$root/proc/$file" ] || mount --bind "$root/dev/null" "$root/proc/$file"
done
for directory in proc/acpi proc/asound proc/scsi sys/firmware; do
  [ ! -d "$root/$directory" ] || mount -t tmpfs -o ro,nosuid,nodev,noexec,mode=0555,size=4k tmpfs "$root/$directory"
done
for directory in bus fs irq sys; do
  [ -d "$root/proc/$directory" ] || continue
  mount --bind "$root/proc/$directory" "$root/proc/$directory"
  mount -o remount,bind,ro "$root/proc/$directory"
done

hostname "$VM_HOSTNAME" 2>/dev/null || echo "$VM_HOSTNAME" > /proc/sys/kernel/hostname
read -r _ || fail 'the caller ended before the VM was started'

# The control groups that it is in now are the roots of what the VM sees.
own_cgroups=
if [ -e /proc/self/ns/cgroup ]; then own_cgroups='unshare --cgroup'; fi
dropped=-sys_time,-sys_module,-sys_boot,-sys_rawio,-syslog
exec $own_cgroups setpriv --bounding-set "$dropped" --inh-caps "$dropped" \
  bash --norc --noprofile -c "$VM_HANDOVER" microbosh-vm
`;

/** The second half, in the control group namespace and without the capabilities that reach the machine. */
export const handoverScript = String.raw`set -euo pipefail
root=$VM_ROOT
if [ "$VM_KIND" = rootfs ]; then
  # systemd manages its units in control groups: the unified hierarchy alone, or the older form with one of its own.
  if [ "$(stat --file-system --format=%T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
  else
    mount -t tmpfs -o nosuid,nodev,noexec,mode=0755,size=1m tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o nosuid,nodev,noexec,none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup/unified" || rmdir "$root/sys/fs/cgroup/unified"
    mount -o remount,ro "$root/sys/fs/cgroup"
  fi
fi

cd "$root"
mkdir -p .old-root
pivot_root . .old-root
cd /
umount -l /.old-root
rmdir /.old-root
exec < /dev/null
if [ "$VM_KIND" = rootfs ]; then
  exec env -i container=microbosh MICROBOSH_LOCAL_VM="$MICROBOSH_LOCAL_VM" PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
fi
exec env -i MICROBOSH_LOCAL_VM="$MICROBOSH_LOCAL_VM" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  /bin/bash --norc --noprofile /var/vcap/bosh/bin/init
`;

/**
 * PID 1 of a host-rootfs VM: starts the agent again whenever it ends, reaps what others leave (bash does so by itself),
 * and on SIGTERM ends everything within ten seconds, file systems included.
 */
export const initScript = String.raw`#!/bin/bash
# PID 1: keeps the agent running and reaps. SIGTERM powers the VM off.
stopping=
agent=
trap 'stopping=1; [ -z "$agent" ] || kill -TERM "$agent" 2>/dev/null' TERM INT
trap '' HUP
mkdir -p /var/vcap/bosh/log
while [ -z "$stopping" ]; do
  /var/vcap/bosh/bin/microbosh-agent -P ubuntu -C /var/vcap/bosh/agent.json -b /var/vcap -M builtin &
  agent=$!
  while kill -0 "$agent" 2>/dev/null && [ -z "$stopping" ]; do wait "$agent"; done
  [ -n "$stopping" ] || sleep 1
done
kill -TERM -1 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
  others=$(grep -c -v -x 1 <(cd /proc && printf '%s\n' [0-9]*))
  [ "$others" -gt 3 ] || break
  sleep 0.2
done
kill -KILL -1 2>/dev/null
sync
exit 0
`;

/**
 * Starts the agent of the light stemcell; a stemcell may bring its own. Its heap is kept small, and what malloc gets back
 * returns to the machine. The agent takes these variables out of its environment.
 */
export const agentWrapper = String.raw`#!/bin/sh
export NODE_COMPILE_CACHE=/var/vcap/bosh/cache
export MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 MALLOC_MMAP_THRESHOLD_=131072
exec /var/vcap/bosh/bin/node --max-semi-space-size=1 --optimize-for-size /var/vcap/bosh/bin/microbosh-agent.mjs "$@"
`;
