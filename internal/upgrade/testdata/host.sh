#!/bin/sh
# The first process of a played host, in namespaces of its own for mounts and processes: an
# overlay on this machine's own root, with rpm's and dnf's real programs. It ends with the test.
set -eu
host=$1 work=$2
mount -t tmpfs -o mode=755 tmpfs "$host"
mkdir "$host/upper" "$host/work" "$host/root"
mount -t overlay -o "lowerdir=/,upperdir=$host/upper,workdir=$host/work" overlay "$host/root"
mount -t proc proc "$host/root/proc"
mount -t tmpfs -o mode=755 tmpfs "$host/root/run"
mount -t tmpfs -o mode=755 tmpfs "$host/root/dev"
for node in 'null 3' 'zero 5' 'full 7' 'random 8' 'urandom 9'; do
  mknod -m 666 "$host/root/dev/${node% *}" c 1 "${node#* }"
done
ln -s /proc/self/fd "$host/root/dev/fd"
mkdir -p "$host/root$work"
mount --bind "$work" "$host/root$work"
cd "$host/root"
rm -rf etc/os-release var/opt/gitlab opt/gitlab etc/gitlab etc/yum.repos.d root/.rpmdb var/lib/rpm var/cache/dnf
printf 'ID="amzn"\nVERSION_ID="2"\n' >etc/os-release
mkdir -p etc/yum.repos.d etc/gitlab var/opt/gitlab/postgresql/data var/opt/gitlab/backups
printf '#!/bin/sh\nexec dnf --setopt=keepcache=0 "$@"\n' >usr/local/bin/yum
chmod 755 usr/local/bin/yum
echo "external_url 'https://gitlab.example.com'" >etc/gitlab/gitlab.rb
touch "$work/ready"
# It waits for whom others have left: dnf asks whether the process that had its lock is there.
while :; do sleep 0.2 || :; done
