"""ironlab -- real daemons for tests: homes, ports, control sockets, logs, and an orderly end.

A test file makes one Lab, starts daemons in it and runs its tests with lab.run(). Everything lives
below one temporary folder, listens on 127.0.0.1 only, and dies with the test: daemons get
SIGKILL when their test does (PR_SET_PDEATHSIG), and close() ends what is left.

The program under test is argv `--ironmesh PATH`, else the environment variable IRONMESH, else
build/release/ironmesh. The environment variable IM2 (off, on, require; default on) is the wire that every
daemon is told to speak, unless its test says otherwise.
"""
import argparse
import atexit
import base64
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PASSPHRASE = "correct-horse-battery-staple-lab"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background ignores it
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class RpcError(Exception):
    """An error answer of the control socket; `err`, `exit`, `means` and `next` as the operator sees them."""

    def __init__(self, error):
        data = error.get("data") or {}
        super().__init__("%s (%s)" % (error.get("message"), data.get("err", error.get("code"))))
        self.code = error.get("code")
        self.message = error.get("message", "")
        self.err = data.get("err")
        self.exit = data.get("exit")
        self.means = data.get("means", "")
        self.next = data.get("next", "")


class Control:
    """One connection to control.sock. Calls may be pipelined with ask() and collected with answer()."""

    def __init__(self, path, timeout=10.0):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.buffer = b""
        self.last_id = 0
        self.answers = {}
        self.events = []

    def close(self):
        self.sock.close()

    def ask(self, method, **params):
        self.last_id += 1
        line = json.dumps({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        self.sock.sendall(line.encode() + b"\n")
        return self.last_id

    def read_line(self, deadline):
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the control socket did not answer in time")
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(65536)
            except socket.timeout:
                raise TimeoutError("the control socket did not answer in time") from None
            if not piece:
                raise ConnectionError("the control socket was closed")
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def answer(self, request_id, timeout=15.0):
        deadline = time.monotonic() + timeout
        while request_id not in self.answers:
            got = self.read_line(deadline)
            if got.get("method") == "event":
                self.events.append(got["params"])
            else:
                self.answers[got.get("id")] = got
        got = self.answers.pop(request_id)
        if "error" in got:
            raise RpcError(got["error"])
        return got["result"]

    def call(self, method, timeout=15.0, **params):
        return self.answer(self.ask(method, **params), timeout)

    def next_event(self, timeout=5.0):
        deadline = time.monotonic() + timeout
        while not self.events:
            got = self.read_line(deadline)
            if got.get("method") == "event":
                self.events.append(got["params"])
            else:
                self.answers[got.get("id")] = got
        return self.events.pop(0)

    def wait_event(self, predicate, timeout=5.0):
        deadline = time.monotonic() + timeout
        while True:
            event = self.next_event(max(0.01, deadline - time.monotonic()))
            if predicate(event):
                return event


def body_of(message):
    """The bytes of an element of inbox.list or inbox.take."""
    if "body_b64" in message:
        return base64.b64decode(message["body_b64"])
    return message["body"].encode()


def wait_for(predicate, timeout=8.0, step=0.02, what="condition"):
    """Polls until `predicate` gives something true and returns it; AssertionError after `timeout`."""
    deadline = time.monotonic() + timeout
    while True:
        got = predicate()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError("waited %.1f s in vain for: %s" % (timeout, what))
        time.sleep(step)


class Daemon:
    """One home folder and, while started, one process on it."""

    def __init__(self, lab, name, port=None, passphrase=PASSPHRASE, clear_keys=True, host="127.0.0.1", home=None):
        """`home`: the folder's name, when two nodes of a test have the same `name`."""
        self.lab = lab
        self.name = name
        self.host = host
        self.port = port or lab.port()
        home = home or name
        self.home = os.path.join(lab.folder, home)
        self.log_path = os.path.join(lab.folder, home + ".log")
        self.pass_path = os.path.join(lab.folder, home + ".pass")
        self.process = None
        self.control = None
        self.options = []
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        descriptor = os.open(self.pass_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(passphrase.encode() + b"\n")
        if not os.path.exists(os.path.join(self.home, "keys.json")):
            # Clear keys save the 0.7 s and 256 MiB that an encrypted key file costs at every start.
            how = ["--clear"] if clear_keys else ["--passphrase-file", self.pass_path]
            self.cli("keys", "generate", "--name", name, *how, check=True)

    def cli(self, *args, check=False, timeout=30, stdin=None):
        done = subprocess.run([self.lab.binary, "--home", self.home, *args], input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              stdin=None if stdin is not None else subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise RuntimeError("ironmesh %s: exit %d\n%s" % (" ".join(args), done.returncode,
                                                            done.stderr.decode(errors="replace")))
        return done

    @property
    def address(self):
        return "%s:%d" % (self.host, self.port)

    def command(self, options):
        return [self.lab.binary, "run", "--home", self.home, "--name", self.name, "--port", str(self.port),
                "--bind", self.host, "--passphrase-file", self.pass_path, *self.wire(options), *options]

    def wire(self, options):
        says = any(o in ("--im2", "--require-im2") or o.startswith("--im2=") for o in options)
        # Nobody is to be found but by what a test says; the lab of namespaces is for the rest.
        quiet = [] if any(o == "--discovery" or o.startswith("--discovery=") for o in options) else ["--discovery", "off"]
        return quiet if says else ["--im2", self.lab.im2, *quiet]

    def spawn(self, options):
        # The death signal follows the thread that starts the process: only the main thread may.
        assert threading.current_thread() is threading.main_thread()
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command(options), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        preexec_fn=_die_with_parent, cwd=self.lab.folder)
        log.close()
        self.lab.started.append(self)

    def start(self, *options, timeout=30.0):
        """Starts with `options`, or again with those of the last time, and waits until `status` answers."""
        if options or not self.options:
            self.options = [str(o) for o in options]
        assert self.process is None, "%s runs already" % self.name
        self.spawn(self.options)
        deadline = time.monotonic() + timeout
        while True:
            code = self.process.poll()
            if code is not None:
                self.process = None
                raise RuntimeError("%s ended at once with %d:\n%s" % (self.name, code, self.log_tail()))
            try:
                self.control = Control(os.path.join(self.home, "control.sock"))
                self.control.call("status", timeout=5)
                return self
            except (OSError, ConnectionError, TimeoutError):
                if self.control:
                    self.control.close()
                    self.control = None
            if time.monotonic() > deadline:
                raise RuntimeError("%s does not answer:\n%s" % (self.name, self.log_tail()))
            time.sleep(0.02)

    def start_refused(self, *options, timeout=30.0):
        """Runs to its own end; the exit code."""
        self.spawn([str(o) for o in options])
        process, self.process = self.process, None
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("%s should have refused to start" % self.name) from None

    def drop_control(self):
        if self.control:
            self.control.close()
            self.control = None

    def stop(self, timeout=20.0):
        """SIGTERM, and the exit code."""
        if not self.process:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("%s did not stop on SIGTERM" % self.name) from None
        finally:
            self.drop_control()
            self.process = None
        return code

    def kill9(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.drop_control()

    def restart(self, *options):
        self.stop()
        return self.start(*options)

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def connect(self):
        """A control connection of its own (threads, events)."""
        return Control(os.path.join(self.home, "control.sock"))

    def call(self, method, timeout=15.0, **params):
        if not self.control:
            self.control = self.connect()
        try:
            return self.control.call(method, timeout, **params)
        except (ConnectionError, TimeoutError, OSError):
            self.drop_control()
            raise

    def refused(self, method, err=None, **params):
        """The RpcError that this call must answer."""
        try:
            got = self.call(method, **params)
        except RpcError as error:
            assert err is None or error.err == err, "%s answered err %s (%s), not %s" % (
                method, error.err, error.message, err)
            return error
        raise AssertionError("%s should be refused and answered %r" % (method, got))

    # --- short forms ---
    def status(self):
        return self.call("status")

    def counters(self):
        return self.status()["counters"]

    @property
    def id(self):
        if not hasattr(self, "_id"):
            self._id = self.call("keys.fingerprint")["id"]
        return self._id

    def send(self, to, body, timeout=15.0, **more):
        if isinstance(body, bytes):
            return self.call("send", timeout, to=to, body_b64=base64.b64encode(body).decode(), **more)
        return self.call("send", timeout, to=to, body=body, **more)

    def inbox(self, **more):
        """All messages, over pages: a page ends where its line would be too long, too."""
        out, after = [], 0
        while True:
            page = self.call("inbox.list", limit=1000, after=after, **more)["messages"]
            out += page
            if not page:
                return out
            after = page[-1]["seq"]

    def outbox(self, **more):
        out, before = [], None
        while True:
            extra = dict(more, before=before) if before else more
            page = self.call("outbox.list", limit=1000, **extra)["messages"]
            out += page
            if len(page) < 1000:
                return out
            before = page[-1]["seq"]

    def take_body(self, body, timeout=8.0, **more):
        """Waits until a message with this body is in the inbox; the message."""
        want = body if isinstance(body, bytes) else body.encode()

        def look():
            return next((m for m in self.inbox(**more) if body_of(m) == want), None)
        return wait_for(look, timeout, what="%r in the inbox of %s" % (want[:60], self.name))

    def peer(self, who):
        try:
            return self.call("peers.show", peer=who)
        except RpcError:
            return None

    def wait_online(self, who, timeout=20.0):
        return wait_for(lambda: (self.peer(who) or {}).get("online") and self.peer(who), timeout,
                        what="%s online at %s" % (who, self.name))

    def wait_offline(self, who, timeout=20.0):
        return wait_for(lambda: self.peer(who) and not self.peer(who)["online"], timeout,
                        what="%s offline at %s" % (who, self.name))

    def log(self):
        try:
            with open(self.log_path, "rb") as f:
                return f.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=25):
        return "\n".join(self.log().splitlines()[-lines:])

    def audit(self, limit=1000):
        return self.call("audit.tail", limit=limit)["entries"]


class Lab:
    def __init__(self, name, description="", extra=None):
        parser = argparse.ArgumentParser(prog=name, description=description)
        parser.add_argument("--ironmesh", default=os.environ.get("IRONMESH") or
                            os.path.join(ROOT, "build", "release", "ironmesh"), help="program under test")
        parser.add_argument("--only", default="", help="run only tests whose name contains this")
        parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
        parser.add_argument("--verbose", action="store_true", help="show logs of failed tests in full")
        if extra:
            extra(parser)
        self.args = parser.parse_args()
        self.name = name
        self.binary = os.path.abspath(self.args.ironmesh)
        self.im2 = os.environ.get("IM2") or "on"
        if self.im2 not in ("off", "on", "require"):
            parser.error("IM2 is off, on or require, not %r" % self.im2)
        if not os.access(self.binary, os.X_OK):
            parser.error("%s is not there; build it first (make)" % self.binary)
        self.folder = tempfile.mkdtemp(prefix="ironlab-%s-" % name)
        self.suite = "0.9" if self.im2 == "off" else "im2"  # what two daemons of this lab speak
        self.started = []
        self.daemons = {}
        self.closers = []
        self.next_port = 20000 + (os.getpid() * 131) % 9000
        self.passed = self.failed = 0
        self.began = time.monotonic()
        atexit.register(self.close)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def port(self):
        """A port of 20000..29999 that is free now on 127.0.0.1."""
        for _ in range(2000):
            self.next_port = 20000 + (self.next_port - 20000 + 1) % 10000
            probe = socket.socket()
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.next_port))
                return self.next_port
            except OSError:
                continue
            finally:
                probe.close()
        raise RuntimeError("no free port")

    def daemon(self, name, **more):
        made = Daemon(self, name, **more)
        self.daemons[os.path.basename(made.home)] = made
        return made

    def on_close(self, closer):
        self.closers.append(closer)

    def close(self):
        for closer in self.closers:
            try:
                closer()
            except Exception:  # the rest must be closed too
                traceback.print_exc()
        self.closers = []
        for d in self.started:
            if d.process:
                d.process.kill()
                d.process.wait()
                d.process = None
        self.started = []
        if not self.folder:
            return
        if self.args.keep:
            print("kept: %s" % self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    # --- running ---
    def check(self, title, fn, *args):
        """One test; prints its line. Returns True when it passed."""
        if self.args.only and self.args.only not in title:
            return True
        began = time.monotonic()
        try:
            fn(*args)
        except Exception as problem:
            self.failed += 1
            print("  FAIL %s: %s: %s" % (title, type(problem).__name__, problem))
            traceback.print_exc(limit=None if self.args.verbose else -4, file=sys.stdout)
            for d in self.daemons.values():
                tail = d.log_tail(200 if self.args.verbose else 12)
                if tail:
                    print("    --- log of %s%s ---\n%s" % (os.path.basename(d.home), "" if d.alive else " (not running)", tail))
            sys.stdout.flush()
            return False
        self.passed += 1
        print("  ok   %-70s %6.2f s" % (title, time.monotonic() - began), flush=True)
        return True

    def run(self, *tests):
        """Runs the tests in order; their names are their titles."""
        for test in tests:
            if self.suite == "im2" or not hasattr(test, "needs_im2"):
                self.check(test.__name__, test)
        return self.end()

    def end(self):
        """Every daemon that runs must stop in order, and no sanitizer may have spoken."""
        for d in self.daemons.values():
            title = os.path.basename(d.home)
            try:
                code = None
                if d.process is not None and not d.alive:
                    code = "%s: died with %s" % (title, d.process.returncode)
                    d.process = None
                elif d.process is not None:
                    got = d.stop()
                    code = got and "%s: SIGTERM gave exit %s" % (title, got)
            except AssertionError as problem:
                code = str(problem)
            if re.search(r"ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer", d.log()):
                code = "%s: a sanitizer reports" % title
            if code:
                self.failed += 1
                print("  FAIL %s\n%s" % (code, d.log_tail(60)))
        took = time.monotonic() - self.began
        self.close()
        print("  took %.1f s" % took)
        wire = "" if self.im2 == "on" else " (im2 %s)" % self.im2
        print("%s: %d passed, %d failed%s" % (self.name, self.passed, self.failed, wire), flush=True)
        return 1 if self.failed or not self.passed else 0


def needs_im2(test):
    """For a test of what the old wire does not have: left out when IM2=off."""
    test.needs_im2 = True
    return test


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100.0))] if values else float("nan")


def in_threads(n, fn):
    """fn(i) in n threads; the first exception is raised here."""
    errors = []

    def one(i):
        try:
            fn(i)
        except Exception as problem:
            errors.append(problem)
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def shuffled(items, seed):
    items = list(items)
    random.Random(seed).shuffle(items)
    return items
