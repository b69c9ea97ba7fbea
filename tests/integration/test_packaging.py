#!/usr/bin/env python3
"""What leaves the house, as far as it can be seen without installing it: the source archive has the same bytes whenever and wherever
it is made, two builds of the program are equal, units are well formed and closed, the container file names what is there, completions
work in the three shells. The rest is `make package-check`.

Prints `test_packaging: N passed, M failed`; what a missing shell or program leaves out is a SKIP line.
"""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from ironlab import Lab

BINARY = os.path.abspath(os.environ.get("IRONMESH", os.path.join(ROOT, "build/release/ironmesh")))
results = []


def check(name, needs=None):
    def run(fn):
        if needs and not shutil.which(needs):
            print("  SKIP %s: %s is not installed" % (name, needs))
            return fn
        try:
            fn()
            results.append(None)
            print("  ok   " + name, flush=True)
        except Exception as e:  # a test reports every failure, whatever it is
            results.append(e)
            print("  FAIL %s: %r" % (name, e), flush=True)
        return fn

    return run


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


work = tempfile.TemporaryDirectory(prefix="ironmesh-packaging-")
VERSION = read("VERSION").strip()
ARCHIVE = "ironmesh-%s.tar.gz" % VERSION


def dist(tree, out):
    subprocess.run([os.path.join(tree, "packaging/make-dist"), out], check=True, capture_output=True)
    return os.path.join(out, ARCHIVE)


@check("the source archive has the same bytes from the repository, from a copy elsewhere and from an archive")
def reproducible():
    first = dist(ROOT, os.path.join(work.name, "one"))
    unpacked = os.path.join(work.name, "elsewhere")
    os.mkdir(unpacked)
    subprocess.run(["tar", "-C", unpacked, "-xzf", first], check=True)
    time.sleep(1.1)
    tree = os.path.join(unpacked, "ironmesh-" + VERSION)
    second = dist(tree, os.path.join(work.name, "two"))
    assert digest(first) == digest(second)
    for name in ("ironmesh-%s.spdx" % VERSION, "ironmesh-%s.sha256" % VERSION):
        assert digest(os.path.join(work.name, "one", name)) == digest(os.path.join(work.name, "two", name)), name
    listed = subprocess.run(["tar", "-tvzf", first], check=True, capture_output=True).stdout.decode().splitlines()
    assert all(re.match(r"^[-dl]rw.r-.r-. 0/0 ", line) for line in listed), [s for s in listed if " 0/0 " not in s][:3]


def read_out(*path):
    with open(os.path.join(work.name, *path), encoding="utf-8") as f:
        return f.read()


@check("the list of parts (SPDX) names every library that the program is linked to")
def parts():
    spdx = read_out("one", "ironmesh-%s.spdx" % VERSION)
    assert "SPDXVersion: SPDX-2.3" in spdx
    linked = subprocess.run(["ldd", BINARY], check=True, capture_output=True).stdout.decode()
    for soname in ("sodium", "websockets", "uv", "sqlite3", "jansson", "ssl", "qrencode"):
        assert "lib%s" % soname in linked and re.search(r"^PackageName: lib%s" % soname, spdx, re.M), soname
    ids = re.findall(r"^SPDXID: (.+)$", spdx, re.M)
    assert len(ids) == len(set(ids)) and len(ids) > 8


@check("the units are well formed, and the service is as closed as it should be", needs="systemd-analyze")
def units():
    folder = os.path.join(work.name, "units")
    shutil.copytree(os.path.join(ROOT, "packaging/systemd"), folder)
    # Neither the program nor its pages are installed here.
    for name in ("ironmesh.service", "ironmesh-user.service", "ironmesh.socket"):
        text = re.sub(r"(?m)^Documentation=.*$", "", read("packaging/systemd/" + name)).replace("/usr/bin/ironmesh", BINARY)
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    for names in (["ironmesh.service", "ironmesh.socket"], ["ironmesh-user.service"]):
        p = subprocess.run(["systemd-analyze", "verify", *[os.path.join(folder, n) for n in names]], capture_output=True)
        said = [line for line in p.stderr.decode().splitlines() if "ironmesh" in line and "/bin/kill" not in line]
        assert not said, said
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", os.path.join(folder, "ironmesh.service")],
                       check=True, capture_output=True)
    exposure = float(re.search(r"exposure level for ironmesh.service: ([0-9.]+)", p.stdout.decode()).group(1))
    assert exposure <= 2.0, p.stdout.decode()


@check("make install puts everything where it belongs, below DESTDIR")
def install():
    stage = os.path.join(work.name, "stage")
    # With the program under test, whatever its mode is.
    p = subprocess.run(["make", "-C", ROOT, "--no-print-directory", "-o", os.path.relpath(BINARY, ROOT), "install", "DESTDIR=" + stage,
                        "B=" + os.path.relpath(os.path.dirname(BINARY), ROOT), "MODE=release"], capture_output=True)
    assert p.returncode == 0, p.stderr.decode()[-600:]
    for path in ("usr/bin/ironmesh", "usr/lib/systemd/system/ironmesh.service", "usr/lib/systemd/system/ironmesh.socket",
                 "usr/lib/systemd/user/ironmesh.service", "usr/lib/sysusers.d/ironmesh.conf", "usr/lib/tmpfiles.d/ironmesh.conf",
                 "usr/share/man/man1/ironmesh.1", "usr/share/man/man8/ironmesh-run.8", "usr/share/doc/ironmesh/README.md",
                 "usr/share/doc/ironmesh/docs/README.md", "etc/ironmesh/ironmesh.conf"):
        assert os.path.getsize(os.path.join(stage, path)), path
    assert subprocess.run([stage + "/usr/bin/ironmesh", "version"], capture_output=True).returncode == 0


