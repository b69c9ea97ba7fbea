#!/usr/bin/python3
"""`ironmesh doctor`: each thing is broken, and exactly that is found; then its fix is run as printed, and nothing is found.

    test_doctor.py

As root also what needs another owner, a file system of its own or a network of its own.
"""
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import ROOT, Lab, wait_for  # noqa: E402

lab = Lab("test_doctor", __doc__)
ROOT_USER = os.geteuid() == 0
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


with open(lab.binary, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()


def node(name, run=True, **more):
    """A node that has been up once: it has every file that a node has."""
    made = lab.daemon(name, clear_keys=False, **more)
    if run:
        made.start()
        made.stop()
    return made


alice = node("alice")
alice.start()
# A machine, or a build, that cannot have them all is not what is tested here.
WALLS = all(w["state"] == "up" for w in alice.status()["walls"])
alice.stop()


def report(d, *args, prefix=(), env=None, timeout=60):
    done = subprocess.run([*prefix, lab.binary, "doctor", "--json", "--home", d.home, *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, env=env)
    assert done.returncode in (0, 1, 2) and done.stdout, (done.returncode, done.stderr)
    got = json.loads(done.stdout)
    assert got["schema"] == "ironmesh.doctor/1", got
    states = [c["state"] for c in got["checks"]]
    worst = "failure" if "failure" in states else "warning" if "warning" in states else "ok"
    assert got["state"] == worst and done.returncode == {"ok": 0, "warning": 1, "failure": 2}[worst], (got["state"], done.returncode)
    return got


def found(d, *args, **more):
    """The findings by name; none may come twice."""
    out = {}
    for c in report(d, *args, **more)["checks"]:
        if c["name"] == "walls" and not WALLS:
            continue
        if c["state"] in ("warning", "failure"):
            assert c["name"] not in out, c
            assert c["what"] and c["fix"], c
            out[c["name"]] = c
    return out


def with_pass(d):
    return ("--passphrase-file", d.pass_path)


def is_healthy(d, *args, **more):
    got = found(d, *(args or with_pass(d)), **more)
    assert not got, got


def expect(d, name, state, *words, args=None, **more):
    """Exactly this is found; the finding."""
    got = found(d, *(with_pass(d) if args is None else args), **more)
    assert list(got) == [name], got
    c = got[name]
    assert c["state"] == state, c
    for word in words:
        assert word in c["what"] + c["means"] + c["fix"], (word, c)
    return c


def run_fix(c):
    """As a person would: without the remark behind it, and without sudo where we are root."""
    command = re.sub(r"   \(.*$", "", c["fix"])
    if ROOT_USER:
        command = command.replace("sudo ", "")
    path = os.path.dirname(lab.binary) + ":" + os.environ["PATH"]
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, env=dict(os.environ, PATH=path), cwd=lab.folder)
    assert done.returncode == 0, (command, done.stdout)


def copy_of(d, name):
    """Another home folder with the same files: what is broken for good is broken there."""
    other = os.path.join(lab.folder, name)
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(d.home, other, symlinks=True)
    os.chmod(other, 0o700)
    twin = type(d).__new__(type(d))
    twin.__dict__.update(d.__dict__)
    twin.home = other
    return twin


def path(d, name):
    return os.path.join(d.home, name)


def write(file, data, mode=0o600):
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
        f.write(data)


def alone(test):
    """What a test that failed has left is not the next one's matter."""
    def run():
        try:
            return test()
        finally:
            if alice.process:
                alice.stop()
            alice.options = []
    run.__name__ = test.__name__
    return run


# --- without a daemon ---------------------------------------------------------------------------------


def a_node_that_is_well_is_healthy_with_and_without_a_daemon():
    is_healthy(alice)
    assert not found(alice), "without the passphrase"
    done = alice.cli("doctor", "--quiet")
    assert done.returncode == 0 and done.stdout == b"", done
    alice.start()
    is_healthy(alice)


def nobody_else_gets_into_the_folder():
    for mode, state in ((0o770, "failure"), (0o755, "warning")):
        os.chmod(alice.home, mode)
        c = expect(alice, "home", state, "chmod 700")
        run_fix(c)
        is_healthy(alice)


def files_that_are_open_to_others_are_named_and_closed():
    for name in ("keys.json", "known_peers.json", "ironmesh.db", "audit.log", "key.pem"):
        if not os.path.exists(path(alice, name)):
            continue
        os.chmod(path(alice, name), 0o644)
        c = expect(alice, "permissions", "failure", name, "chmod 600")
        run_fix(c)
        is_healthy(alice)


def a_file_that_is_a_link_is_named_and_replaced():
    os.rename(path(alice, "audit.log"), path(alice, "elsewhere"))
    os.symlink("elsewhere", path(alice, "audit.log"))
    c = expect(alice, "permissions", "failure", "audit.log")
    run_fix(c)
    os.unlink(path(alice, "elsewhere"))
    assert not os.path.islink(path(alice, "audit.log"))
    is_healthy(alice)


def there_is_no_identity_at_all():
    empty = os.path.join(lab.folder, "nothing")
    d = copy_of(alice, "nothing")
    shutil.rmtree(empty)
    c = expect(d, "home", "failure", "keys generate")
    assert "NAME" in c["fix"]
    os.mkdir(empty, 0o700)
    expect(d, "key", "failure", "keys generate")


def a_key_file_that_is_gone_or_damaged_needs_a_backup():
    d = copy_of(alice, "nokey")
    os.unlink(path(d, "keys.json"))
    expect(d, "key", "failure", "missing", "restore")
    write(path(d, "keys.json"), b"{ not json")
    expect(d, "key", "failure", "restore")


def another_passphrase_does_not_open_the_key():
    wrong = os.path.join(lab.folder, "wrong.pass")
    write(wrong, b"this-is-some-other-passphrase-entirely\n")
    expect(alice, "key", "failure", "passphrase", args=("--passphrase-file", wrong))


def a_key_in_clear_is_said_and_encrypted():
    d = lab.daemon("clear", clear_keys=True)
    c = expect(d, "key", "warning", "without encryption", args=())
    c["fix"] = c["fix"].replace("FILE", d.pass_path)
    run_fix(c)
    is_healthy(d)
    assert not found(d)
    d.start()
    d.stop()


def a_clear_copy_beside_an_encrypted_key_is_said():
    """A migration or a rotation has kept the key as it was: in clear, when it was in clear then."""
    d = lab.daemon("copies", clear_keys=True)
    clear = open(path(d, "keys.json"), "rb").read()
    run_fix(dict(expect(d, "key", "warning", "without encryption", args=()), fix="ironmesh keys encrypt --home %s --passphrase-file %s" %
                 (d.home, d.pass_path)))
    encrypted = open(path(d, "keys.json"), "rb").read()
    write(path(d, "keys.json." + "0" * 32 + ".bak"), encrypted)
    is_healthy(d)
    write(path(d, "keys.json.legacy.bak"), clear)
    c = expect(d, "key", "warning", "1 older copy", "keys.json.legacy.bak")
    run_fix(c)
    is_healthy(d)
    assert open(path(d, "keys.json"), "rb").read() == encrypted


def a_trust_store_that_was_changed_is_said():
    d = copy_of(alice, "trust")
    write(path(d, "known_peers.json"), b'{"version": 2, "ciphertext": "AAAA", "nonce": "AAAA"}')
    c = expect(d, "trust", "failure", "read-only", "restore")
    os.rename(path(d, "known_peers.json"), path(d, "known_peers.json.bad"))
    assert "known_peers.json.bad" in c["fix"]
    is_healthy(d)


def a_database_that_is_damaged_or_of_the_future_is_said():
    d = copy_of(alice, "database")
    db = path(d, "ironmesh.db")
    with sqlite3.connect(db) as s:
        s.execute("PRAGMA user_version = 9999")
    s.close()
    expect(d, "database", "failure", "newer version")
    shutil.copy(path(alice, "ironmesh.db"), db)
    with open(db, "r+b") as f:
        f.seek(4096)
        f.write(os.urandom(4096))
    expect(d, "database", "failure", "restore")
    write(db, b"this is no database at all, but long enough to look at" * 100)
    expect(d, "database", "failure", "restore")
    other = node("other")
    shutil.copy(path(other, "ironmesh.db"), db)
    expect(d, "database", "failure", "key")


def an_audit_log_that_was_changed_is_said_with_and_without_a_daemon():
    d = copy_of(alice, "audit")
    with open(path(d, "audit.log"), "r+b") as f:
        text = f.read().replace(b"STARTUP", b"STARTED", 1)
        f.seek(0)
        f.write(text)
    c = expect(d, "audit", "failure", "audit.log")
    run_fix(c)


def a_tls_key_that_is_damaged_is_said():
    d = copy_of(alice, "tls")
    write(path(d, "key.pem"), b"nonsense")
    c = expect(d, "certificate", "failure", "key.pem")
    run_fix(c)
    is_healthy(d)


def what_interrupted_writes_left_is_named_and_removed():
    old = path(alice, ".known_peers.json.0123456789abcdef.tmp")
    write(old, b"half a file")
    is_healthy(alice)  # somebody may be writing it right now
    os.utime(old, (0, 0))
    c = expect(alice, "leftovers", "warning", ".tmp")
    run_fix(c)
    is_healthy(alice)
    folder = path(alice, ".backup-0123456789abcdef")
    os.mkdir(folder, 0o700)
    write(os.path.join(folder, "keys.json"), b"x")
    os.utime(os.path.join(folder, "keys.json"), (0, 0))
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    is_healthy(alice)  # a command is packing it
    os.close(held)
    c = expect(alice, "leftovers", "warning", "backup")
    run_fix(c)
    is_healthy(alice)


def a_configuration_that_is_wrong_is_said_with_its_line():
    conf = path(alice, "ironmesh.conf")
    write(conf, b"[lan]\n\nprot = 1\n")
    expect(alice, "configuration", "failure", "ironmesh.conf", "3", "port")
    os.unlink(conf)
    is_healthy(alice)


def a_socket_that_nobody_serves_is_named_and_removed():
    alice.start()
    alice.kill9()
    c = expect(alice, "daemon", "warning", "control.sock")
    run_fix(c)
    is_healthy(alice)


def a_folder_that_another_program_holds_is_said():
    with open(path(alice, "lock"), "r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        expect(alice, "daemon", "failure", "holds the home folder")
    is_healthy(alice)


def a_port_that_is_taken_is_said_with_by_whom():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        write(path(alice, "ironmesh.conf"), b"[lan]\nport = %d\n" % s.getsockname()[1])
        expect(alice, "ports", "warning", str(s.getsockname()[1]), "python3 (process %d)" % os.getpid())
    is_healthy(alice)
    os.unlink(path(alice, "ironmesh.conf"))


def messages_that_wait_while_no_daemon_runs_are_said():
    d = node("waits", run=False)
    d.start()
    d.call("trust.pin", public_key=alice_public_key(), name="away")
    d.send("away", "hello")
    d.stop()
    c = expect(d, "queue", "warning", "1 message", "ironmesh run")
    assert d.home in c["fix"]


def alice_public_key():
    return json.loads(alice.cli("keys", "show", "--json", "--passphrase-file", alice.pass_path, check=True).stdout)["public_key"]


def repairs_are_made_and_said_and_a_dry_run_makes_none():
    os.chmod(alice.home, 0o750)
    os.chmod(path(alice, "audit.log"), 0o640)
    rest = path(alice, ".audit.head.0123456789abcdef.tmp")
    write(rest, b"x")
    os.utime(rest, (0, 0))
    keys = open(path(alice, "keys.json"), "rb").read()
    got = report(alice, "--fix", "--dry-run", *with_pass(alice))
    assert len(got["repairs"]) == 3 and got["state"] == "failure", got
    assert set(found(alice, *with_pass(alice))) == {"home", "permissions", "leftovers"}
    got = report(alice, "--fix", *with_pass(alice))
    assert len(got["repairs"]) == 3 and got["state"] == "ok", got
    is_healthy(alice)
    assert open(path(alice, "keys.json"), "rb").read() == keys
    assert report(alice, "--fix", *with_pass(alice))["repairs"] == []


def a_clock_that_is_wrong_is_said():
    env = dict(os.environ, LD_PRELOAD=FAKETIME, FAKETIME_DONT_FAKE_MONOTONIC="1")
    if not os.path.exists(FAKETIME) or SANITIZED:
        print("       (skipped: no libfaketime, or a build that takes no preload)")
        return
    expect(alice, "clock", "failure", "timedatectl", env=dict(env, FAKETIME="-30d"))
    expect(alice, "clock", "failure", "2009", env=dict(env, FAKETIME="@2009-01-01 00:00:00"))
    alice.start()
    expect(alice, "clock", "warning", "moved", env=dict(env, FAKETIME="+90m"))
    alice.stop()
    is_healthy(alice)


def limits_that_are_too_low_are_said():
    # The hard limit stays where it is, but for descriptors, where it is what counts.
    expect(alice, "memory", "warning", "64 KiB", "LimitMEMLOCK", prefix=("sh", "-c", 'ulimit -l 64; exec "$@"', "sh"))
    expect(alice, "descriptors", "warning", "256", "LimitNOFILE", prefix=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))


# --- with a daemon --------------------------------------------------------------------------------------


def a_daemon_that_is_stuck_is_said():
    alice.start()
    os.kill(alice.process.pid, signal.SIGSTOP)
    try:
        got = found(alice)
        assert got.get("daemon", {}).get("state") == "failure" and list(got) == ["daemon"], got
    finally:
        os.kill(alice.process.pid, signal.SIGCONT)
    is_healthy(alice)
    os.unlink(path(alice, "control.sock"))
    alice.drop_control()
    expect(alice, "daemon", "failure", "no control socket", args=())
    alice.stop()


def a_program_that_was_replaced_is_said():
    binary = os.path.join(lab.folder, "ironmesh-copy")
    shutil.copy(lab.binary, binary)
    alice.lab.binary, was = binary, lab.binary
    try:
        alice.start()
    finally:
        alice.lab.binary = was
    is_healthy(alice)
    os.unlink(binary)
    if ROOT_USER:  # who else may look at a process that is not dumpable
        expect(alice, "version", "warning", "restart")
    alice.stop()
    is_healthy(alice)


def walls_that_were_left_out_are_said():
    if not WALLS:
        print("       (skipped: not all walls stand here)")
        return
    alice.start("--walls", "off")
    expect(alice, "walls", "warning", "seccomp", "--walls on")
    alice.stop()
    alice.options = []


def a_configuration_that_is_not_in_effect_is_said():
    conf = path(alice, "ironmesh.conf")
    write(conf, b"[log]\nlevel = info\n")
    alice.start()
    is_healthy(alice)
    write(conf, b"[log]\nlevel = loud\n")
    alice.cli("config", "reload")
    write(conf, b"[log]\nlevel = debug\n")
    c = expect(alice, "configuration", "warning", "refused", "config reload")
    run_fix(c)
    is_healthy(alice)
    os.unlink(conf)
    alice.stop()


def a_node_without_a_key_of_a_mesh_is_said():
    d = node("lonely", run=False)
    d.command = lambda options: [lab.binary, "run", "--home", d.home, "--name", "lonely", "--port", str(d.port), "--bind",
                                 "127.0.0.1", "--no-passphrase", "--key-passphrase-file", d.pass_path, "--discovery", "off"]
    d.start()
    expect(d, "mesh", "warning", "pair")
    d.stop()


def a_changed_key_that_waits_is_said():
    alma, bob = node("alma", run=False), node("bob", run=False)
    alma.start("--peer", bob.address, "--trust-on-first-use")
    bob.start("--trust-on-first-use")
    alma.wait_online("bob")
    bob.stop()
    shutil.rmtree(bob.home)
    os.mkdir(bob.home, 0o700)
    shutil.copytree(node("bob2", run=False).home, bob.home, dirs_exist_ok=True)
    bob.start("--trust-on-first-use")
    wait_for(lambda: alma.status()["alarms"], 30, what="an alarm")
    expect(alma, "alarms", "failure", "trust list")
    bob.stop()
    alma.stop()


def a_message_that_waits_for_too_long_is_said_with_its_reason():
    d = node("stuck", run=False)
    d.start()
    d.call("trust.pin", public_key=alice_public_key(), name="away")
    d.send("away", "hello")
    assert not found(d)
    time.sleep(1.1)
    c = expect(d, "queue", "warning", "1 message", "away", "peers show", args=("--older-than", "1s"))
    run_fix(c)
    d.stop()


def scheduled_backups_that_fail_are_said():
    d = node("backups", run=False)
    folder = os.path.join(lab.folder, "backups-there")
    os.mkdir(folder, 0o700)
    d.start("--backup-directory", folder, "--backup-every", "1h", "--backup-passphrase-file", d.pass_path)
    d.call("backup.now", timeout=60)
    is_healthy(d)
    os.chmod(folder, 0o500)
    try:
        d.call("backup.now", timeout=60)
    except Exception:
        pass
    c = expect(d, "backup", "failure", "backup now")
    os.chmod(folder, 0o700)
    run_fix(c)
    is_healthy(d)
    d.stop()


# --- what only root can break ----------------------------------------------------------------------------


def as_root(test):
    def run():
        if not ROOT_USER:
            print("       (skipped: not root)")
            return None
        return test()
    run.__name__ = test.__name__
    return run


@as_root
def files_of_another_user_are_named():
    d = copy_of(alice, "foreign")
    os.chown(path(d, "audit.log"), 65534, 65534)
    c = expect(d, "permissions", "failure", "audit.log", "chown")
    run_fix(c)
    is_healthy(d)


@as_root
def root_on_the_folder_of_another_user_looks_with_his_rights():
    d = copy_of(alice, "theirs")
    os.chmod(lab.folder, 0o755)
    for name in [".", *os.listdir(d.home)]:
        os.chown(path(d, name), 65534, 65534)
    is_healthy(d)
    os.chmod(path(d, "keys.json"), 0o640)
    c = expect(d, "permissions", "failure", "keys.json")
    run_fix(c)
    os.chown(path(d, "known_peers.json"), 0, 0) if os.path.exists(path(d, "known_peers.json")) else os.chown(path(d, "audit.log"), 0, 0)
    c = expect(d, "permissions", "failure", "chown")
    run_fix(c)
    is_healthy(d)
    assert all(os.lstat(path(d, name)).st_uid == 65534 for name in os.listdir(d.home))


def in_a_mount(d, script, *args):
    """A shell in a mount namespace of its own, where `script` prepares what the doctor then looks at; its report."""
    return ["unshare", "-m", "sh", "-ec", "mount --make-rprivate /; %s; exec \"$@\"" % script, "sh"]


@as_root
def a_disk_that_is_full_or_read_only_is_said():
    for size, state in (("64m", "warning"), ("6m", "failure")):
        small = in_a_mount(alice, "mount -t tmpfs -o size=%s,mode=700 none /mnt; cp -a '%s/.' /mnt/; mount --bind /mnt '%s'"
                           % (size, alice.home, alice.home))
        expect(alice, "disk", state, "left", prefix=small)
    frozen = in_a_mount(alice, "mount --bind '%s' '%s'; mount -o remount,bind,ro '%s'" % ((alice.home,) * 3))
    c = expect(alice, "disk", "failure", "read-only", "remount", prefix=frozen)
    assert alice.home in c["fix"]


@as_root
def swap_in_clear_is_said_when_keys_cannot_be_locked():
    swaps = os.path.join(lab.folder, "swaps")
    write(swaps, b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda9                               partition\t1000000\t\t0\t\t-2\n")
    clear = in_a_mount(alice, "mount --bind '%s' /proc/swaps" % swaps)
    assert not found(alice, *with_pass(alice), prefix=clear)
    low = in_a_mount(alice, "mount --bind '%s' /proc/swaps; ulimit -l 64" % swaps)
    expect(alice, "memory", "failure", "/dev/sda9", "swapoff", prefix=low)


class Net:
    """A network namespace with one interface besides lo, and the daemon of `d` in it."""

    def __init__(self, d, *options, avahi=False):
        self.hold = subprocess.Popen(["unshare", "-n", "sh", "-ec", "ip link set lo up; ip link add im0 type veth peer name im1; ip link set im1 up; ip link set im1 multicast off; "
                                      "ip link set im0 up multicast on; ip addr add 10.77.0.1/24 dev im0; echo up; exec sleep 600"],
                                     stdout=subprocess.PIPE)
        assert self.hold.stdout.readline() == b"up\n"
        self.inside = ["nsenter", "-n", "-t", str(self.hold.pid)]
        self.d = d
        plain = type(d).command
        d.host = "0.0.0.0"
        d.command = lambda options: self.inside + plain(d, options)
        d.start(*options)

    def run(self, *words):
        return subprocess.run([*self.inside, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self):
        self.d.stop()
        self.hold.kill()
        self.hold.wait()


@as_root
def discovery_that_cannot_work_is_said():
    d = node("finder", run=False)
    net = Net(d, "--discovery", "public")
    try:
        wait_for(lambda: d.status()["discovery"]["mdns"] == "down", 20, what="mDNS to be found missing")
        expect(d, "avahi", "warning", "avahi-daemon", prefix=net.inside)
        net.run("ip", "link", "set", "im0", "multicast", "off")
        got = found(d, *with_pass(d), prefix=net.inside)
        assert set(got) == {"avahi", "multicast"} and "im0" in got["multicast"]["fix"], got
        net.run("sh", "-ec", got["multicast"]["fix"].replace("sudo ", ""))
        expect(d, "avahi", "warning", prefix=net.inside)
        outside = {c["name"]: c for c in report(d, *with_pass(d))["checks"]}
        assert outside["ports"]["state"] == outside["multicast"]["state"] == "skipped", outside
    finally:
        net.end()


@as_root
def a_packet_filter_in_the_way_is_named_and_opened():
    if not os.path.exists("/usr/sbin/nft"):
        print("       (skipped: nft is not there)")
        return
    d = node("walled", run=False)
    net = Net(d)
    try:
        net.run("nft", "add table inet filter")
        net.run("nft", "add chain inet filter input { type filter hook input priority 0 ; policy accept ; }")
        is_healthy(d, *with_pass(d), prefix=net.inside)
        net.run("nft", "chain inet filter input { policy drop ; }")
        net.run("nft", "add rule inet filter input tcp dport 22 accept")
        c = expect(d, "firewall", "warning", str(d.port), "nft insert rule inet filter input", prefix=net.inside)
        net.run("sh", "-ec", c["fix"].replace("sudo ", ""))
        is_healthy(d, *with_pass(d), prefix=net.inside)
    finally:
        net.end()


# --- one peer ---------------------------------------------------------------------------------------------


def key_is_ready(d):
    wait_for(lambda: d.status()["im2"]["mesh_key"] == "ready", 30, what="the key of the mesh at " + d.name)


def way(d, address, state, *words, timeout=60):
    done = d.cli("doctor", "--peer", address, "--json", timeout=timeout)
    assert done.stdout, done.stderr
    got = json.loads(done.stdout)
    text = got["what"] + " " + got["means"] + " " + got["fix"]
    assert got["state"] == state and done.returncode == {"ok": 0, "warning": 1, "failure": 2}[state], got
    for word in words:
        assert word in text, (word, got)
    return got


def failed_step(got):
    return next((s["name"] for s in got["steps"] if s["state"] == "failed"), None)


class Says:
    """A port that answers every connection with some bytes, or with nothing."""

    def __init__(self, data=b"", hang_up=False):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.data, self.hang_up = data, hang_up
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        kept = []
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            c.sendall(self.data)
            if self.hang_up:
                c.close()
            else:
                kept.append(c)

    @property
    def address(self):
        return "127.0.0.1:%d" % self.listener.getsockname()[1]


def each_step_of_the_way_that_ends_is_named():
    assert failed_step(way(alice, "no-such-name.invalid:8765", "failure", "does not resolve")) == "resolve"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert failed_step(way(alice, "127.0.0.1:%d" % s.getsockname()[1], "failure", "nobody listens")) == "tcp"
    ssh = Says(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
    assert failed_step(way(alice, ssh.address, "failure", "not ironmesh", "SSH-2.0")) == "tls"
    evil = Says(b"\x1b[2J\xe2\x80\xae" + b"A" * 100000 + b"\r\n\r\n")
    got = way(alice, evil.address, "failure", "not ironmesh")
    assert "\x1b" not in got["what"] and "\u202e" not in got["what"] and len(got["what"]) < 400, got
    gone = Says(hang_up=True)
    assert failed_step(way(alice, gone.address, "failure", "hangs up")) == "tls"
    web = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(lab.port())], cwd=lab.folder,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = "127.0.0.1:%s" % web.args[-1]
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", int(web.args[-1]))) == 0, 10, what="a web server")
        assert failed_step(way(alice, address, "failure", "not ironmesh", "HTTP/1")) == "tls"
    finally:
        web.kill()
        web.wait()
    done = alice.cli("doctor", "--peer", "nonsense")
    assert done.returncode == 2 and b"host:port" in done.stderr, done


def two_that_know_each_other(name, *options, passphrase=None):
    more = {"passphrase": passphrase} if passphrase else {}
    other = node(name, run=False, **more)
    other.start("--trust-on-first-use", *options)
    if "off" not in options:
        key_is_ready(other)
    return other


def a_peer_that_is_well_is_reached_and_nothing_changes():
    bob = two_that_know_each_other("bob3")
    alice.start("--trust-on-first-use", "--peer", bob.address)
    alice.wait_online("bob3")
    bob.wait_online("alice")
    alice.send("bob3", "first")
    bob.take_body("first")
    since = bob.peer("alice")["session"]["since_ms"]
    entries = len(alice.audit()), len(bob.audit())
    pins = open(path(alice, "known_peers.json"), "rb").read()
    for _ in range(3):
        got = way(alice, bob.address, "ok", "bob3")
        assert [s["name"] for s in got["steps"]] == ["resolve", "tcp", "tls", "upgrade", "first-message", "connect", "challenge", "I2",
                                                     "handshake"], got
    assert bob.peer("alice")["session"]["since_ms"] == since and alice.peer("bob3")["online"]
    assert (len(alice.audit()), len(bob.audit())) == entries, (alice.audit()[entries[0]:], bob.audit()[entries[1]:])
    assert open(path(alice, "known_peers.json"), "rb").read() == pins
    alice.send("bob3", "still here")
    bob.take_body("still here")
    bob.call("peers.block", peer="alice")
    way(alice, bob.address, "warning", "blocked or forgotten")
    bob.stop()
    alice.stop()


def another_passphrase_there_is_said_and_is_no_way_to_guess():
    carol = two_that_know_each_other("carol", passphrase="another-passphrase-than-the-lab-has")
    alice.start()
    key_is_ready(alice)
    got = way(alice, carol.address, "failure", "wrong passphrase", "ironmesh pair")
    assert failed_step(got) == "handshake", got
    time.sleep(1)  # carol has this address wait, after a guess that failed
    way(alice, carol.address, "warning", "once a minute")
    assert not alice.status()["alarms"] and not alice.call("peers.refused")["refused"]
    assert not any(e["event"] == "AUTH_FAILURE" for e in alice.audit())
    assert alice.call("peers.list")["peers"] == [p for p in alice.call("peers.list")["peers"] if p["name"] != "carol"]
    carol.stop()
    alice.stop()


def a_stranger_with_our_passphrase_is_not_pinned():
    dave = two_that_know_each_other("dave")
    alice.start()
    key_is_ready(alice)
    way(alice, dave.address, "ok", "knows the passphrase")
    assert not dave.peer("alice") and not alice.peer("dave")
    dave.stop()
    alice.stop()


def the_old_wire_is_said_and_not_tried():
    erin = two_that_know_each_other("erin", "--im2", "off")
    alice.start()
    key_is_ready(alice)
    way(alice, erin.address, "warning", "old wire")
    assert not erin.peer("alice")
    erin.stop()
    alice.stop()


def another_tls_key_is_said_and_raises_no_alarm():
    frank = two_that_know_each_other("frank")
    alice.start("--trust-on-first-use", "--peer", frank.address)
    alice.wait_online("frank")
    alice.stop()
    alice.options = []
    frank.stop()
    os.unlink(path(frank, "key.pem"))
    os.unlink(path(frank, "cert.pem"))
    frank.start("--trust-on-first-use")
    alice.start("--trust-on-first-use")
    key_is_ready(alice)
    way(alice, frank.address, "failure", "another TLS key")
    assert not alice.status()["alarms"]
    frank.stop()
    alice.stop()


def our_own_address_and_no_daemon_are_said():
    alice.start()
    key_is_ready(alice)
    way(alice, alice.address, "failure", "this node itself")
    alice.stop()
    grace = two_that_know_each_other("grace")
    got = way(alice, grace.address, "warning", "handshake was not tried")
    assert got["steps"][-1] == {"name": "handshake", "state": "skipped", "ms": 0.0,
                                "what": "no daemon runs, and it holds the keys"}, got
    grace.stop()


# --- the table -------------------------------------------------------------------------------------------


def the_document_names_every_check():
    checks = json.loads(alice.cli("doctor", "--list", "--json", check=True).stdout)["checks"]
    with open(os.path.join(ROOT, "docs", "doctor.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| `([a-z]+)` \| (.*?) \|", f.read(), re.M)
    assert rows == [(c["name"], c["about"]) for c in checks], rows
    assert [c["name"] for c in report(alice)["checks"]] == [c["name"] for c in checks]


if __name__ == "__main__":
    tests = [a_node_that_is_well_is_healthy_with_and_without_a_daemon, nobody_else_gets_into_the_folder,
             files_that_are_open_to_others_are_named_and_closed, a_file_that_is_a_link_is_named_and_replaced,
             there_is_no_identity_at_all, a_key_file_that_is_gone_or_damaged_needs_a_backup,
             another_passphrase_does_not_open_the_key, a_key_in_clear_is_said_and_encrypted, a_clear_copy_beside_an_encrypted_key_is_said,
             a_trust_store_that_was_changed_is_said, a_database_that_is_damaged_or_of_the_future_is_said,
             an_audit_log_that_was_changed_is_said_with_and_without_a_daemon, a_tls_key_that_is_damaged_is_said,
             what_interrupted_writes_left_is_named_and_removed, a_configuration_that_is_wrong_is_said_with_its_line,
             a_socket_that_nobody_serves_is_named_and_removed, a_folder_that_another_program_holds_is_said,
             a_port_that_is_taken_is_said_with_by_whom, messages_that_wait_while_no_daemon_runs_are_said,
             repairs_are_made_and_said_and_a_dry_run_makes_none, a_clock_that_is_wrong_is_said,
             limits_that_are_too_low_are_said, a_daemon_that_is_stuck_is_said, a_program_that_was_replaced_is_said,
             walls_that_were_left_out_are_said, a_configuration_that_is_not_in_effect_is_said, a_node_without_a_key_of_a_mesh_is_said, a_changed_key_that_waits_is_said,
             a_message_that_waits_for_too_long_is_said_with_its_reason, scheduled_backups_that_fail_are_said,
             files_of_another_user_are_named, root_on_the_folder_of_another_user_looks_with_his_rights,
             a_disk_that_is_full_or_read_only_is_said, swap_in_clear_is_said_when_keys_cannot_be_locked,
             discovery_that_cannot_work_is_said, a_packet_filter_in_the_way_is_named_and_opened,
             each_step_of_the_way_that_ends_is_named, a_peer_that_is_well_is_reached_and_nothing_changes,
             another_passphrase_there_is_said_and_is_no_way_to_guess, a_stranger_with_our_passphrase_is_not_pinned,
             the_old_wire_is_said_and_not_tried, another_tls_key_is_said_and_raises_no_alarm,
             our_own_address_and_no_daemon_are_said, the_document_names_every_check]
    sys.exit(lab.run(*[alone(t) for t in tests]))
