#!/usr/bin/python3
"""`ironmesh run` as a process: what it refuses, what it says when it is ready, how it ends.

    test_run.py
"""
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ironlab import Control, Lab, wait_for  # noqa: E402

lab = Lab("test_run", __doc__)
alice = lab.daemon("alice")


def run(*args, stdin=subprocess.DEVNULL, env=None, timeout=30):
    """The daemon until its own end: exit code and stderr."""
    done = subprocess.run([lab.binary, "run", *args], stdin=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, env=env)
    return done.returncode, done.stderr.decode()


def fresh(name):
    return os.path.join(lab.folder, name)


def wrong_use_is_exit_2_and_says_what_to_do():
    for args, words in (
            (["--prot", "1"], ["--prot", "--port"]),
            (["--port", "99999"], ["99999"]),
            (["extra"], ["extra"]),
            (["--home", fresh("none"), "--port", "0"], ["passphrase", "--passphrase-file", "--new-mesh"]),
            (["--home", fresh("none"), "--port", "0", "--passphrase-file", alice.pass_path], ["--name"]),
            (["--home", fresh("none"), "--passphrase-file", "/nonexistent"], ["/nonexistent"]),
            (["--home", alice.home, "--passphrase-file", alice.pass_path, "--port", "0", "--bind", "127.0.0.1",
              "--peer", "nonsense"], ["nonsense", "host:port"])):
        code, text = run(*args)
        assert code == 2, "%s: exit %d: %s" % (args, code, text)
        for word in words:
            assert word in text, "%s does not speak of %s: %s" % (args, word, text)


def an_open_passphrase_file_is_refused():
    os.chmod(alice.pass_path, 0o644)
    code, text = run("--home", alice.home, "--passphrase-file", alice.pass_path)
    os.chmod(alice.pass_path, 0o600)
    assert code != 0 and "chmod" in text, text


def a_second_daemon_on_the_same_home_is_refused():
    alice.start()
    code, text = run("--home", alice.home, "--port", "0", "--bind", "127.0.0.1", "--passphrase-file",
                     alice.pass_path)
    assert code == 75 and "another ironmesh" in text and alice.home in text, (code, text)
    assert alice.status()["pid"] == alice.process.pid


def a_busy_port_is_said_and_leaves_no_trace_in_the_audit_log():
    other = lab.daemon("busy")
    code, text = run("--home", other.home, "--port", str(alice.port), "--bind", "127.0.0.1", "--passphrase-file",
                     other.pass_path)
    assert code != 0 and str(alice.port) in text, (code, text)
    assert not os.path.exists(os.path.join(other.home, "control.sock"))
    log = os.path.join(other.home, "audit.log")
    assert not os.path.exists(log) or b"STARTUP" not in open(log, "rb").read()


def listeners(pid):
    inodes = set()
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            target = os.readlink("/proc/%d/fd/%s" % (pid, name))
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        with open("/proc/%d/net/%s" % (pid, table)) as f:
            for line in list(f)[1:]:
                field = line.split()
                if field[3] == "0A" and field[9] in inodes:
                    found.append((table, field[1]))
    return found


def it_listens_where_it_was_told_and_nowhere_else():
    assert listeners(alice.process.pid) == [("tcp", "0100007F:%04X" % alice.port)], listeners(alice.process.pid)
    assert alice.status()["listen"] == [alice.address]


def without_listening_there_is_no_socket():
    quiet = lab.daemon("quiet")
    quiet.spawn(["--no-listen", "--peer", alice.address])
    wait_for(lambda: os.path.exists(os.path.join(quiet.home, "control.sock")), what="the control socket")
    assert listeners(quiet.process.pid) == []
    quiet.control = quiet.connect()
    assert quiet.status()["listen"] == []
    assert quiet.stop() == 0


def ready_is_said_when_everything_answers_and_stopping_at_the_end():
    told = lab.daemon("told")
    path = os.path.join(lab.folder, "notify")
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(path)
    heard.settimeout(20)
    os.environ["NOTIFY_SOCKET"] = path
    try:
        told.spawn([])
    finally:
        del os.environ["NOTIFY_SOCKET"]
    assert heard.recv(1000).startswith(b"EXTEND_TIMEOUT_USEC=")
    first = heard.recv(1000).decode()
    assert first.startswith("READY=1\n"), first
    told.control = told.connect()  # at once: that is what READY promises
    assert told.status()["name"] == "told"
    probe = socket.create_connection(("127.0.0.1", told.port), 2)
    probe.close()
    assert heard.recv(1000) == b"STATUS=told: 0 peers, 0 queued, 0 unread"
    assert told.stop() == 0
    assert heard.recv(1000) == b"STOPPING=1"