@check("the container file: what it copies is there, what it runs the program understands, and it is no root")
def container():
    text = read("packaging/container/Containerfile").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    words = [s[0] for s in steps]
    assert set(words) <= {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV", "EXPOSE", "VOLUME", "HEALTHCHECK", "ENTRYPOINT",
                          "CMD", "STOPSIGNAL", "LABEL"}, words
    assert words[0] in ("ARG", "FROM") and words.count("FROM") == 2
    for word, rest in steps:
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert glob.glob(os.path.join(ROOT, source)), source
        if word == "RUN":
            assert subprocess.run(["sh", "-n", "-c", rest]).returncode == 0, rest
    user = [r for w, r in steps if w == "USER"][-1]
    assert re.match(r"^[1-9]\d*(:[1-9]\d*)?$", user), user
    packages = re.findall(r"\b(lib[a-z0-9.+-]+-dev)\b", text)
    for p in re.search(r"^DEB_BUILD := ((?:.*\\\n)*.*)$", read("tests/tests.mk"), re.M).group(1).replace("\\\n", " ").split():
        if p.endswith("-dev"):
            assert p in packages, p
    health = [r for w, r in steps if w == "HEALTHCHECK"][0]
    assert "ironmesh" in health and "status" in health and "--quiet" in health
    run = re.findall(r'"([^"]+)"', [r for w, r in steps if w == "ENTRYPOINT"][0]) + \
        re.findall(r'"([^"]+)"', [r for w, r in steps if w == "CMD"][0])
    assert run[1] == "run"
    known = subprocess.run([BINARY, "run", "--help"], check=True, capture_output=True).stdout.decode()
    assert all(o in known for o in run if o.startswith("--")), run


lab = Lab("packaging")
alice, bob = lab.daemon("alice"), lab.daemon("bob")
alice.start()
bob.start("--peer", alice.address)
lab_peers = time.monotonic() + 20
while not any(p["name"] == "bob" for p in alice.call("peers.list")["peers"]) and time.monotonic() < lab_peers:
    time.sleep(0.1)
scripts = os.path.join(work.name, "scripts")
os.mkdir(scripts)
for shell in ("bash", "zsh", "fish"):
    with open(os.path.join(scripts, shell), "wb") as f:
        f.write(subprocess.run([BINARY, "completion", shell], check=True, capture_output=True).stdout)
env = dict(os.environ, PATH=os.path.dirname(BINARY) + ":" + os.environ["PATH"], IRONMESH_HOME=alice.home, HOME=work.name, TERM="dumb")


def offers(shell, line):
    """What the tab key would offer behind `line`, in the real shell."""
    if shell == "bash":
        script = 'source %s/bash; COMP_LINE="%s"; COMP_POINT=${#COMP_LINE}; eval "set -- $COMP_LINE"; COMP_WORDS=("$@"); ' \
                 '[ "${COMP_LINE: -1}" = " " ] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); ' \
                 '_ironmesh; printf "%%s\\n" "${COMPREPLY[@]}"' % (scripts, line)
        words = ["bash", "--norc", "-c", script]
    elif shell == "fish":
        words = ["fish", "--no-config", "-c", "source %s/fish; complete -C '%s'" % (scripts, line)]
    else:
        # compadd, which needs a line editor, is replaced by one that prints what it is given.
        words_of = line.split(" ")
        script = 'compdef() { : }; compadd() { shift; print -l -- ${(P)1} }; _files() { : }; ' \
                 'words=(%s); CURRENT=%d; source %s/zsh; _ironmesh' % (" ".join("'%s'" % w for w in words_of), len(words_of), scripts)
        words = ["zsh", "-f", "-c", script]
    p = subprocess.run(words, env=env, capture_output=True, timeout=20, cwd=work.name)
    assert not p.stderr, p.stderr
    return [w.split("\t")[0] for w in p.stdout.decode().split("\n") if w]


def completes(shell):
    assert "send" in offers(shell, "ironmesh se") and "peers" not in offers(shell, "ironmesh se"), offers(shell, "ironmesh se")
    assert {"list", "approve", "block"} <= set(offers(shell, "ironmesh peers "))
    assert "--trust-on-first-use" in offers(shell, "ironmesh run --tru")
    assert "bob" in offers(shell, "ironmesh send "), offers(shell, "ironmesh send ")
    assert "high" in offers(shell, "ironmesh send --priority "), offers(shell, "ironmesh send --priority ")


@check("completion in bash: commands, options, values, and the names of peers", needs="bash")
def bash():
    completes("bash")


@check("completion in zsh", needs="zsh")
def zsh():
    completes("zsh")


@check("completion in fish", needs="fish")
def fish():
    completes("fish")


@check("a daemon that hangs costs the tab key a moment, not more", needs="bash")
def hangs():
    os.kill(alice.process.pid, 19)
    try:
        began = time.monotonic()
        assert "bob" not in offers("bash", "ironmesh send ")
        assert time.monotonic() - began < 2, time.monotonic() - began
    finally:
        os.kill(alice.process.pid, 18)


bob.stop()
alice.stop()
lab.close()
work.cleanup()
failed = sum(1 for e in results if e)
print("test_packaging: %d passed, %d failed" % (len(results) - failed, failed))
sys.exit(1 if failed else 0)
