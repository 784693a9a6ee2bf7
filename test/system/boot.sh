#!/bin/sh
# Makes this process the systemd of a machine that lies in the folder $1: run in namespaces of its own (mount, pid, uts, ipc,
# net, cgroup), as their first process. What systemd does to the kernel as a whole on a real machine it must not do to the one
# that it is in here: /proc/sys and /sys are read-only, and it has no right to set the clock, load modules or restart.
set -e
machine=$1
cd "$machine"
mkdir -p old
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
for unit in systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service systemd-udevd.service \
  systemd-binfmt.service systemd-hwdb-update.service systemd-random-seed.service systemd-timesyncd.service \
  console-getty.service getty.target dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
  sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount; do
  ln -sf /dev/null "etc/systemd/system/$unit"
done
pivot_root . old
cd /
umount -l /old
rmdir /old
exec env -i container=coda PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio,-mac_admin,-mac_override \
  /lib/systemd/systemd --log-target=journal --show-status=no systemd.unit=multi-user.target
