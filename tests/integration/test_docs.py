#!/usr/bin/env python3
"""The documents against the program: the tour of README.md is run command by command, docs/commands.md is
what the program says, docs/counters.md names every counter, docs/control.md's limits hold elsewhere.

Prints `test_docs: N passed, M failed`.
"""
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(
    sys.argv[1] if len(sys.argv) > 1 else os.environ.get("IRONMESH", os.path.join(ROOT, "build/release/ironmesh"))
)
results = []


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def check(name):
    def run(fn):
        try:
            fn()
            results.append((name, None))
            print("  ok   " + name)
        except Exception as e:  # a test reports every failure, whatever it is
            results.append((name, e))
            print("  FAIL %s: %r" % (name, e))
        return fn

    return run


def code_lines(text):
    """Commands of the indented blocks, continuation lines joined."""
    joined = re.sub(r"\\\n\s+", "", text)
    return [line[4:].split("   #")[0].strip() for line in joined.split("\n") if line.startswith("    ironmesh ")]


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@check("the tour of README.md runs as printed")
def tour():
    with tempfile.TemporaryDirectory(prefix="ironmesh-docs-") as d:
        env = dict(os.environ, HOME=d)
        env.pop("IRONMESH_HOME", None)
        ports = {"9001": str(free_port()), "9002": str(free_port()), "9003": str(free_port())}
        daemons, followers, outputs, shows = [], [], [], []

        def run(words, ok=(0,)):
            p = subprocess.run([BINARY] + words, cwd=d, env=env, capture_output=True, timeout=60,
                               stdin=subprocess.DEVNULL)
            assert p.returncode in ok, (words, p.returncode, p.stdout, p.stderr)
            return p.stdout.decode()

        try:
            for line in code_lines(read("README.md").split("## Five minutes")[1].split("## What a state")[0]):
                for a, b in ports.items():
                    line = line.replace(a, b)
                words = shlex.split(line)[1:]
                if words[0] == "run":
                    log = open(os.path.join(d, "log"), "ab")
                    daemons.append(subprocess.Popen([BINARY] + words, cwd=d, env=env, stderr=log, stdout=log))
                    if len(daemons) == 2:
                        for home, other in (("A", "bob"), ("B", "alice")):
                            for _ in range(200):
                                if not os.path.exists(os.path.join(d, home, "control.sock")):
                                    time.sleep(0.1)  # asked without a daemon, the command would hold its lock
                                    continue
                                p = subprocess.run([BINARY, "peers", "list", "--json", "--home", home], cwd=d, env=env,
                                                   capture_output=True)
                                if p.returncode == 0 and other in p.stdout.decode():
                                    break
                                time.sleep(0.1)
                    continue
                if words[0] == "pair" and not shows:
                    for _ in range(200):
                        if os.path.exists(os.path.join(d, "C", "control.sock")):
                            break
                        time.sleep(0.1)
                    shows.append(subprocess.Popen([BINARY] + words, cwd=d, env=env, stdout=subprocess.PIPE,
                                                  stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                    code = shows[0].stdout.readline().decode().strip()
                    continue
                if words[0] == "pair":
                    # What is printed there is somebody else's code.
                    words[1] = code
                    outputs.append((" ".join(words), run(words)))
                    assert shows[0].wait(20) == 0 and b"paired with carol" in shows[0].stdout.read()
                    continue
                if "--follow" in words:
                    out = open(os.path.join(d, "followed"), "wb")
                    followers.append(subprocess.Popen([BINARY] + words, cwd=d, env=env, stdout=out, stdin=subprocess.DEVNULL))
                    time.sleep(0.5)
                    continue
                if "MSG_ID" in words:
                    seen = json.loads(run(["inbox", "--home", words[words.index("--home") + 1], "--json"]))["messages"]
                    words = [seen[-1]["msg_id"] if w == "MSG_ID" else w for w in words]
                outputs.append((" ".join(words), run(words)))
            said = lambda what: [o for w, o in outputs if w.startswith(what)]
            assert re.search(r"delivered in \d+ ms via ws", said("send")[0]), outputs
            assert re.search(r"paired with alice, fingerprint( [0-9a-f]{4}){4}", said("pair")[0]), outputs
            assert [o for w, o in outputs if "hello, carol" in w and "delivered" in o], outputs
            took = said("recv")
            assert "hello" in took[0] and "what is 6*7?" in took[1] and "conversation" in took[1], took
            assert any("read" in o for o in said("outbox")), outputs
            assert "im2" in said("peers list")[-1], outputs
            assert re.search(r"im2 +on; mesh key ready", said("status")[0]), outputs
            for _ in range(100):
                answers = json.loads(run(["inbox", "--home", "A", "--json"]))["messages"]
                if answers:
                    break
                time.sleep(0.1)
            request = json.loads(run(["inbox", "--home", "B", "--json"]))["messages"][-1]
            assert answers[-1]["reply_to"] == request["msg_id"] and answers[-1]["turn"] == 1, (answers, request)
            assert answers[-1]["conversation"] == request["conversation"] and answers[-1]["kind"] == "response"
            again = [w.split(" ") for w, _ in outputs if w.endswith("--volatile")][0]
            for _ in range(10):
                if "t=21.5" in read(os.path.join(d, "followed")):
                    break
                time.sleep(1)
                run(again)  # it came before somebody listened: what is volatile is kept for nobody
            assert "t=21.5" in read(os.path.join(d, "followed"))
        finally:
            for p in followers + shows:
                p.terminate()
                p.wait(20)
            for p in daemons:
                p.terminate()
            codes = [p.wait(20) for p in daemons]
        assert codes == [0] * len(daemons), codes


@check("docs/commands.md is what the program says")
def commands():
    made = subprocess.run([os.path.join(ROOT, "tests/lib/make-commands-doc"), BINARY], check=True, capture_output=True)
    assert made.stdout.decode() == read("docs/commands.md"), "run `make docs` and commit docs/commands.md"


@check("ironmesh.conf, its manual page and docs/configuration.md are what the program says")
def settings():
    with tempfile.TemporaryDirectory(prefix="ironmesh-docs-") as d:
        subprocess.run([os.path.join(ROOT, "tests/lib/make-config-docs"), BINARY, d], check=True)
        for name in ("packaging/ironmesh.conf", "docs/man/ironmesh.conf.5.scd", "docs/configuration.md"):
            with open(os.path.join(d, name), encoding="utf-8") as f:
                assert f.read() == read(name), "run `make docs` and commit " + name
        # The example is right as it stands, and with every default said aloud.
        path = os.path.join(d, "all.conf")
        with open(path, "w") as out:
            for line in read("packaging/ironmesh.conf").splitlines():
                out.write((line[1:] if re.match(r"#[a-z_0-9]+ = .", line) else line) + "\n")
        os.chmod(path, 0o600)
        said = json.loads(subprocess.run([BINARY, "config", "diff", "--config", path, "--json"], check=True,
                                         capture_output=True).stdout)
        assert said["changes"] == [], said
        said = json.loads(subprocess.run([BINARY, "config", "show", "--config", path, "--json"], check=True,
                                         capture_output=True).stdout)
        assert len(said["values"]) > 20, said


@check("the manual pages are what the program says, and are well formed")
def manual():
    with tempfile.TemporaryDirectory(prefix="ironmesh-docs-") as d:
        subprocess.run([os.path.join(ROOT, "tests/lib/make-man-pages"), BINARY, d], check=True)
        names = os.listdir(d)
        for name in names:
            with open(os.path.join(d, name), encoding="utf-8") as f:
                assert f.read() == read("docs/man/" + name), "run `make docs` and commit docs/man/" + name
        there = os.listdir(os.path.join(ROOT, "docs/man"))
        stale = [n for n in there if n not in names and n.endswith((".1.scd", ".8.scd"))]
        assert not stale, stale
        for name in there:
            page = os.path.join(d, name[:-4])
            with open(page, "wb") as out:
                subprocess.run(["scdoc"], input=read("docs/man/" + name).encode(), stdout=out, check=True)
            said = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True).stdout.decode()
            # What scdoc always writes, and no reader sees.
            wrong = [w for w in said.splitlines() if "skipping paragraph macro: PP" not in w]
            assert not wrong, wrong
            shown = subprocess.run(["mandoc", "-T", "utf8", page], capture_output=True).stdout
            assert len(shown.splitlines()) > 10, name


@check("every weakness of the old wire has a test or a reason, and THREAT_MODEL.md shows them")
def weaknesses():
    p = subprocess.run([os.path.join(ROOT, "tests/lib/make-weakness-table"), "--check"], capture_output=True)
    assert p.returncode == 0, p.stderr.decode()


@check("every file and every test that THREAT_MODEL.md, SECURITY.md and the walls name is there")
def evidence():
    tree = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True).stdout.decode().split()
    if not tree:  # an unpacked archive
        tree = [os.path.relpath(os.path.join(d, f), ROOT) for d, _, files in os.walk(ROOT) for f in files if "/build/" not in d + "/"]
    sources = [f for f in tree if f.startswith("tests/") and f.endswith((".c", ".py", ".h")) or "_attack" in f]
    words = set()
    for f in sources:
        words.update(re.findall(r"\w+", read(f)))
    # weakness_NN_... stand without their number in the table that is made from them.
    words.update([w[12:] for w in words if re.match(r"weakness_\d\d_", w)])
    missing = []
    for name in ("THREAT_MODEL.md", "SECURITY.md", "docs/walls.md", "docs/security-model.md"):
        text = read(name)
        # dir/file.c, test_file.py, test_pairing*.c, and a folder with an end like tests/unit/*/...
        for path in set(re.findall(r"(?<![\w/.-])((?:[\w*.-]+/)*[\w*.-]+\.(?:c|h|py|mk|md))(?![\w(])", text)):
            pattern = re.compile(r"(^|/)" + re.escape(path).replace(r"\*", r"[^/]*") + "$")
            if not any(pattern.search(f) for f in tree) and not os.path.exists(os.path.join(ROOT, os.path.dirname(name), path)):
                missing.append((name, path))
        for folder in set(re.findall(r"(?<![\w/.])((?:[a-z0-9_]+/)+)(?=[\s,;.)|])", text)):
            if not os.path.isdir(os.path.join(ROOT, folder)) and not os.path.isdir(os.path.join(ROOT, "docs", folder)):
                missing.append((name, folder))
        for test in set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`", text)):
            if test not in words:
                missing.append((name, test))
    assert not missing, missing


@check("docs/counters.md names every counter of a running daemon, and no other")
def counters():
    named = set(re.findall(r"`([a-z0-9_]+)`", read("docs/counters.md").split("|---|---|")[1]))
    with tempfile.TemporaryDirectory(prefix="ironmesh-docs-") as d:
        with open(os.path.join(d, "pass"), "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write("correct-horse-battery\n")
        p = subprocess.Popen([BINARY, "run", "--home", d + "/h", "--name", "n", "--bind", "127.0.0.1", "--port", "0",
                              "--passphrase-file", d + "/pass", "--clear-keys", "--json"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert json.loads(p.stdout.readline())["schema"] == "ironmesh.ready/1"
            out = subprocess.run([BINARY, "status", "--json", "--home", d + "/h"], check=True, capture_output=True).stdout
        finally:
            p.terminate()
            assert p.wait(20) == 0
    real = set(json.loads(out)["counters"])
    assert named == real, (named - real, real - named)


@check("exit codes of base/err.h, the help and docs/commands.md agree")
def exits():
    table = {int(c): t for c, t in re.findall(r'X\(EXIT_\w+, (\d+), "([^"]+)"\)', read("base/err.h"))}
    doc = {int(c): t for c, t in re.findall(r"^\| (\d+) \| (.+) \|$", read("docs/commands.md"), re.M)}
    assert table == doc, (table, doc)


@check("every make target that the documents name exists")
def targets():
    text = read("README.md") + read("CONTRIBUTING.md")
    named = set(re.findall(r"`make ([a-z][a-z-]*)", text)) | set(re.findall(r"^    make ([a-z][a-z-]*)", text, re.M))
    for t in sorted(named):
        p = subprocess.run(["make", "-n", "-C", ROOT, t], capture_output=True)
        assert p.returncode == 0, (t, p.stderr[-300:])


@check("links between the documents lead somewhere, and docs/README.md leads to every page")
def links():
    index = re.findall(r"\]\(([a-z0-9-]+\.md)\)", read("docs/README.md"))
    pages = [f for f in os.listdir(os.path.join(ROOT, "docs")) if f.endswith(".md") and f != "README.md"]
    assert sorted(set(index)) == sorted(pages), set(index) ^ set(pages)
    for name in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "THREAT_MODEL.md"] + [
        "docs/" + f for f in os.listdir(os.path.join(ROOT, "docs")) if f.endswith(".md")
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", read(name)):
            path = os.path.join(ROOT, os.path.dirname(name), target)
            assert os.path.exists(path), (name, target)


failed = sum(1 for _, e in results if e)
print("test_docs: %d passed, %d failed" % (len(results) - failed, failed))
sys.exit(1 if failed else 0)
