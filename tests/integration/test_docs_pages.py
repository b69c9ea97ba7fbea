#!/usr/bin/env python3
"""Every command that docs/*.md and README.md print is run as printed, page by page, with real daemons (`make check-docs`).

What a page may say is in CONTRIBUTING.md, "Documents". README.md's tour has a test of its own in test_docs.py, since it needs a
person at two machines; here its other commands are looked at. Prints every command that is marked as not run.
"""
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from docpages import Page
from ironlab import _die_with_parent

BINARY = os.path.abspath(os.environ.get("IRONMESH", os.path.join(ROOT, "build/release/ironmesh")))
ONLY = [a for a in sys.argv[1:] if not a.startswith("-")]
TOUR = ("## Five minutes", "## What a state")  # of README.md: run by test_docs.py


class Commands:
    """What the program knows: to check commands that stand in prose."""

    def __init__(self):
        help_ = json.loads(subprocess.run([BINARY, "help", "--json"], check=True, capture_output=True).stdout)
        self.everywhere = {o["name"] for o in help_["global_options"]}
        self.commands = {}
        for c in help_["commands"]:
            self.commands[tuple(c["command"].split()[1:])] = {o["name"] for o in c["options"]}

    def wrong(self, text):
        try:
            words = [w for w in shlex.split(text)[1:]]
        except ValueError:
            return "it is no shell command"
        plain = [w for w in words if not w.startswith("-")]
        if not plain or not re.match(r"^[a-z-]+$", plain[0]):
            return ""
        options = self.commands.get(tuple(plain[:2])) or self.commands.get(tuple(plain[:1]))
        group = [k for k in self.commands if k[0] == plain[0]]
        if options is None and not group and plain[0] not in ("help",):
            return "there is no command '%s'" % plain[0]
        if options is None:
            # The group alone is its first command; `a | b` names several.
            if len(plain) > 1 and words.index(plain[1]) == words.index(plain[0]) + 1 and re.match(r"^[a-z-]+$", plain[1]) and (plain[0], plain[1]) not in self.commands:
                return "'%s' has no '%s'" % (plain[0], plain[1])
            options = set().union(*(self.commands[k] for k in group)) if group else set()
        for w in words:
            m = re.match(r"--([a-z][a-z0-9-]*)", w)
            if m and m.group(1) not in options | self.everywhere | {"help", "version"}:
                return "%s has no option --%s" % (" ".join(plain[:2]), m.group(1))
        return ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Place:
    """A folder that is cwd and HOME of a page, and what runs in it."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {}
        self.daemons, self.others = [], []
        self.variables = {}
        os.mkdir(os.path.join(folder, "bin"))
        os.symlink(BINARY, os.path.join(folder, "bin/ironmesh"))
        os.symlink("/bin/true", os.path.join(folder, "bin/xdg-open"))  # no page opens on the desktop of who runs this
        self.log = open(os.path.join(folder, "log"), "ab")

    def env(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("IRONMESH") and k != "STATE_DIRECTORY"}
        env.update(self.variables, HOME=self.folder, PATH=self.folder + "/bin:" + env["PATH"], NO_COLOR="1")
        return env

    def port(self, number):
        return str(self.ports.setdefault(number, free_port()))

    def local(self, text):
        return re.sub(r"((?:--port[ =]|127\.0\.0\.1:|localhost:))(\d{4,5})\b", lambda m: m.group(1) + self.port(m.group(2)), text)

    def spawn(self, text, out):
        return subprocess.Popen(["bash", "-c", "exec " + text], cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL, stdout=out,
                                stderr=self.log, preexec_fn=_die_with_parent)

    def only_the_walls(self):
        """The doctor has nothing else to say than that this build, of a sanitizer, stands without some of them."""
        p = subprocess.run(["bash", "-c", "ironmesh doctor --json"], cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=90)
        checks = json.loads(p.stdout)["checks"]
        found = [c for c in checks if c["state"] in ("warning", "failure")]
        return [c["name"] for c in found] == ["walls"] and "sanitizer" in json.dumps(found)

    def run(self, text, code=0):
        if re.match(r"ironmesh( --home \S+)? run\b", text) and "--help" not in text:
            return self.daemon(text)
        text = self.local(text)
        if re.search(r"--follow\b", text) or re.match(r"ironmesh events(?! --count)", text) or text.endswith("&"):
            p = self.spawn(text.rstrip("& "), self.log)
            time.sleep(0.5)
            assert p.poll() is None, self.tail()
            self.others.append(p)
            return ""
        p = subprocess.run(["bash", "-c", "set -o pipefail\n" + text], cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=90, preexec_fn=_die_with_parent)
        self.log.write(("$ %s\n" % text).encode() + p.stdout + p.stderr)
        self.log.flush()
        if text.startswith("ironmesh doctor") and p.returncode == 1 and code == 0 and self.only_the_walls():
            return p.stdout.decode()
        assert p.returncode == code, "ended with %d, not %d: %s" % (p.returncode, code, (p.stderr or p.stdout).decode()[-600:])
        return p.stdout.decode()

    def daemon(self, text):
        # On this machine alone, and without a word on its network.
        for option in (["--port 8765"] if "--port" not in text and "--no-listen" not in text else []) + \
                (["--bind 127.0.0.1"] if "--bind" not in text and "--no-listen" not in text else []) + \
                (["--discovery off"] if "--discovery" not in text else []):
            text += " " + option
        text = self.local(text)
        words = shlex.split(text)
        home = words[words.index("--home") + 1] if "--home" in words else os.path.join(self.folder, ".ironmesh")
        p = self.spawn(text, self.log)
        self.daemons.append(p)
        for _ in range(600):
            assert p.poll() is None, self.tail()
            done = subprocess.run([BINARY, "status", "--home", home], cwd=self.folder, env=self.env(), capture_output=True)
            if done.returncode == 0 and os.path.exists(os.path.join(self.folder, home, "control.sock")):
                return ""
            time.sleep(0.05)
        raise AssertionError("it does not answer: " + self.tail())

    def tail(self):
        self.log.flush()
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-800:]

    def setup(self, text):
        """Shell, in this process' variables: what it exports stays for the commands that follow."""
        p = subprocess.run(["bash", "-c", "set -eo pipefail\n%s\nenv -0 >.env" % self.local(text)], cwd=self.folder, env=self.env(),
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=90, preexec_fn=_die_with_parent)
        assert p.returncode == 0, "setup ended with %d: %s" % (p.returncode, p.stderr.decode()[-600:])
        with open(os.path.join(self.folder, ".env"), encoding="utf-8") as f:
            after = dict(e.split("=", 1) for e in f.read().split("\0") if "=" in e)
        before = self.env()
        self.variables.update({k: v for k, v in after.items() if before.get(k) != v and k not in ("_", "SHLVL", "PWD", "OLDPWD")})

    def given(self, text):
        """node NAME runs at ~/.ironmesh, port 8765; peer NAME runs at ./NAME, port 9002 and so on, trusted both ways, and has sent a message; pending NAME has
        come, and nobody has decided."""
        parts = [w.split() for w in re.split(r"[,;]\s*", text)]
        node = [n for k, n in parts if k == "node"][0]
        self.run("ironmesh keys generate --name %s --new-mesh mesh.pass" % node)
        self.run("ironmesh run --name %s --passphrase-file mesh.pass --port 8765" % node)
        for kind, name in parts:
            if kind == "node":
                continue
            self.run("ironmesh keys generate --home %s --name %s --clear" % (name, name))
            self.run("ironmesh run --home %s --name %s --passphrase-file mesh.pass --port %d --peer 127.0.0.1:8765" %
                     (name, name, 9001 + len(self.daemons)))
            self.until("ironmesh peers show " + name)
            if kind == "peer":
                self.until("ironmesh peers approve %s --home %s" % (node, name))
                self.run("ironmesh peers approve " + name)
                self.until('ironmesh send --home %s %s "hello from %s" --wait 5s' % (name, node, name))

    def until(self, text):
        for i in range(100):
            try:
                return self.run(text)
            except AssertionError:
                if i == 99:
                    raise
                time.sleep(0.1)

    def close(self):
        codes = []
        for p in self.others:
            p.send_signal(signal.SIGTERM)
            p.wait(20)
        for p in self.daemons:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
            codes.append(p.wait(30))
        return codes


