"""bootlab -- a fresh Debian root below build/, and systemd as PID 1 in it, in namespaces of its own.

Needs root, mmdebstrap and the package archive that this machine uses: its apt settings, resolv.conf and hosts are copied into
the root when it is made, and nowhere else. No virtual machine and no container engine.
"""
import os
import shutil
import subprocess
import time

CGROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
BOOT = r"""
set -eu
r=$1
mount --bind "$r" "$r"
mount -t proc proc "$r/proc"
mount -t sysfs -o ro sysfs "$r/sys"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$r/dev"
for d in null zero full random urandom tty; do touch "$r/dev/$d"; mount --bind /dev/$d "$r/dev/$d"; done
mkdir "$r/dev/pts" "$r/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
ln -s /proc/self/fd "$r/dev/fd"
mount -t tmpfs tmpfs "$r/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$r/run"
mount -t tmpfs -o mode=1777 tmpfs "$r/tmp"
ip link set lo up
ip link add wire type veth peer name wall
ip addr add 10.77.0.1/24 dev wire
ip link set wire up
ip link set wall up
hostname freshroot
cd "$r"
mkdir -p .outside
pivot_root . .outside
umount -l .outside
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=null multi-user.target
"""


def make_root(archive, folder, include):
    """Unpacks `archive` (made first when it is not there) into `folder`, which is emptied before."""
    if not os.path.exists(archive):
        os.makedirs(os.path.dirname(archive), exist_ok=True)
        # From where this machine has its packages; else from where mmdebstrap looks by itself.
        sources = [p for p in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
                   if os.path.exists(p) and os.path.getsize(p)][:1]
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(include), "bookworm",
                        archive + ".new.tar", *sources], check=True)
        os.rename(archive + ".new.tar", archive)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.run(["tar", "-C", folder, "-xf", archive], check=True)
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        shutil.copy(path, folder + path)
    for name in os.listdir("/etc/apt/apt.conf.d"):
        if "proxy" in name.lower():
            shutil.copy("/etc/apt/apt.conf.d/" + name, folder + "/etc/apt/apt.conf.d/")


def in_root(folder, *words, check=True, **more):
    """A command in the root, with its own /proc and /dev, the network of this machine, and no daemons."""
    script = 'r=$1; shift; mount -t proc proc "$r/proc"; mount --rbind /dev "$r/dev"; mount -t tmpfs tmpfs "$r/run"; ' \
             'mount -t tmpfs tmpfs "$r/tmp"; exec chroot "$r" "$@"'
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    env.update({k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")})
    return subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", folder, *words], env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=check, **more)


class Booted:
    """systemd in the root. Ended by stop(), or when the test dies."""

    def __init__(self, folder):
        base = next(c for c in CGROUPS if os.path.exists(c + "/cgroup.procs"))
        self.cgroup = "%s/ironmesh-%d" % (base, os.getpid())
        os.mkdir(self.cgroup)
        self.process = subprocess.Popen(
            ["sh", "-c", 'echo $$ >"$1/cgroup.procs"; exec unshare -m -u -i -p -C -n --fork --kill-child --propagation private '
             'sh -c "$2" sh "$3"', "sh", self.cgroup, BOOT, folder],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.pid = None
        for _ in range(600):
            time.sleep(0.1)
            if self.process.poll() is not None:
                raise RuntimeError("systemd did not start: " + self.process.stdout.read().decode())
            children = open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)).read().split()
            if children:
                self.pid = children[0]
            if self.pid and self.run("systemctl", "is-system-running").stdout.decode().strip() in ("running", "degraded"):
                return
        raise RuntimeError("systemd did not come up")

    def run(self, *words, check=False, user=None, timeout=120, **more):
        how = ["runuser", "-u", user, "--"] if user else []
        return subprocess.run(["nsenter", "-t", self.pid, "-a", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                               "HOME=/root" if not user else "HOME=/home/" + user, "LC_ALL=C.UTF-8", *how, *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=check, timeout=timeout,
                              **more)

    def start(self, *words, user):
        return subprocess.Popen(["nsenter", "-t", self.pid, "-a", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                 "HOME=/home/" + user, "runuser", "-u", user, "--", *words],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def stop(self):
        self.process.kill()  # --kill-child ends PID 1, and that ends everything in its namespace
        self.process.wait()
        for _ in range(100):
            try:
                for folder, _, _ in os.walk(self.cgroup, topdown=False):
                    os.rmdir(folder)
                return
            except OSError:
                time.sleep(0.05)


def can_boot():
    """Why systemd cannot be PID 1 here; "" when it can."""
    if os.geteuid() != 0:
        return "not root"
    if not any(os.path.exists(c + "/cgroup.procs") for c in CGROUPS):
        return "no cgroup2 hierarchy"
    for base in CGROUPS:
        if os.path.exists(base + "/cgroup.procs"):
            if not os.access(base, os.W_OK):
                return "the cgroup2 hierarchy is read-only"
            break
    p = subprocess.run(["unshare", "-m", "-u", "-i", "-p", "-C", "-n", "--fork", "true"], capture_output=True)
    return p.stderr.decode().strip() if p.returncode else ""