def the_watchdog_hears_of_a_loop_that_turns():
    path = os.path.join(lab.folder, "watchdog")
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(path)
    heard.settimeout(5)
    os.environ.update(NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
    beaten = lab.daemon("beaten")
    try:
        beaten.start()
        pid = beaten.process.pid
    finally:
        del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]

    def next_one():
        while True:
            if heard.recv(1000) == b"WATCHDOG=1":
                return time.monotonic()
    beats = [next_one() for _ in range(4)]
    assert beats[3] - beats[0] < 2, beats
    os.kill(pid, signal.SIGSTOP)
    heard.settimeout(1)
    try:
        while True:  # what was on its way
            heard.recv(1000)
    except socket.timeout:
        pass
    finally:
        os.kill(pid, signal.SIGCONT)
    heard.settimeout(5)
    next_one()
    beaten.stop()
    heard.close()


def connected(path):
    try:
        return Control(path)
    except OSError:
        return None


def handed(node, names, sockets, *options):
    """Starts `node` as a service manager does that opened its sockets."""
    def give():
        high = [fcntl.fcntl(x.fileno(), fcntl.F_DUPFD_CLOEXEC, 50) for x in sockets]  # above those that they go to
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i, inheritable=True)
    env = dict(os.environ, LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names)
    # LISTEN_PID is that of the daemon itself, which a shell that becomes it knows.
    command = ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', *node.command([str(o) for o in options])]
    log = open(node.log_path, "ab")
    node.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=lab.folder,
                                    close_fds=False, preexec_fn=give)
    log.close()
    lab.started.append(node)


def sockets_of_the_service_manager_are_served():
    path = os.path.join(lab.folder, "run-of-the-manager.sock")
    control = socket.socket(socket.AF_UNIX)
    control.bind(path)
    control.listen(8)
    ws = socket.socket()
    ws.bind(("127.0.0.1", 0))
    ws.listen(8)
    port = ws.getsockname()[1]
    served = lab.daemon("served")
    early = Control(path)  # who comes before it runs is answered when it does
    handed(served, "control:ws", [control, ws])
    status = early.call("status", timeout=20)
    assert status["listen"] == ["127.0.0.1:%d" % port], status["listen"]
    assert not os.path.exists(os.path.join(served.home, "control.sock"))
    peer = lab.daemon("peer-of-served")
    peer.start("--trust-on-first-use", "--peer", "127.0.0.1:%d" % port)
    wait_for(lambda: early.call("peers.list")["peers"], what="a peer came over that port")
    early.close()
    assert served.stop() == 0
    assert os.path.exists(path), "the file of the socket is the manager's"
    # again, by the family alone, and told by no name
    handed(served, "", [ws, control])
    again = Control(path)
    assert again.call("status", timeout=20)["listen"] == ["127.0.0.1:%d" % port]
    again.close()
    assert served.stop() == 0
    peer.stop()
    control.close()
    ws.close()


def the_manager_itself_starts_us_at_the_first_connection():
    tool = shutil.which("systemd-socket-activate")
    if not tool:
        print("       (systemd-socket-activate is not installed)")
        return
    woken, path, port = lab.daemon("woken"), os.path.join(lab.folder, "woken.sock"), lab.port()
    log = open(woken.log_path, "ab")
    woken.process = subprocess.Popen([tool, "-l", path, "-l", "127.0.0.1:%d" % port, "--fdname=control:ws",
                                      *woken.command(["--walls", "on"])],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=lab.folder)
    log.close()
    lab.started.append(woken)
    wait_for(lambda: os.path.exists(path), what="the socket")
    first = wait_for(lambda: connected(path), what="a listening socket")
    status = first.call("status", timeout=20)
    assert status["listen"] == ["127.0.0.1:%d" % port] and status["pid"] == woken.process.pid, status
    assert all(w["state"] == "up" or "build" in w["why"] for w in status["walls"]), status["walls"]
    first.close()
    assert woken.stop() == 0


