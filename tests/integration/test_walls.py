#!/usr/bin/python3
"""The walls of a running daemon, from outside: what another process of its user can do, and what is left in its memory.

What needs root (another user to run as, the memory of another process) says so and counts as passed without it, and so
does what a build with sanitizers leaves off. tests/unit/daemon/test_walls.c tries the same walls from inside.
"""
import base64
import json
import os
import re
import resource
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import Lab, wait_for  # noqa: E402

NAMES = ["no-new-privileges", "not-dumpable", "no-core", "environment", "capabilities", "landlock", "seccomp", "key-process"]
SOME_LIBRARY = "libBrokenLocale.so.1"  # part of the C library, and nobody uses it
NOBODY = 65534

lab = Lab("test_walls", __doc__)
alice = lab.daemon("alice")
bob = lab.daemon("bob")
root = os.geteuid() == 0


def sanitized(path):
    with open(path, "rb") as f:
        return b"__asan_init" in f.read()


def walls(daemon):
    return {w["name"]: w for w in daemon.status()["walls"]}


def relaxed(daemon):
    return "build" in walls(daemon)["seccomp"]["why"]


def keys_of(pid):
    """The process id of the key process of a daemon."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        children = f.read().split()
    assert len(children) == 1, children
    return int(children[0])


def proc(pid, name):
    with open("/proc/%d/%s" % (pid, name), "rb") as f:
        return f.read()


def gone(pid):
    try:
        return proc(pid, "stat").rsplit(b")", 1)[1].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def skip(why):
    print("       (%s)" % why)


def as_nobody(program, *args, **more):
    return subprocess.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", sys.executable, "-c",
                           program, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, **more)


ATTACK = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = int(sys.argv[1])
for request, name in ((16, "attach"), (0x4206, "seize")):
    if libc.ptrace(request, pid, None, None) == 0:
        print(name)
        if request == 16:
            os.waitpid(pid, 0x40000000)
        libc.ptrace(17, pid, None, None)
for name in ("mem", "environ", "maps", "auxv", "syscall"):
    try:
        with open("/proc/%d/%s" % (pid, name), "rb", buffering=0) as f:
            f.read(1)
        print(name)
    except OSError as error:
        if name == "mem" and error.errno == errno.EIO:
            print(name)
try:
    os.readlink("/proc/%d/exe" % pid)
    os.listdir("/proc/%d/fd" % pid)
    print("fd")
except OSError:
    pass
fd = libc.syscall(434, pid, 0)
if fd >= 0 and libc.syscall(438, fd, 0, 0) >= 0:
    print("pidfd_getfd")
"""


def every_wall_stands():
    alice.start()
    seen = alice.status()["walls"]
    assert [w["name"] for w in seen] == NAMES, seen
    for w in seen:
        assert w["state"] == "up" or "build" in w["why"], w
        assert w["state"] != "up" or w["why"] == "", w
    said = alice.cli("status", check=True).stdout.decode()
    assert relaxed(alice) or re.search(r"^walls +8 of 8 up$", said, re.M), said
    assert "walls-up" in alice.log()
    # and the kernel says the same from outside
    for pid in (alice.process.pid, keys_of(alice.process.pid)):
        status = proc(pid, "status").decode()
        assert "NoNewPrivs:\t1\n" in status and re.search(r"^CapEff:\t0+$", status, re.M), status
        assert relaxed(alice) or "Seccomp:\t2\n" in status, status
        assert re.search(r"^Max core file size +0 +0 ", proc(pid, "limits").decode(), re.M)
    alice.stop()


def without_them_it_is_said():
    alice.start("--walls", "off")
    assert all(w["state"] == "off" and w["why"] == "--walls off" for w in alice.status()["walls"])
    assert any("no walls" in w for w in alice.status()["warnings"])
    assert re.search(r"^walls +off$", alice.cli("status").stdout.decode(), re.M)
    assert proc(alice.process.pid, "task/%d/children" % alice.process.pid) == b""
    alice.restart("--walls", "on")
    if not relaxed(alice):
        alice.restart("--walls", "require")
        assert all(w["state"] == "up" for w in alice.status()["walls"])
    alice.stop()
    alice.options = []


