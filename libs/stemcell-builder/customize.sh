#!/bin/sh
# Runs inside the new root file system, after the packages and the overlay are in. $1: yes when cloud disks need an initramfs
# with the drivers of the full kernel.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
modules=$1

# --- users and groups: the names and numbers that releases and CPIs of this family rely on
groupadd --system --gid 990 admin
groupadd --gid 1000 vcap
groupadd --gid 1001 bosh_sshers
groupadd --gid 1002 bosh_sudoers
groupadd --system --gid 989 syslog
useradd --uid 1000 --gid vcap --groups adm,audio,cdrom,dialout,floppy,video,dip,plugdev,bosh_sshers,bosh_sudoers --create-home --home-dir /home/vcap --shell /bin/bash --comment 'BOSH System User' vcap
usermod --password '*' root
usermod --password '*' vcap
# Dates of password changes are the build's: give them a fixed one, so that the same inputs make the same files.
for user in $(cut -d: -f1 /etc/shadow); do chage --lastday 20000 "$user"; done
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-

# --- layout under /var/vcap
install -d -o root -g root -m 0755 /var/vcap /var/vcap/bosh /var/vcap/bosh/bin /var/vcap/bosh/etc
install -d -o root -g root -m 0750 /var/vcap/bosh/log
install -d -o root -g root -m 0700 /var/vcap/monit /var/vcap/monit/job /var/vcap/monit/events
install -d -o root -g vcap -m 0755 /var/vcap/data
install -d -o root -g root -m 0700 /var/vcap/store
install -d -o root -g root -m 0755 /var/vcap/bosh_ssh
ln -s data/sys /var/vcap/sys
chmod 0700 /var/vcap/bosh/etc/monitrc
chmod 0600 /var/vcap/monit/empty.monitrc
printf 'PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/vcap/bosh/bin"\n' >/etc/environment

# --- services
systemctl -q set-default multi-user.target
for unit in ssh.service chrony.service cron.service nftables.service systemd-timesyncd.service e2scrub_reap.service; do
  systemctl -q disable "$unit" 2>/dev/null || true
done
systemctl -q enable ssh.socket microbosh-ssh-keys.service microbosh-power-button.service logrotate.timer cron.service
rm -f /etc/rc?.d/[SK]??monit /etc/rc?.d/[SK]??chrony
# Units that a headless server does not need at boot. Checking the root file system and keeping the journal stay.
systemctl -q mask getty@tty1.service serial-getty@ttyS0.service console-getty.service getty.target \
  systemd-update-utmp-runlevel.service systemd-logind.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer systemd-pstore.service modprobe@drm.service modprobe@configfs.service \
  modprobe@fuse.service modprobe@efi_pstore.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
  sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount \
  systemd-binfmt.service systemd-sysusers.service systemd-firstboot.service modprobe@loop.service modprobe@dm_mod.service \
  systemd-repart.service systemd-network-generator.service systemd-networkd-wait-online.service systemd-update-done.service \
  systemd-ask-password-console.path systemd-ask-password-wall.path systemd-initctl.socket systemd-fsckd.socket \
  systemd-hwdb-update.service ldconfig.service
# The journal stays in memory until the agent has put /var/log on the data disk, and tells it to go there: before, it would be
# written to files that are hidden then.
systemctl -q mask systemd-journal-flush.service
mkdir -p /etc/systemd/system-generators
for generator in /lib/systemd/system-generators/*; do
  # fstab-generator makes the units that check and remount the root file system.
  case "${generator##*/}" in systemd-fstab-generator) ;; *) ln -sf /dev/null "/etc/systemd/system-generators/${generator##*/}" ;; esac
done
rm -f /lib/systemd/system/multi-user.target.wants/dbus.service

# --- hardening
rm -f /etc/cron.deny /etc/at.deny
echo vcap >/etc/cron.allow
echo vcap >/etc/at.allow
for path in /etc/crontab /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/cron.d /etc/cron.allow /etc/at.allow; do
  [ -e "$path" ] || continue
  chown root:root "$path"
  chmod og-rwx "$path"
done
chmod 0440 /etc/sudoers.d/bosh_sudoers
chmod 0600 /etc/ssh/sshd_config /etc/ssh/sshd_config.d/stemcell.conf
sed -i -e 's/^UMASK.*/UMASK 077/' -e 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 99999/' -e 's/^HOME_MODE.*/HOME_MODE 0700/' /etc/login.defs
chmod 0700 /home/vcap
echo 'Unauthorized use is strictly prohibited. All access and activity is subject to logging and monitoring.' >/etc/issue
cp /etc/issue /etc/issue.net
: >/etc/motd
rm -f /etc/ssh/ssh_host_*

# --- boot
for directory in /lib/modules/*; do
  [ -d "$directory" ] || continue
  version=${directory##*/}
  printf 'AUTO_MODULES=no\nMICROCODE=no\nINCLUDE_MODULES="%s"\n' "$modules" >/etc/tiny-initramfs/tiny-initramfs.conf
  mktirfs -o "/boot/initrd.img-$version" "$version"
  ln -sf "vmlinuz-$version" /boot/vmlinuz
  ln -sf "initrd.img-$version" /boot/initrd.img
done
printf 'localhost\n' >/etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >/etc/hosts
rm -f /etc/resolv.conf
: >/etc/resolv.conf

# --- nothing of the build stays
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/systemd/catalog/database
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/* /usr/share/info/* /var/log/journal
find /var/log -type f -delete
rm -f /var/lib/dpkg/*-old /etc/.pwd.lock