class Count:
    pages = ran = named = root = tour = examples = 0
    skipped = []
    failures = []


def fail(page, line, text, why):
    Count.failures.append(1)
    print("  FAIL %s:%d: %s\n       %s" % (page.name, line, text, why), flush=True)


def command(page, place, commands, item):
    if re.match(r"make(\s|$)", item.text):
        p = subprocess.run(["make", "-n", "-C", ROOT, *shlex.split(item.text)[1:]], capture_output=True)
        Count.named += 1
        assert p.returncode == 0, p.stderr.decode()[-300:]
    elif item.skip:
        assert not item.text.startswith("ironmesh ") or not commands.wrong(item.text), commands.wrong(item.text)
        if item.root:
            Count.root += 1
        else:
            Count.skipped.append("%s:%d: %s (%s)" % (page.name, item.line, item.text, item.skip))
    elif page.name == "README.md" and in_tour(page, item.line):
        Count.tour += 1
    else:
        place.run(item.text, item.code)
        Count.ran += 1


def check_page(page, commands):
    with tempfile.TemporaryDirectory(prefix="ironmesh-docs-") as folder:
        place = Place(folder)
        try:
            for item in page.items:
                try:
                    if item.kind == "given":
                        place.given(item.text)
                    elif item.kind == "setup":
                        place.setup(item.text)
                    elif item.kind == "prose":
                        Count.named += 1
                        assert not commands.wrong(item.text), commands.wrong(item.text)
                    else:
                        command(page, place, commands, item)
                except (AssertionError, subprocess.TimeoutExpired) as e:
                    fail(page, item.line, item.text, str(e))
        finally:
            codes = place.close()
        if any(codes):
            fail(page, 1, "the daemons of this page", "ended with %s" % codes)
    Count.pages += 1