def another_process_of_its_user_gets_nothing():
    if not root:
        return skip("another user to run as takes root")
    home = os.path.join(lab.folder, "nobody")
    os.makedirs(home, mode=0o700)
    with open(alice.pass_path, "rb") as f:
        words = f.read()
    os.chmod(lab.folder, 0o711)
    with open(os.path.join(home, "passphrase"), "wb") as f:
        f.write(words)
    os.chmod(os.path.join(home, "passphrase"), 0o600)
    for path in (home, os.path.join(home, "passphrase")):
        os.chown(path, NOBODY, NOBODY)
    binary = os.path.join(lab.folder, "ironmesh")
    subprocess.run(["cp", lab.binary, binary], check=True)
    log = open(os.path.join(lab.folder, "nobody.log"), "wb")
    daemon = subprocess.Popen(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", binary, "run", "--home",
                               home, "--name", "nobody", "--port", str(lab.port()), "--bind", "127.0.0.1", "--discovery", "off",
                               "--clear-keys"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    victim = subprocess.Popen(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "sleep", "60"])
    try:
        wait_for(lambda: os.path.exists(os.path.join(home, "control.sock")), what="the daemon of nobody")
        wait_for(lambda: b"ready" in open(log.name, "rb").read(), what="ready")
        control = as_nobody(ATTACK, victim.pid)
        assert {b"attach", b"mem", b"maps", b"environ"} <= set(control.stdout.split()), control
        for pid in (daemon.pid, keys_of(daemon.pid)):
            got = as_nobody(ATTACK, pid)
            assert got.returncode == 0, got
            assert sanitized(binary) or got.stdout == b"", (pid, got)
        # nobody's capabilities were there to drop, and every wall stands without root too
        status = subprocess.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", binary, "status",
                                 "--json", "--home", home], stdout=subprocess.PIPE, check=True)
        for w in json.loads(status.stdout)["walls"]:
            assert w["state"] == "up" or "build" in w["why"], w
    finally:
        daemon.terminate()
        victim.kill()
        victim.wait()
        code = daemon.wait(20)
        log.close()
    assert code == 0, code


HIDDEN = """
mount -t proc -o hidepid=invisible,subset=pid proc /proc || exit 77
as="setpriv --reuid %d --regid %d --clear-groups"
$as "$0" run --home "$1" --name hidden --port "$2" --bind 127.0.0.1 --discovery off --clear-keys --walls on &
for i in $(seq 200); do [ -S "$1/control.sock" ] && $as "$0" status --json --home "$1" >"$3" && break; sleep 0.1; done
kill $!; wait $!
""" % (NOBODY, NOBODY)