def odd_sockets_are_refused():
    odd = lab.daemon("odd")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    deaf = socket.socket()
    one, two = socket.socket(), socket.socket()
    for s in (one, two):
        s.bind(("127.0.0.1", 0))
        s.listen(1)
    for names, sockets, what in (("ws", [udp], "no listening stream socket"), ("ws", [deaf], "no listening stream socket"),
                                 ("ws:ws", [one, two], "two for 'ws'"), ("control", [one], "not the name of a TCP socket"),
                                 ("http", [one], "'http' is not the name")):
        handed(odd, names, sockets)
        assert odd.process.wait(20) == 10, names
        odd.process = None
        assert what in odd.log_tail(4), (what, odd.log_tail(4))
    handed(odd, "ws", [one], "--no-listen", "--peer", "127.0.0.1:1")
    assert odd.process.wait(20) == 10
    odd.process = None
    assert "--no-listen" in odd.log_tail(4)
    for s in (udp, deaf, one, two):
        s.close()


def sigterm_and_sigint_end_with_0_and_leave_nothing():
    for number in (signal.SIGTERM, signal.SIGINT):
        if not alice.process:
            alice.start()
        alice.process.send_signal(number)
        assert alice.process.wait(10) == 0
        alice.drop_control()
        alice.process = None
        left = sorted(os.listdir(alice.home))
        assert "control.sock" not in left and not [n for n in left if n.endswith(("-wal", "-shm", ".tmp"))], left
    events = [json.loads(line)["event"] for line in open(os.path.join(alice.home, "audit.log"))]
    assert events.count("STARTUP") == events.count("SHUTDOWN") == 2, events
    assert "ok" in alice.cli("audit", "verify", check=True).stdout.decode()


