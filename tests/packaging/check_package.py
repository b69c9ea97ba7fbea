#!/usr/bin/env python3
"""The packages in a fresh Debian 12 root: check_package.py FOLDER-OF-DEBS

Installs them by apt, looks at what systemd says about the units, boots systemd there, and does what README.md and
docs/operations.md tell an operator: enable, status, pair, send, restart, reload, remove. With --keep the root stays.
Prints `check_package: N passed, M failed`.
"""
import filecmp
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bootlab import Booted, can_boot, in_root, make_root
from docpages import Page

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEBS = os.path.abspath(sys.argv[1])
FRESH = os.path.join(ROOT, "build/root/fresh")
UNITS = ["/lib/systemd/system/ironmesh.service", "/lib/systemd/system/ironmesh.socket"]
EXPOSURE_MAX = 2.0
results = []
booted = None


def check(name):
    def run(fn):
        began = time.monotonic()
        try:
            fn()
            results.append(None)
            print("  ok   %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
        except subprocess.CalledProcessError as e:
            results.append(e)
            print("  FAIL %s: %s ended with %d\n%s" % (name, e.cmd, e.returncode, (e.output or b"").decode() + (e.stderr or b"").decode()))
        except Exception as e:  # a test reports every failure, whatever it is
            results.append(e)
            print("  FAIL %s: %r" % (name, e), flush=True)
        return fn

    return run


def said(p):
    return (p.stdout + (p.stderr or b"")).decode()


why = can_boot()
if why:
    print("SKIP check_package: " + why)
    sys.exit(1 if os.environ.get("REQUIRE_LAN") else 0)


@check("a fresh root; apt installs the package and what it needs")
def install():
    make_root(os.path.join(ROOT, "build/root/debian.tar"), FRESH, ["systemd", "systemd-sysv", "dbus", "iproute2", "man-db", "avahi-daemon"])
    for deb in glob.glob(DEBS + "/ironmesh_*.deb") + glob.glob(DEBS + "/ironmesh-doc_*.deb"):
        shutil.copy(deb, FRESH + "/root")
    in_root(FRESH, "sh", "-c", "apt-get update -qq && apt-get install -qq --no-install-recommends /root/*.deb && "
            "useradd --create-home anna && useradd --create-home --groups ironmesh berta", timeout=600)


@check("systemd finds nothing wrong with the units, and the service is as closed as it should be")
def units():
    p = in_root(FRESH, "systemd-analyze", "verify", *UNITS)
    assert not said(p).strip(), said(p)
    p = in_root(FRESH, "systemd-analyze", "security", "--offline=true", "--no-pager", UNITS[0])
    exposure = float(re.search(r"exposure level for ironmesh.service: ([0-9.]+)", said(p)).group(1))
    assert exposure <= EXPOSURE_MAX, said(p)
    print("       exposure %.1f" % exposure)


@check("manual pages and completions are where they are looked for")
def pages():
    assert "SYNOPSIS" in said(in_root(FRESH, "sh", "-c", "man -P cat ironmesh && man -P cat ironmesh-send && man -P cat 8 ironmesh-run"))
    for path in ("bash-completion/completions/ironmesh", "zsh/vendor-completions/_ironmesh", "fish/vendor_completions.d/ironmesh.fish"):
        assert os.path.exists(FRESH + "/usr/share/" + path), path


@check("nothing listens and nothing was made before somebody says so")
def quiet():
    global booted
    booted = Booted(FRESH)
    assert booted.run("systemctl", "is-enabled", "ironmesh").stdout.strip() == b"disabled"
    assert booted.run("systemctl", "is-active", "ironmesh", "ironmesh.socket").stdout.split() == [b"inactive", b"inactive"]
    assert os.listdir(FRESH + "/var/lib/ironmesh") == []
    assert booted.run("systemctl", "--global", "is-enabled", "ironmesh").stdout.strip() == b"disabled"


def status(**how):
    p = booted.run("ironmesh", "status", "--json", **how)
    assert p.returncode == 0, said(p)
    return json.loads(p.stdout)


def journal():
    return booted.run("journalctl", "-u", "ironmesh", "-o", "cat", "--no-pager").stdout.decode()


@check("systemctl enable --now ironmesh; sudo ironmesh status")
def enable():
    p = booted.run("systemctl", "enable", "--now", "ironmesh")
    assert p.returncode == 0, said(p) + journal()
    s = status()
    assert s["schema"].startswith("ironmesh.status/"), s
    assert booted.run("systemctl", "is-active", "ironmesh").stdout.strip() == b"active"
    print("       walls: " + ", ".join("%s %s" % (w["name"], w["state"]) for w in s.get("walls", [])))
    for w in s.get("walls", []):
        assert w["state"] == "up" or (w["name"] == "landlock" and "kernel" in w["why"]), w
    errors = booted.run("journalctl", "-u", "ironmesh", "-p", "err", "-o", "cat", "-q", "--no-pager").stdout
    assert not errors, errors


@check("the control socket is systemd's; members of the group are served and others are not")
def sockets():
    st = os.stat("/proc/%s/root/run/ironmesh/control.sock" % booted.pid)
    group = next(line.split(":")[2] for line in open(FRESH + "/etc/group") if line.startswith("ironmesh:"))
    assert st.st_uid == 0 and st.st_gid == int(group) and st.st_mode & 0o7777 == 0o660, st
    status(user="berta")
    assert booted.run("ironmesh", "status", user="anna").returncode == 3
    assert booted.run("ironmesh", "status", "--home", "/var/lib/ironmesh", user="anna").returncode == 8


@check("a user's node pairs with the service by a code, and a message goes each way")
def pair():
    node = booted.start("ironmesh", "run", "--unattended", "--name", "anna", "--port", "9001", "--clear-keys", user="anna")
    try:
        for _ in range(200):
            if booted.run("ironmesh", "status", user="anna").returncode == 0:
                break
            time.sleep(0.1)
        # The service is new too: it begins a mesh with a passphrase from the credential store.
        booted.run("sh", "-c", "mkdir -m 0700 -p /etc/credstore && umask 077 && echo of-the-mesh-in-the-store >/etc/credstore/ironmesh && "
                   "systemctl restart ironmesh", check=True)
        for _ in range(100):
            if "mesh key ready" in said(booted.run("ironmesh", "status")):
                break
            time.sleep(0.1)
        shows = subprocess.Popen(["nsenter", "-t", booted.pid, "-a", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", "ironmesh", "pair"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        code = shows.stdout.readline().decode().strip()
        assert code, shows.stderr.read().decode()
        p = booted.run("ironmesh", "pair", code, "--at", "127.0.0.1:8765", user="anna")
        assert p.returncode == 0, said(p) + journal()
        assert shows.wait(30) == 0
        p = booted.run("ironmesh", "send", "anna", "from the service", "--wait", "10s")
        assert p.returncode == 0 and b"delivered" in p.stdout, said(p)
        assert b"from the service" in booted.run("ironmesh", "recv", user="anna").stdout
        p = booted.run("ironmesh", "send", status()["name"], "to the service", "--wait", "10s", user="anna")
        assert p.returncode == 0, said(p)
        assert b"to the service" in booted.run("ironmesh", "recv", user="berta").stdout
    finally:
        booted.run("pkill", "-u", "anna", "ironmesh")  # what the test holds is only the way into the namespace
        node.wait(20)


@check("ironmesh doctor finds nothing wrong")
def doctor():
    p = booted.run("ironmesh", "doctor", "--json")
    found = json.loads(p.stdout)
    bad = [(c["name"], c["state"], c["what"]) for c in found["checks"] if c["state"] not in ("ok", "skipped")]
    assert p.returncode == 0 and not bad, (p.returncode, bad)


@check("the tests of the package itself (autopkgtest)")
def autopkgtest():
    source = next(iter(glob.glob(DEBS + "/ironmesh-[0-9]*/packaging/debian/tests")))
    for name in ("units", "two-namespaces"):
        shutil.copy(source + "/" + name, FRESH + "/root/" + name)
        p = booted.run("/root/" + name, timeout=180)
        assert p.returncode == 0, (name, said(p))


@check("reload, restart, kill -9: the service comes back with the same identity")
def again():
    before = status()["id"]
    assert booted.run("systemctl", "reload", "ironmesh").returncode == 0, journal()
    assert status()
    assert booted.run("systemctl", "restart", "ironmesh").returncode == 0
    booted.run("systemctl", "kill", "--signal=KILL", "ironmesh", check=True)
    for _ in range(100):
        time.sleep(0.1)
        if booted.run("systemctl", "is-active", "ironmesh").stdout.strip() == b"active" and booted.run("ironmesh", "status").returncode == 0:
            break
    assert status()["id"] == before


@check("stop is orderly, and root works on the stopped node without leaving files of its own")
def stop():
    booted.run("systemctl", "stop", "ironmesh.socket", "ironmesh", check=True)
    p = booted.run("systemctl", "show", "ironmesh", "-p", "Result,ExecMainStatus", "--value")
    assert p.stdout.split() in ([b"success", b"0"], [b"0", b"success"]), said(p)
    p = booted.run("ironmesh", "audit", "verify")
    assert p.returncode == 0, said(p)
    owners = booted.run("find", "/var/lib/ironmesh", "!", "-user", "ironmesh").stdout
    assert not owners, owners
    wide = booted.run("find", "/var/lib/ironmesh", "-perm", "/077").stdout
    assert not wide, wide


@check("every command that docs/operations.md has for root, in its order")
def operations():
    booted.run("sh", "-c", "rm -r /etc/credstore; mkdir -p /root/build/deb && cp /root/*.deb /root/build/deb", check=True)
    for item in Page("docs/operations.md").items:
        if item.root:
            p = booted.run("sh", "-c", "cd /root && " + item.text)
            assert p.returncode == 0, (item.line, item.text, said(p), journal()[-600:])
        if item.text.startswith("systemctl restart"):
            assert status()["id"]
        if item.text.startswith("apt purge"):
            assert not booted.run("find", "/proc", "-maxdepth", "1", "-user", "ironmesh").stdout
            assert not os.path.exists(FRESH + UNITS[0]) and not os.path.exists(FRESH + "/etc/ironmesh/ironmesh.conf")
            assert os.path.exists(FRESH + "/var/lib/ironmesh/keys.json")


@check("a second build, elsewhere and without a cache, gives the same packages byte for byte")
def reproducible():
    with tempfile.TemporaryDirectory(prefix="ironmesh-second-build-") as folder:
        # From the archive that the first was built from: no repository is there.
        subprocess.run(["tar", "-C", folder, "-xzf", *glob.glob(DEBS + "/*.orig.tar.gz")], check=True)
        builder = glob.glob(folder + "/ironmesh-*/packaging/build-deb")[0]
        subprocess.run([builder, folder + "/debs"], check=True, capture_output=True, env=dict(os.environ, CCACHE_DISABLE="1"))
        for deb in glob.glob(DEBS + "/*.deb"):
            assert filecmp.cmp(deb, os.path.join(folder, "debs", os.path.basename(deb)), shallow=False), deb


if booted:
    if any(results):
        print(journal()[-3000:])
    booted.stop()
if "--keep" not in sys.argv:
    shutil.rmtree(FRESH, ignore_errors=True)
failed = sum(1 for e in results if e)
print("check_package: %d passed, %d failed" % (len(results) - failed, failed))
sys.exit(1 if failed else 0)
