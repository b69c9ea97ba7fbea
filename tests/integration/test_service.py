#!/usr/bin/env python3
"""The node of the system service: one folder that its user alone may read, a control socket for its group, root in the
shoes of its user. In a mount namespace of its own with empty /var/lib and /run, so nothing of this machine is touched.

Prints SKIP with the reason where no namespace can be made; that is a failure when REQUIRE_LAN is set, as .ci/run does.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import ROOT, Control, _die_with_parent, wait_for

BINARY = os.path.abspath(os.environ.get("IRONMESH", os.path.join(ROOT, "build/release/ironmesh")))
SERVICE, MEMBER, STRANGER, GROUP = 64501, 64502, 64503, 64510
HOME, SOCKET = "/var/lib/ironmesh", "/run/ironmesh/control.sock"

if "--inside" not in sys.argv:
    why = "" if os.geteuid() == 0 else "not root"
    if not why and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        why = "no mount namespace"
    if why:
        print("SKIP test_service: " + why)
        sys.exit(1 if os.environ.get("REQUIRE_LAN") else 0)
    sys.exit(subprocess.run(["unshare", "-m", "--propagation", "private", sys.executable, os.path.abspath(__file__), "--inside"],
                            env=dict(os.environ, IRONMESH=BINARY)).returncode)

results = []


def check(name):
    def run(fn):
        try:
            fn()
            results.append(None)
            print("  ok   " + name)
        except Exception as e:  # a test reports every failure, whatever it is
            results.append(e)
            print("  FAIL %s: %r" % (name, e))
        return fn

    return run


for folder in ("/var/lib", "/run", "/root", "/home"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder], check=True)
# A build folder may be closed to the users of this test.
PROGRAM = "/run/program"
subprocess.run(["cp", BINARY, PROGRAM], check=True)
os.makedirs(HOME, 0o700)
os.chown(HOME, SERVICE, GROUP)
os.makedirs("/run/ironmesh", 0o755)
os.chown("/run/ironmesh", SERVICE, GROUP)


def as_user(uid, gid, groups=()):
    def change():
        _die_with_parent()
        os.setgroups(list(groups))
        os.setgid(gid)
        os.setuid(uid)

    return change


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("IRONMESH") and k != "STATE_DIRECTORY"}
    env.update({"HOME": "/root", **more})
    return env


def ask(*words, uid=0, gid=0, groups=(), **more):
    return subprocess.run([PROGRAM, *words], cwd="/", env=environment(**more), capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL, preexec_fn=as_user(uid, gid, groups))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


log = open("/run/log", "ab")
# As systemd leaves it when it found no credential.
os.makedirs("/run/credentials", 0o700)


def start(*options):
    p = subprocess.Popen([PROGRAM, "run", "--unattended", "--bind", "127.0.0.1", "--port", str(free_port()), "--discovery", "off",
                          *options], cwd="/", env=environment(STATE_DIRECTORY=HOME, CREDENTIALS_DIRECTORY="/run/credentials"), stdout=log, stderr=log,
                         stdin=subprocess.DEVNULL, preexec_fn=as_user(SERVICE, GROUP))

    def answers():
        assert p.poll() is None, open("/run/log").read()
        try:
            Control(SOCKET).call("status")
            return True
        except OSError:
            return False

    wait_for(answers, 60, what="the service")
    return p


def stop(p):
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 0, open("/run/log").read()


daemon = start()


@check("the first start needs nobody: host name, key encrypted with a passphrase that is kept beside it")
def first():
    p = ask("status", "--json")
    assert p.returncode == 0, p.stderr
    status = json.loads(p.stdout)
    name = status.get("name") or status["self"]["name"]
    assert name == os.uname().nodename.split(".")[0] or name == "node", name
    st = os.stat(HOME + "/key-passphrase")
    assert st.st_mode & 0o7777 == 0o600 and st.st_uid == SERVICE
    assert any("ironmesh pair" in w for w in status["warnings"]), status["warnings"]
    assert not any("without encryption" in w for w in status["warnings"]), status["warnings"]


@check("root means the service when it has no node of its own")
def root():
    assert ask("status").returncode == 0
    os.mkdir("/root/.ironmesh", 0o700)
    p = ask("status")
    assert p.returncode == 3 and b"/root/.ironmesh" in p.stderr, p
    os.rmdir("/root/.ironmesh")


@check("members of the group are served, others are not")
def group():
    st = os.stat(SOCKET)
    assert st.st_mode & 0o7777 == 0o660 and st.st_gid == GROUP
    os.mkdir("/home/m", 0o755)
    assert ask("status", uid=MEMBER, gid=MEMBER, groups=[GROUP], HOME="/home/m").returncode == 0
    assert ask("peers", "list", uid=MEMBER, gid=GROUP, HOME="/home/m").returncode == 0
    p = ask("status", uid=STRANGER, gid=STRANGER, HOME="/home/m")
    assert p.returncode == 3 and b"/home/m/.ironmesh" in p.stderr, p
    p = ask("status", "--home", HOME, uid=STRANGER, gid=STRANGER, HOME="/home/m")
    assert p.returncode == 8 and b"group" in p.stderr, p


@check("a connection that came past the mode of the socket is looked at again")
def passed_on():
    os.chmod(SOCKET, 0o666)
    try:
        p = ask("status", "--home", HOME, uid=STRANGER, gid=STRANGER)
        assert p.returncode == 3, p
        assert ask("status", "--home", HOME, uid=MEMBER, gid=MEMBER, groups=[STRANGER, GROUP]).returncode == 0
    finally:
        os.chmod(SOCKET, 0o660)


@check("run and keys generate never choose the folder of the service by themselves")
def own():
    p = ask("keys", "generate", "--name", "me", "--clear")
    assert p.returncode == 0 and os.path.exists("/root/.ironmesh/keys.json"), p
    subprocess.run(["rm", "-r", "/root/.ironmesh"], check=True)


@check("root works on a stopped service as its user, with the passphrase that is kept there")
def offline():
    stop(daemon)
    p = ask("audit", "verify", "--json")
    assert p.returncode == 0 and json.loads(p.stdout)["ok"], p
    assert ask("keys", "fingerprint").returncode == 0
    before = os.stat(HOME + "/keys.json").st_ino
    p = ask("keys", "rotate", "--yes")
    assert p.returncode == 0 and os.stat(HOME + "/keys.json").st_ino != before, p
    for name in os.listdir(HOME):
        assert os.lstat(os.path.join(HOME, name)).st_uid == SERVICE, name


@check("root does not run the service by mistake")
def not_as_root():
    p = ask("run", "--unattended", "--home", HOME)
    assert p.returncode == 8 and b"sudo -u '#%d'" % SERVICE in p.stderr, p


@check("the next start finds what the first one made")
def again():
    before = open(HOME + "/key-passphrase").read(), json.load(open(HOME + "/keys.json"))
    p = start("--name", "called-otherwise")
    assert before == (open(HOME + "/key-passphrase").read(), json.load(open(HOME + "/keys.json")))
    stop(p)


USER = 4242
BUSY = """
import ctypes, os, sys
libc, folder, roots = ctypes.CDLL(None), sys.argv[1], sys.argv[2]
mine, link = folder + "/.ironmesh.restore-0123456789abcdef", folder + "/link"
os.symlink(roots, link)
print("go", flush=True)
while True:
    try:
        os.mkdir(mine, 0o700)
    except OSError:
        pass
    for i in range(200):
        libc.renameat2(-100, mine.encode(), -100, link.encode(), 2)