def they_are_seen_where_processes_are_hidden():
    """As a unit has it with ProtectProc=invisible and ProcSubset=pid."""
    if not root:
        return skip("that takes root")
    home, out = os.path.join(lab.folder, "hidden"), os.path.join(lab.folder, "hidden.json")
    binary = os.path.join(lab.folder, "ironmesh")
    os.chmod(lab.folder, 0o711)
    subprocess.run(["cp", lab.binary, binary], check=True)
    os.makedirs(home, mode=0o700)
    with open(os.open(os.path.join(home, "passphrase"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write("correct-horse-battery-staple-lab\n")
    for path in (home, os.path.join(home, "passphrase")):
        os.chown(path, NOBODY, NOBODY)
    done = subprocess.run(["unshare", "-mpf", "--propagation", "private", "sh", "-c", HIDDEN, binary, home, str(lab.port()), out],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    if done.returncode == 77 or (done.returncode == 1 and b"unshare" in done.stdout):
        return skip("no namespace with a /proc of its own")
    assert done.returncode == 0, done
    with open(out) as f:
        for w in json.load(f)["walls"]:
            assert w["state"] == "up" or "build" in w["why"], w


def a_crash_leaves_no_core():
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        for number in (signal.SIGSEGV, signal.SIGABRT):
            alice.start()
            if relaxed(alice):
                alice.stop()
                return skip("sanitizer build")
            keys = keys_of(alice.process.pid)
            os.kill(alice.process.pid, number)
            _, status = os.waitpid(alice.process.pid, 0)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == number, status
            assert not os.WCOREDUMP(status)
            alice.process = None
            alice.drop_control()
            wait_for(lambda: gone(keys), what="the key process follows")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    left = [f for f in os.listdir(lab.folder) + os.listdir(alice.home) if f.startswith("core")]
    assert not left, left


def what_was_preloaded_is_gone_in_the_second_run():
    if sanitized(lab.binary):
        return skip("a sanitizer must be loaded first")
    def maps():
        return SOME_LIBRARY[:-5].encode() in proc(alice.process.pid, "maps")
    try:
        os.environ["LD_PRELOAD"] = SOME_LIBRARY
        os.environ["SOMETHING_ELSE"] = "not-on-the-list"
        alice.start("--walls", "off")
        assert maps(), "the control: it is loaded"
        assert b"SOMETHING_ELSE=" in proc(alice.process.pid, "environ")
        alice.restart("--walls", "on", "--mesh", "a mesh with  blanks")
        assert not maps()
        assert walls(alice)["environment"]["state"] == "up"
        assert alice.status()["im2"]["mesh"] == "a mesh with  blanks", "the arguments are the same"
        environ = proc(alice.process.pid, "environ")
        assert b"SOMETHING_ELSE" not in environ and b"LD_PRELOAD" not in environ, environ
        assert proc(alice.process.pid, "comm") == b"ironmesh\n"
        alice.stop()
        # it does not run for ever: who says that this is the second run is believed, and the wall is absent
        os.environ["IRONMESH_WALLS_AGAIN"] = "1"
        alice.start("--walls", "on")
        assert walls(alice)["environment"]["state"] == "absent", walls(alice)
        assert "LD_PRELOAD" in walls(alice)["environment"]["why"]
        alice.stop()
        assert alice.start_refused("--walls", "require") == 10
        assert "the wall 'environment' cannot be raised" in alice.log()
    finally:
        for name in ("LD_PRELOAD", "SOMETHING_ELSE", "IRONMESH_WALLS_AGAIN"):
            os.environ.pop(name, None)
    alice.options = []


def memory_of(pid):
    """Everything a process can write, as bytes."""
    out = []
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", buffering=0) as mem:
        for line in maps:
            span, flags = line.split()[:2]
            if not flags.startswith("rw"):
                continue
            at, end = (int(x, 16) for x in span.split("-"))
            if end - at > 1 << 30:
                raise PermissionError("the shadow of a sanitizer")
            try:
                mem.seek(at)
                while at < end:
                    piece = mem.read(min(end - at, 1 << 20))
                    if not piece:
                        break
                    out.append(piece)
                    at += len(piece)
            except OSError:
                pass
    return b"".join(out)


def the_keys_are_in_no_memory_but_that_of_their_process():
    with open(os.path.join(alice.home, "keys.json")) as f:
        clear = json.load(f)
    seeds = {name: base64.b64decode(clear[name]) for name in ("ed25519_secret", "x25519_seed")}
    bob.start("--trust-on-first-use")
    alice.start("--trust-on-first-use", "--peer", bob.address)
    alice.wait_online(bob.id)
    alice.send("bob", "a message that is signed")
    bob.take_body("a message that is signed")
    alice.call("keys.show")
    alice.call("trust.export")
    alice.call("audit.export")
    try:
        daemon, keys = memory_of(alice.process.pid), memory_of(keys_of(alice.process.pid))
    except PermissionError:
        alice.stop()
        alice.options = []
        return skip("the memory of another process takes root, and no sanitizer")
    finally:
        bob.stop()
    assert daemon and keys
    for name, seed in seeds.items():
        assert len(seed) == 32
        assert seed in keys, "the control: %s is where it is used" % name
        assert seed not in daemon, "%s is in the daemon" % name
        assert clear[name].encode() not in daemon, "%s as text" % name
    names = sorted(os.listdir("/proc/%d/fd" % keys_of(alice.process.pid)))
    assert names == ["0", "1", "2", "3"], names
    assert "VmLck:\t       0 kB" not in proc(keys_of(alice.process.pid), "status").decode()
    alice.stop()
    alice.options = []
    # the control of the control: with --walls off they are here
    alice.start("--walls", "off")
    daemon = memory_of(alice.process.pid)
    assert all(seed in daemon for seed in seeds.values())
    alice.stop()
    alice.options = []


def without_its_key_process_the_daemon_ends_and_says_so():
    for number in (signal.SIGKILL, signal.SIGALRM):
        alice.start()
        os.kill(keys_of(alice.process.pid), number)
        assert alice.process.wait(10) == 1
        alice.process = None
        alice.drop_control()
        last = alice.log_tail(1)
        assert "key-process-lost" in last and "by signal %d" % number in last and "start it again" in last, last
    # and nothing was lost: it starts again
    alice.start()
    keys = keys_of(alice.process.pid)
    alice.kill9()
    wait_for(lambda: gone(keys), what="the key process follows its daemon")


def a_rotation_goes_through_it():
    alice.start()
    old = alice.id
    alice.call("keys.rotate")
    assert alice.process.wait(20) == 0
    alice.process = None
    alice.drop_control()
    del alice._id
    alice.start()
    assert alice.id != old
    assert walls(alice)["key-process"]["state"] == "up"
    assert alice.call("audit.verify")["ok"]
    alice.stop()


def the_passphrase_of_the_key_file_stays_there():
    carol = lab.daemon("carol", passphrase="a-passphrase-of-the-mesh-alone", clear_keys=False)
    path = os.path.join(lab.folder, "carol.keypass")
    key_words = "another-passphrase-for-the-key-alone"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(key_words + "\n")
    os.remove(os.path.join(carol.home, "keys.json"))
    carol.start("--key-passphrase-file", path)
    assert carol.call("keys.show")["encrypted"] is True
    try:
        daemon, keys = memory_of(carol.process.pid), memory_of(keys_of(carol.process.pid))
    except PermissionError:
        carol.stop()
        return skip("the memory of another process takes root, and no sanitizer")
    assert key_words.encode() in keys, "the control: a rotation needs it there"
    assert key_words.encode() not in daemon
    old = carol.id
    carol.call("keys.rotate")
    assert carol.process.wait(30) == 0
    carol.process = None
    carol.drop_control()
    del carol._id
    carol.start()
    assert carol.id != old
    carol.stop()


sys.exit(lab.run(every_wall_stands, without_them_it_is_said, another_process_of_its_user_gets_nothing,
                 they_are_seen_where_processes_are_hidden, a_crash_leaves_no_core,
                 what_was_preloaded_is_gone_in_the_second_run, the_keys_are_in_no_memory_but_that_of_their_process,
                 without_its_key_process_the_daemon_ends_and_says_so, a_rotation_goes_through_it,
                 the_passphrase_of_the_key_file_stays_there))