def closed_descriptors_are_no_files_of_ours():
    """What is said to people must not be written into the next file that was opened."""
    for closed in ((2,), (0, 1), (0, 1, 2)):
        p = subprocess.Popen(alice.command(["--log-level", "debug"]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, preexec_fn=lambda: [os.close(fd) for fd in closed])
        try:
            wait_for(lambda: p.poll() is not None or alice.cli("status").returncode == 0, 30, what="the daemon")
            assert p.poll() is None, (closed, p.returncode)
            with open("/proc/%d/task/%d/children" % (p.pid, p.pid)) as f:
                for pid in [p.pid] + [int(x) for x in f.read().split()]:
                    assert all(os.readlink("/proc/%d/fd/%d" % (pid, fd)) == "/dev/null" for fd in closed), (pid, closed)
        finally:
            p.terminate()
            assert p.wait(20) == 0, p.returncode


def sighup_changes_nothing():
    alice.start()
    alice.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert alice.alive and alice.status()["name"] == "alice"


def a_socket_file_left_by_a_crash_is_in_nobodys_way():
    alice.kill9()
    assert os.path.exists(os.path.join(alice.home, "control.sock"))
    alice.start()
    assert alice.status()["name"] == "alice"


def a_deep_home_folder_works():
    deep = os.path.join(lab.folder, "d" * 120, "home")
    os.makedirs(os.path.dirname(deep), mode=0o700)
    process = subprocess.Popen([lab.binary, "run", "--home", deep, "--name", "deep", "--port", "0", "--bind",
                                "127.0.0.1", "--passphrase-file", alice.pass_path, "--clear-keys"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def answers():
            done = subprocess.run([lab.binary, "--home", deep, "status", "--json"], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
            return done.returncode == 0 and json.loads(done.stdout)
        got = wait_for(answers, what="an answer from the deep home folder")
        assert got["name"] == "deep"
        assert any("without encryption" in w for w in got["warnings"]), got["warnings"]
    finally:
        process.terminate()
        assert process.wait(10) == 0


def the_passphrase_comes_from_where_the_help_says():
    base = ["--home", alice.home, "--port", "0", "--bind", "127.0.0.1"]
    if alice.process:
        assert alice.stop() == 0

    def starts(extra, env=None, **more):
        process = subprocess.Popen([lab.binary, "run", *base, *extra], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=dict(os.environ, **(env or {})), **more)
        try:
            def answer():
                assert process.poll() is None, "it ended with %d" % process.returncode
                try:
                    return alice.connect()
                except OSError:  # not there, or bound and not listening yet
                    return None
            alice.control = wait_for(answer, what="the control socket")
            return alice.status()["warnings"]
        finally:
            alice.drop_control()
            process.terminate()
            process.wait(10)
    with open(alice.pass_path, "rb") as f:
        text = f.read()
    fd = os.open(alice.pass_path, os.O_RDONLY)
    starts(["--passphrase-fd", str(fd)], pass_fds=[fd])
    os.close(fd)
    warnings = starts([], {"IRONMESH_PASSPHRASE": text.decode().rstrip("\n")})
    assert any("environment" in w for w in warnings), warnings
    folder = fresh("credentials")
    os.mkdir(folder, 0o700)
    with open(os.path.join(folder, "ironmesh"), "wb") as f:
        f.write(text)
    starts([], {"CREDENTIALS_DIRECTORY": folder})
    in_home = os.path.join(alice.home, "passphrase")
    with open(os.open(in_home, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
        f.write(text)
    starts([])
    os.unlink(in_home)


def a_damaged_trust_store_is_said_aloud_and_left_alone():
    path = os.path.join(alice.home, "known_peers.json")
    kept = open(path, "rb").read() if os.path.exists(path) else None
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(b'{"version": 2, "ciphertext": "AAAA", "_mac": "00"}')
    alice.start()
    status = alice.status()
    assert status["trust_store"]["read_only"] and status["trust_store"]["why"], status["trust_store"]
    assert any("read-only" in w for w in status["warnings"]), status["warnings"]
    assert "TRUST-STORE-READ-ONLY" in alice.log()
    alice.stop()
    assert open(path, "rb").read().endswith(b'"_mac": "00"}')
    os.unlink(path)
    if kept is not None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(kept)
    alice.start()


def an_idle_daemon_sleeps():
    def ticks():
        with open("/proc/%d/stat" % alice.process.pid) as f:
            field = f.read().rsplit(")", 1)[1].split()
        return int(field[11]) + int(field[12])
    time.sleep(0.5)
    before = ticks()
    time.sleep(2)
    used = ticks() - before
    assert used <= 4, "%d ticks of CPU in 2 s of doing nothing" % used  # 2 percent


def friends(*names):
    """Two daemons that know and trust each other; the second one dials."""
    listener, dialler = (lab.daemon(name) for name in names)
    listener.start()
    dialler.start("--peer", listener.address)
    wait_for(lambda: dialler.peer(listener.id) and listener.peer(dialler.id), what="each other known")
    dialler.call("peers.approve", peer=listener.id)
    listener.call("peers.approve", peer=dialler.id)
    dialler.wait_online(listener.id)
    return listener, dialler


def a_stop_keeps_what_was_told():
    bob, carol = friends("bob", "carol")
    sent = carol.send(bob.id, "the last one", wait_ms=5000)
    assert sent["state"] == "delivered", sent
    assert carol.stop() == 0
    bob.stop()
    carol.start()
    row = carol.call("outbox.show", msg_id=sent["msg_id"])
    assert row["state"] == "delivered", row
    carol.stop()


def what_was_deleted_by_its_reader_was_delivered_all_the_same():
    dave, erin = friends("dave", "erin")
    sent = erin.send(dave.id, "read and gone", wait_ms=5000)
    erin.kill9()  # the confirmation had no time to reach the disk: it will be sent again
    dave.call("inbox.delete", seq=dave.take_body("read and gone")["seq"])
    erin.start()

    def ended():
        row = erin.call("outbox.show", msg_id=sent["msg_id"])
        return row["state"] not in ("queued", "sent") and row
    row = wait_for(ended, what="the end of the message")
    assert row["state"] == "delivered", row
    erin.stop()
    dave.stop()


sys.exit(lab.run(wrong_use_is_exit_2_and_says_what_to_do, an_open_passphrase_file_is_refused,
                 a_second_daemon_on_the_same_home_is_refused,
                 a_busy_port_is_said_and_leaves_no_trace_in_the_audit_log,
                 it_listens_where_it_was_told_and_nowhere_else, without_listening_there_is_no_socket,
                 ready_is_said_when_everything_answers_and_stopping_at_the_end, the_watchdog_hears_of_a_loop_that_turns,
                 sockets_of_the_service_manager_are_served,
                 the_manager_itself_starts_us_at_the_first_connection, odd_sockets_are_refused,
                 sigterm_and_sigint_end_with_0_and_leave_nothing, closed_descriptors_are_no_files_of_ours, sighup_changes_nothing,
                 a_socket_file_left_by_a_crash_is_in_nobodys_way, a_deep_home_folder_works,
                 the_passphrase_comes_from_where_the_help_says,
                 a_damaged_trust_store_is_said_aloud_and_left_alone, an_idle_daemon_sleeps,
                 a_stop_keeps_what_was_told, what_was_deleted_by_its_reader_was_delivered_all_the_same))