# These make something new: each has a folder of its own, without a daemon.
ALONE = ("keys", "run", "demo", "setup", "restore", "import", "completion", "help", "version", "config")


WRONG_USE = re.compile(r"unknown option|takes no value|needs a value|one argument too many|needs \d+ argument|there is no command|has no '")


def check_examples(page, commands):
    """The examples of the commands stand alone, and speak of peers and messages that are not there: here none may be wrong use. Those that wait are ended after a moment."""
    with tempfile.TemporaryDirectory(prefix="ironmesh-docs-") as folder:
        place = Place(folder)
        try:
            place.given("node alice, peer bob")
            for item in page.items:
                if item.kind != "command":
                    continue
                word = re.sub(r"^.*?ironmesh ", "", item.text).split()[0]
                if commands.wrong(re.sub(r"^.*?(?=ironmesh )", "", item.text).split("|")[0].split(">")[0]):
                    fail(page, item.line, item.text, "no such command or option")
                    continue
                env, cwd = place.env(), folder
                if word in ALONE:
                    cwd = tempfile.mkdtemp(dir=folder)
                    env["HOME"] = cwd
                for name in ("photo.jpg", "mesh.pass"):
                    if not os.path.exists(os.path.join(cwd, name)) and word != "keys":
                        with open(os.path.join(cwd, name), "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                            f.write("correct-horse-battery\n")
                text = place.local(item.text.replace("...", ":"))
                p = subprocess.Popen(["bash", "-c", text + "\nexit ${PIPESTATUS[-1]}" if "|" not in text.split("ironmesh")[-1] else
                                      text + "\nexit ${PIPESTATUS[0]}"], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                                     stdout=place.log, stderr=subprocess.PIPE, preexec_fn=_die_with_parent, start_new_session=True)
                try:
                    said = p.communicate(timeout=1.5)[1].decode()
                except subprocess.TimeoutExpired:
                    os.killpg(p.pid, signal.SIGKILL)
                    p.communicate()
                    said = ""
                Count.examples += 1
                if p.returncode == 2 and WRONG_USE.search(said):
                    fail(page, item.line, item.text, said)
        finally:
            place.close()
    Count.pages += 1


def in_tour(page, line):
    first = [i for i, s in enumerate(page.lines) if s.startswith(TOUR[0])][0]
    last = [i for i, s in enumerate(page.lines) if s.startswith(TOUR[1])][0]
    return first < line <= last


def main():
    commands = Commands()
    names = ["README.md"] + sorted("docs/" + n for n in os.listdir(os.path.join(ROOT, "docs")) if n.endswith(".md"))
    for name in names:
        if ONLY and not any(o in name for o in ONLY):
            continue
        (check_examples if name == "docs/commands.md" else check_page)(Page(name), commands)
    for s in Count.skipped:
        print("  not run: " + s)
    print("test_docs_pages: %d passed, %d failed" % (Count.pages, len(Count.failures)))
    print("  %d commands run, %d by the tour of test_docs.py, %d by make package-check, %d marked as not run; %d examples of commands tried; "
          "%d in prose and make targets looked up" %
          (Count.ran, Count.tour, Count.root, len(Count.skipped), Count.examples, Count.named))
    sys.exit(1 if Count.failures else 0)


main()