"""


def of_a_user(name):
    folder = os.path.join("/home", name)
    os.mkdir(folder)
    os.chown(folder, USER, USER)
    return folder


def of_root(name, *files):
    folder = os.path.join("/root", name)
    os.mkdir(folder, 0o755)
    for f in files:
        open(os.path.join(folder, f), "w").write("of root\n")
    return folder


@check("a link that a user has for his folder leads root nowhere")
def links_of_a_user():
    folder, roots = of_a_user("links"), of_root("linked", "known_peers.json")
    home = os.path.join(folder, ".ironmesh")
    os.symlink(roots, home)
    os.lchown(home, USER, USER)
    for words in (("setup", "--yes", "--name", "x"), ("setup", "--yes", "--name", "x", "--new-mesh"), ("peers",),
                  ("keys", "generate", "--name", "x", "--clear"), ("doctor", "--fix")):
        for path in (home, home + "/"):
            p = ask(*words, "--home", path)
            assert p.returncode != 0, p
            assert os.listdir(roots) == ["known_peers.json"], (words, os.listdir(roots))
    os.remove(home)
    os.mkdir(home, 0o700)
    os.chown(home, USER, USER)
    p = ask("setup", "--yes", "--name", "x", "--new-mesh", "--home", home)
    assert p.returncode == 0, p
    for name in ["."] + os.listdir(home):
        assert os.lstat(os.path.join(home, name)).st_uid == USER, name
    assert {"ironmesh.conf", "keys.json", "passphrase"} <= set(os.listdir(home))


@check("nor does what he puts in the place of a folder while root looks at it")
def swaps_of_a_user():
    names = ("key.pem", "cert.pem", "ironmesh.conf", "keys.json")
    folder, roots, empty = of_a_user("swaps"), of_root("swapped", *names), of_root("nothing")
    home = os.path.join(folder, ".ironmesh")
    os.mkdir(home, 0o700)
    os.chown(home, USER, USER)
    busy = subprocess.Popen([sys.executable, "-c", BUSY, folder, roots], stdout=subprocess.PIPE, preexec_fn=as_user(USER, USER))
    try:
        busy.stdout.readline()
        for i in range(60):
            p = ask("import", empty, "--home", home)
            assert p.returncode != 0, p
            assert sorted(os.listdir(roots)) == sorted(names), (i, os.listdir(roots))
            assert all(os.stat(os.path.join(roots, n)).st_uid == 0 for n in names)
    finally:
        busy.kill()
        busy.wait()


failed = sum(1 for e in results if e)
print("test_service: %d passed, %d failed" % (len(results) - failed, failed))
sys.exit(1 if failed else 0)
