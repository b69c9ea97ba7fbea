"""lanlab -- small networks for tests: hosts, switches, a router, and a real avahi-daemon on each host.

Needs root, or whatever may make network namespaces; `unavailable()` says why not. A host is a network and a mount
namespace with its own /run, so the programs in it find their own bus and avahi where they always are. Hosts hang on
bridges in a namespace of their own. Everything ends with the test.

    lab = Lab("lan", ...)                      # ironlab
    net = LanLab(lab)
    net.switch("home")
    a = net.host("a", home="10.1.0.1/24")      # an interface per switch, named like it
    a.avahi_start()
    node = a.daemon("alice")                   # ironlab.Daemon, started inside
"""
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

from ironlab import Daemon, wait_for, _die_with_parent

TYPE = "_ironmesh._tcp"
PROGRAMS = ("unshare", "nsenter", "ip", "avahi-daemon", "avahi-browse", "dbus-daemon")

BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow receive_sender="*"/></policy></busconfig>
"""
AVAHI = """[server]
host-name=%s
use-ipv4=yes
use-ipv6=yes
enable-dbus=yes
allow-point-to-point=yes
[wide-area]
enable-wide-area=no
[publish]
publish-workstation=no
publish-hinfo=no
[rlimits]
"""
HOLD = ["sh", "-c", "mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/avahi-daemon && ip link set lo up && "
        "ip link set lo multicast on && echo ready && exec sleep 100000"]


def unavailable():
    """Why no namespace can be made here; "" when one can."""
    missing = [p for p in PROGRAMS if not (shutil.which(p) or os.access("/usr/sbin/" + p, os.X_OK))]
    if missing:
        return "not installed: %s" % ", ".join(missing)
    try:
        done = subprocess.run(["unshare", "-n", "-m", "--propagation", "private", "sh", "-c",
                               "mount -t tmpfs tmpfs /run && ip link add x type veth peer name y && "
                               "ip link add z type bridge"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode != 0:
        return "no network namespace: %s" % " ".join(done.stdout.decode(errors="replace").split())
    return ""


class Space:
    """The namespaces, held by a process that sleeps."""

    def __init__(self, net, name):
        self.net = net
        self.name = name
        self.children = []
        self.holder = subprocess.Popen(["unshare", "-n", "-m", "--propagation", "private", *HOLD],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=_die_with_parent)
        if self.holder.stdout.readline().strip() != b"ready":
            raise RuntimeError("the namespace of %s did not come up" % name)

    def inside(self, *command):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", *command]

    def run(self, *command, check=True, timeout=20):
        done = subprocess.run(self.inside(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError("%s: %s: exit %d: %s" % (self.name, " ".join(command), done.returncode,
                                                       done.stderr.decode(errors="replace")))
        return done.stdout.decode(errors="replace")

    def spawn(self, *command, log=None):
        out = open(log, "ab") if log else subprocess.DEVNULL
        child = subprocess.Popen(self.inside(*command), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 preexec_fn=_die_with_parent)
        if log:
            out.close()
        self.children.append(child)
        return child

    def end(self, child, how=signal.SIGKILL):
        if child and child.poll() is None:
            child.send_signal(how)
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child in self.children:
            self.children.remove(child)

    def close(self):
        for child in list(self.children):
            self.end(child)
        self.end(self.holder)


class LanDaemon(Daemon):
    """ironlab.Daemon inside a host, listening on every address of it unless told another one."""

    def __init__(self, host, name, bind="0.0.0.0", **more):
        self.inside = host
        super().__init__(host.net.lab, name, port=more.pop("port", 8765), host=bind, **more)

    def command(self, options):
        if "--discovery" not in options:  # daemons of ironlab find nobody unless told to
            options = [*options, "--discovery", "auto"]
        return self.inside.inside(*super().command(options))


class Host(Space):
    def __init__(self, net, name, legs):
        super().__init__(net, name)
        self.bus = self.avahi = None
        self.log = os.path.join(net.folder, name + ".avahi.log")
        self.run("sh", "-c", "for f in all default; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; done", check=False)
        for switch, address in legs.items():
            net.plug(self, switch, address)

    # --- bus and avahi ---
    def bus_start(self):
        path = os.path.join(self.net.folder, "bus.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write(BUS)
        self.run("rm", "-f", "/run/dbus/system_bus_socket")
        self.bus = self.spawn("dbus-daemon", "--config-file=" + path, "--nofork", "--nopidfile")
        wait_for(lambda: "there" in self.run("sh", "-c", "test -S /run/dbus/system_bus_socket && echo there",
                                             check=False), what="the bus of " + self.name)

    def bus_stop(self):
        self.end(self.bus)
        self.bus = None

    def avahi_start(self):
        if not self.bus:
            self.bus_start()
        path = os.path.join(self.net.folder, self.name + ".avahi.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write(AVAHI % self.name)
        open(self.log, "wb").close()
        self.run("rm", "-rf", "/run/avahi-daemon/pid")
        self.avahi = self.spawn("avahi-daemon", "--no-drop-root", "--no-rlimits", "--no-chroot", "-f", path,
                                log=self.log)
        wait_for(self.avahi_ready, 15, what="avahi-daemon of " + self.name)

    def avahi_ready(self):
        if self.avahi.poll() is not None:
            raise RuntimeError("avahi-daemon of %s ended: %s" % (self.name, self.avahi_log()))
        return "Server startup complete" in self.avahi_log()

    def avahi_log(self):
        with open(self.log, "rb") as f:
            return f.read().decode(errors="replace")

    def avahi_kill(self):
        self.end(self.avahi)
        self.avahi = None

    def avahi_restart(self):
        self.end(self.avahi, signal.SIGTERM)
        self.avahi_start()

    def browse(self, kind=TYPE):
        """What avahi-browse shows, resolved: [{name, interface, protocol, host, address, port, txt}]."""
        out = []
        for line in self.run("avahi-browse", "-rpt", kind, timeout=30).splitlines():
            field = line.split(";")
            if field[0] == "=" and len(field) >= 10:
                out.append(dict(zip(("interface", "protocol", "name", "type", "domain", "host", "address", "port"),
                                    field[1:9]), txt=";".join(field[9:])))
        return out

    # --- ironmesh ---
    def daemon(self, name, **more):
        made = LanDaemon(self, name, **more)
        self.net.lab.daemons[os.path.basename(made.home)] = made
        return made


class LanLab:
    def __init__(self, lab):
        self.lab = lab
        self.folder = os.path.join(lab.folder, "net")
        self.spaces = []
        self.links = 0
        os.makedirs(self.folder, exist_ok=True)
        self.switches = Space(self, "switches")
        lab.on_close(self.close)

    def switch(self, name):
        self.switches.run("ip", "link", "add", "sw-" + name, "type", "bridge", "mcast_snooping", "0")
        self.switches.run("ip", "link", "set", "sw-" + name, "up")

    def host(self, name, **legs):
        """legs: switch=address, "10.1.0.1/24" or "" (IPv6 link-local alone)."""
        made = Host(self, name, legs)
        self.spaces.append(made)
        return made

    def plug(self, host, switch, address):
        self.links += 1
        port = "p%d" % self.links
        self.switches.run("ip", "link", "add", port, "type", "veth", "peer", "name", switch, "netns",
                          str(host.holder.pid))
        self.switches.run("ip", "link", "set", port, "master", "sw-" + switch, "up")
        if address:
            host.run("ip", "address", "add", address, "dev", switch)
        host.run("ip", "link", "set", switch, "up")

    def route(self, host, to, via):
        host.run("ip", "route", "add", to, "via", via)

    def router(self, name, **legs):
        """Passes packets on between its switches, and no multicast."""
        made = self.host(name, **legs)
        made.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        return made

    def close(self):
        for space in self.spaces + [self.switches]:
            space.close()
        self.spaces = []


# --- what an intruder puts on the air -----------------------------------------------------------------------------

def _name(*labels):
    return b"".join(bytes([len(x)]) + x for x in (l.encode() if isinstance(l, str) else l for l in labels)) + b"\0"


def _record(name, kind, data, ttl=4500, flush=False):
    return name + struct.pack("!HHIH", kind, 0x8001 if flush else 1, ttl, len(data)) + data


def mdns_packets(names, port=9, address="10.9.9.9", host="spoof", txt=(b"v=im2",), resolvable=True, per=8, ttl=4500,
                 kind=("_ironmesh", "_tcp")):
    """Unasked answers of mDNS that claim one service for each name."""
    names = list(names)
    out = []
    for i in range(0, len(names), per):
        records = []
        for name in names[i:i + per]:
            full = _name(name, *kind, "local")
            records.append(_record(_name(*kind, "local"), 12, full, ttl))
            if resolvable:
                records.append(_record(full, 33, struct.pack("!HHH", 0, 0, port) + _name(host, "local"), ttl, True))
                records.append(_record(full, 16, b"".join(bytes([len(t)]) + t for t in txt), ttl, True))
        if resolvable:
            records.append(_record(_name(host, "local"), 1, socket.inet_aton(address), ttl, True))
        out.append(struct.pack("!HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records))
    return out


def send_packets(host, packets, interface_address):
    """From inside `host`, one after the other."""
    script = ("import socket,sys,time\n"
              "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
              "s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n"
              "s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1)\n"
              "s.bind((sys.argv[1],5353))\n"
              "s.setsockopt(socket.IPPROTO_IP,socket.IP_MULTICAST_IF,socket.inet_aton(sys.argv[1]))\n"
              "s.setsockopt(socket.IPPROTO_IP,socket.IP_MULTICAST_TTL,255)\n"
              "for line in sys.stdin:\n"
              "  s.sendto(bytes.fromhex(line.strip()),('224.0.0.251',5353)); time.sleep(0.004)\n")
    done = subprocess.run(host.inside("/usr/bin/python3", "-c", script, interface_address),
                          input="\n".join(p.hex() for p in packets).encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    if done.returncode != 0:
        raise RuntimeError("packets were not sent: %s" % done.stderr.decode(errors="replace"))
