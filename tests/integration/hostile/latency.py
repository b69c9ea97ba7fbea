"""The honest session's latency, in peace and under attack. The attacker is a process of its own."""
import os
import subprocess
import sys
import threading
import time

import peer09 as p
from ironlab import percentile, wait_for
from rawws import RawWs, tcp

from .world import Line, w

MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "test_hostile.py")


def attack(port, seconds):
    """Wrong passphrases, garbage, half-open sockets and floods of bad frames, for a bounded time."""
    end = time.monotonic() + seconds

    def wrong_passphrases(lane):
        i = 0
        while time.monotonic() < end:
            i += 1
            try:
                ws = RawWs(port, "127.0.%d.%d" % (10 + lane, 1 + i % 250), timeout=2)
                p.client_handshake(ws, p.Config(passphrase="wrong wrong wrong"), 2)
            except (OSError, TimeoutError, p.HandshakeError, ValueError):
                time.sleep(0.005)

    def garbage():
        i = 0
        while time.monotonic() < end:
            i += 1
            try:
                s = tcp(port, "127.0.20.%d" % (1 + i % 250), 1)
                s.sendall(os.urandom(512))
                s.close()
            except OSError:
                time.sleep(0.005)

    def half_open():
        while time.monotonic() < end:
            held = []
            for i in range(200):
                try:
                    held.append(tcp(port, "127.0.21.%d" % (1 + i), 1))
                except OSError:
                    break
            time.sleep(0.5)
            for s in held:
                s.close()

    def bad_frames():
        i = 0
        while time.monotonic() < end:
            i += 1
            try:
                line = Line(port, "127.0.22.%d" % (1 + i % 250))
                for _ in range(200):
                    line.ws.send(p.seal_frame(line.message(b"x" * 500), os.urandom(32), line.me))
            except (OSError, TimeoutError, p.HandshakeError, ValueError):
                time.sleep(0.005)
    threads = [threading.Thread(target=wrong_passphrases, args=(i,), daemon=True) for i in range(2)]
    threads += [threading.Thread(target=t, daemon=True) for t in (garbage, half_open, bad_frames)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(seconds + 10)


def latencies(n):
    """Seconds from the submission of a message until its delivery is known, one after another."""
    out = []
    for i in range(n):
        began = time.monotonic()
        got = w.bob.send(w.alice.id, "measured %d" % i, wait_ms=20000, timeout=30)
        out.append(time.monotonic() - began)
        assert got["state"] in ("delivered", "read"), got
    return out


def measure(n=200):
    """p50 and p95 in milliseconds, in peace and under attack."""
    latencies(20)
    peace = latencies(n)
    before = w.counters()
    attacker = subprocess.Popen([sys.executable, MAIN, "--ironmesh", w.lab.binary, "--attack",
                                 str(w.alice.port), "60"])
    try:
        wait_for(lambda: w.counters()["strangers"] > before["strangers"] + 20, 15, what="the attack to begin")
        began = time.monotonic()
        war = latencies(n)
        took = time.monotonic() - began
    finally:
        attacker.kill()
        attacker.wait()
    after = w.counters()
    moved = {c: after[c] - before[c] for c in after if after[c] != before[c]}
    return {"messages": n, "peace_p50_ms": round(percentile(peace, 50) * 1e3, 3),
            "peace_p95_ms": round(percentile(peace, 95) * 1e3, 3), "attack_p50_ms": round(percentile(war, 50) * 1e3, 3),
            "attack_p95_ms": round(percentile(war, 95) * 1e3, 3),
            "p95_ratio": round(percentile(war, 95) / percentile(peace, 95), 2), "attack_s": round(took, 2),
            "attack_counters": {c: moved.get(c, 0) for c in ("strangers", "connections_refused", "handshakes_failed",
                                                             "handshake_auth_failures", "frames_dropped", "bans")}}


def honest_session_under_attack():
    got = measure(w.lab.args.messages)
    print("  honest session: p95 %.2f ms in peace, %.2f ms under attack, ratio %.2f" % (
        got["peace_p95_ms"], got["attack_p95_ms"], got["p95_ratio"]))
    assert got["attack_p95_ms"] < 5000, got
