#!/usr/bin/python3
"""What happens to a machine in operation: the disk fills up and is read-only, the clock jumps, logs are rotated, the daemon is stopped
under load.

    test_operate.py

As root also what needs a file system of its own.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from httplab import Http  # noqa: E402
from ironlab import Lab, RpcError, body_of, wait_for  # noqa: E402

lab = Lab("test_operate", __doc__)
ROOT_USER = os.geteuid() == 0
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
alice = lab.daemon("alice")


def two(name, options=()):
    """alice and another one who are connected and trust each other."""
    other = lab.daemons.get(name) or lab.daemon(name)
    other.start("--trust-on-first-use", *options)
    alice.start("--trust-on-first-use", "--peer", other.address)
    alice.wait_online(name)
    other.wait_online("alice")
    return other


def both_stop(other):
    for d in (alice, other):
        if d.process:
            assert d.stop() == 0


def small_home(name, size):
    """A node whose home folder is a file system of its own."""
    d = lab.daemon(name)
    keys = open(os.path.join(d.home, "keys.json"), "rb").read()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%s,mode=700" % size, "none", d.home], check=True)
    lab.on_close(lambda: subprocess.run(["umount", "-l", d.home], stderr=subprocess.DEVNULL))
    with open(os.open(os.path.join(d.home, "keys.json"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
        f.write(keys)
    return d


def fill(d):
    path = os.path.join(d.home, "filler")
    with open(path, "ab", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    f.write(b"\0" * size)
            except OSError:
                pass
    return path


def a_full_disk_refuses_what_is_new_and_loses_nothing():
    if not ROOT_USER:
        print("       (skipped: not root)")
        return
    full = small_home("full", "24m")
    full.start("--trust-on-first-use")
    alice.start("--trust-on-first-use", "--peer", full.address)
    alice.wait_online("full")
    full.wait_online("alice")
    pages = [full.call("http.code")["url"].split("/#code=") for _ in range(2)]
    pages = [Http(int(url.rsplit(":", 1)[1])).sign_in(code) for url, code in pages]
    filler = fill(full)
    accepted, refused = [], None
    for i in range(3000):  # what the log of the database holds already is written over first
        body = "from full %d %s" % (i, "x" * 3000)
        try:
            full.send("alice", body)
            accepted.append(body)
        except RpcError as e:
            refused = e
            break
    assert refused and refused.err == "store" and refused.exit == 75, refused
    assert "disk" in refused.means or "full" in refused.means, (refused.message, refused.means)
    assert full.alive and full.status()["pid"] == full.process.pid
    got = json.loads(full.cli("doctor", "--json").stdout)
    assert [c["name"] for c in got["checks"] if c["state"] == "failure"] == ["disk"], got
    # A session that ended must not be there again after a restart.
    page, session = pages[0]
    assert page.ask("DELETE", "/api/v1/session", {"Origin": page.origin}).status == 200
    path = os.path.join(full.home, "http-sessions.json")
    assert not os.path.exists(path) or session.json["id"] not in open(path).read()
    # What others send stays theirs until it can be kept.
    theirs = ["to full %d %s" % (i, "y" * 3000) for i in range(50)]
    for body in theirs:
        alice.send("full", body)
    time.sleep(2)
    kept = [body_of(m).decode() for m in full.inbox()]
    waiting = [m for m in alice.outbox() if m["state"] in ("queued", "sent")]
    assert len(kept) + len(waiting) >= len(theirs), (len(kept), len(waiting))
    os.unlink(filler)
    full.send("alice", "there is room again")
    accepted.append("there is room again")
    wait_for(lambda: {body_of(m).decode() for m in full.inbox()} >= set(theirs), 90, what="what waited for room")
    wait_for(lambda: {body_of(m).decode() for m in alice.inbox()} >= set(accepted), 90, what="what was accepted")
    for d, bodies in ((full, theirs), (alice, accepted)):
        got = [body_of(m).decode() for m in d.inbox()]
        assert sorted(got) == sorted(set(got)) and set(got) >= set(bodies)
    wait_for(lambda: full.call("audit.verify")["ok"], 20, what="an audit log that is whole")
    done = full.cli("doctor", "--json")
    bad = [c for c in json.loads(done.stdout)["checks"] if c["state"] == "failure"]
    assert not bad, bad
    both_stop(full)
    full.start()
    assert full.call("audit.verify")["ok"]
    full.stop()


def a_read_only_file_system_is_said_and_nothing_is_changed():
    if not ROOT_USER:
        print("       (skipped: not root)")
        return
    frozen = small_home("frozen", "32m")
    frozen.start()
    frozen.stop()
    before = {n: os.stat(os.path.join(frozen.home, n)).st_mtime_ns for n in os.listdir(frozen.home)}
    subprocess.run(["mount", "-o", "remount,ro", frozen.home], check=True)
    code = frozen.start_refused()
    assert code not in (0, 9), code
    assert "Read-only file system" in frozen.log() or "read-only" in frozen.log(), frozen.log_tail()
    done = frozen.cli("peers", "list")
    assert done.returncode != 0 and b"ead-only" in done.stderr, done
    got = json.loads(frozen.cli("doctor", "--json").stdout)
    assert [c["name"] for c in got["checks"] if c["state"] == "failure"] == ["disk"], got
    assert before == {n: os.stat(os.path.join(frozen.home, n)).st_mtime_ns for n in os.listdir(frozen.home)}
    subprocess.run(["mount", "-o", "remount,rw", frozen.home], check=True)
    frozen.start()
    frozen.stop()


def a_clock_that_jumps_stops_no_message():
    with open(lab.binary, "rb") as program:
        sanitized = b"__asan_init" in program.read()
    if not os.path.exists(FAKETIME) or sanitized:
        print("       (skipped: no libfaketime, or a build that takes no preload)")
        return
    stamp = os.path.join(lab.folder, "clock")

    def clock(offset):
        with open(stamp + ".new", "w") as f:
            f.write(offset + "\n")
        os.rename(stamp + ".new", stamp)

    clock("+0")
    jumper = lab.daemon("jumper")
    plain = jumper.command
    # The walls take LD_PRELOAD away.
    jumper.command = lambda options: ["env", "LD_PRELOAD=" + FAKETIME, "FAKETIME_TIMESTAMP_FILE=" + stamp, "FAKETIME_NO_CACHE=1",
                                      "FAKETIME_DONT_FAKE_MONOTONIC=1", *plain([*options, "--walls", "off"])]
    jumper.start("--trust-on-first-use")
    alice.start("--trust-on-first-use", "--peer", jumper.address)
    alice.wait_online("jumper")
    jumper.wait_online("alice")
    for i, offset in enumerate(("+0", "+1d", "-1d", "+3h", "+0")):
        clock(offset)
        time.sleep(0.3)
        alice.send("jumper", "to %d" % i)
        jumper.take_body("to %d" % i, timeout=40)
        jumper.send("alice", "from %d" % i)
        alice.take_body("from %d" % i, timeout=40)
    assert sorted(body_of(m).decode() for m in jumper.inbox()) == ["to %d" % i for i in range(5)]
    wait_for(lambda: all(m["state"] in ("delivered", "read") for m in alice.outbox(peer="jumper")), 40, what="all confirmed")
    assert jumper.call("audit.verify")["ok"]
    clock("+2h")
    got = json.loads(jumper.cli("doctor", "--json").stdout)
    assert [c["name"] for c in got["checks"] if c["name"] == "clock"] == ["clock"]
    both_stop(jumper)


def a_log_that_is_rotated_by_copy_and_truncate_goes_on_in_the_same_file():
    bob = two("bob", ("--log-level", "debug"))
    size = os.stat(bob.log_path).st_size
    assert size > 0
    os.truncate(bob.log_path, 0)
    bob.send("alice", "after the rotation")
    alice.take_body("after the rotation")
    wait_for(lambda: os.stat(bob.log_path).st_size > 0, what="a line after the rotation")
    with open(bob.log_path, "rb") as f:
        head = f.read()
    assert head[:1] != b"\0" and len(head) < size + 20000, head[:80]
    both_stop(bob)


def a_log_that_nobody_reads_any_more_stops_nothing():
    bob = lab.daemons["bob"]
    read, write = os.pipe()
    real = bob.log_path
    bob.log_path = "/proc/self/fd/%d" % write
    os.set_inheritable(write, False)
    try:
        bob.start("--trust-on-first-use", "--log-level", "debug")
    finally:
        bob.log_path = real
        os.close(write)
        os.close(read)
    alice.start("--trust-on-first-use", "--peer", bob.address)
    alice.wait_online("bob")
    for i in range(20):
        alice.send("bob", "unread log %d" % i)
    bob.take_body("unread log 19")
    assert bob.alive
    both_stop(bob)


def what_goes_to_the_journal_has_its_priority():
    bob = lab.daemons["bob"]
    open(bob.log_path, "w").close()
    st = os.stat(bob.log_path)
    plain = bob.command
    bob.command = lambda options: ["env", "JOURNAL_STREAM=%d:%d" % (st.st_dev, st.st_ino), *plain(options)]
    try:
        bob.start("--trust-on-first-use")
        bob.stop()
    finally:
        bob.command = plain
    lines = bob.log().splitlines()
    assert lines and all(line.startswith(("<3>", "<4>", "<6>", "<7>")) for line in lines), lines[:5]
    assert any(line.startswith("<6>ready ") or "ready name=bob" in line and line.startswith("<6>") for line in lines), lines
    assert any(line.startswith("<4>") for line in lines), lines  # trust on first use is a warning


def a_stop_under_load_keeps_every_answer():
    bob = two("bob")
    accepted, over = [], threading.Event()

    def pour():
        c = alice.connect()
        i = 0
        try:
            while not over.is_set():
                i += 1
                body = "under load %d" % i
                c.call("send", to="bob", body=body)
                accepted.append(body)
        except (OSError, ConnectionError, TimeoutError, RpcError):
            pass
        finally:
            c.close()

    threads = [threading.Thread(target=pour) for _ in range(1)]
    for t in threads:
        t.start()
    wait_for(lambda: len(accepted) > 200, 20, what="load")
    began = time.monotonic()
    alice.process.send_signal(signal.SIGTERM)
    code = alice.process.wait(20)
    took = time.monotonic() - began
    over.set()
    for t in threads:
        t.join()
    alice.drop_control()
    alice.process = None
    assert code == 0 and took < 15, (code, took)
    alice.start()
    wait_for(lambda: {body_of(m).decode() for m in bob.inbox()} >= set(accepted), 60, 0.3, what="all that was accepted")
    got = [body_of(m).decode() for m in bob.inbox() if body_of(m).startswith(b"under load")]
    assert len(got) == len(set(got)), "something came twice"
    both_stop(bob)


def a_kill_before_the_first_checkpoint_leaves_nothing_to_explain():
    d = lab.daemon("young")
    d.start()
    d.kill9()
    d.start()
    assert not [e for e in d.audit() if e["event"] == "AUDIT_HEAD_BAD"], d.audit()
    assert d.call("audit.verify")["ok"]
    d.stop()


sys.exit(lab.run(a_full_disk_refuses_what_is_new_and_loses_nothing, a_read_only_file_system_is_said_and_nothing_is_changed,
                 a_clock_that_jumps_stops_no_message, a_log_that_is_rotated_by_copy_and_truncate_goes_on_in_the_same_file,
                 a_log_that_nobody_reads_any_more_stops_nothing, what_goes_to_the_journal_has_its_priority,
                 a_stop_under_load_keeps_every_answer, a_kill_before_the_first_checkpoint_leaves_nothing_to_explain))
