"""Bad sockets, and the failure ladder of an address."""
import json
import os
import re
import socket
import ssl
import struct
import threading
import time

import peer09 as p
from ironlab import wait_for
from rawws import RawWs, is_gone, tcp, tls_context

from .world import Line, case, rss, w


def first_bytes(data):
    def act(source):
        s = tcp(w.alice.port, source)
        s.sendall(data)
        assert is_gone(s, 8) is True, "not closed at once"
    return ("strangers",), "stranger source=127", act


def http(text):
    def act(source):
        s = tls_context().wrap_socket(tcp(w.alice.port, source))
        s.settimeout(10)
        got = b""
        try:
            s.sendall(text)
            while True:
                piece = s.recv(4096)
                if not piece:
                    break
                got += piece
                assert b" 101 " not in got, "it was upgraded"
        except (ConnectionError, ssl.SSLError):
            pass
        except socket.timeout:
            raise AssertionError("the connection stays open") from None
    return ("strangers", "handshakes_failed"), "stranger|handshake-failed|refused", act


def silent(source):
    s = tcp(w.alice.port, source)
    began = time.monotonic()
    assert is_gone(s, 8) is True
    assert time.monotonic() - began < 5, "a silent socket may stay %.1f s" % (time.monotonic() - began)


def slowloris(source):
    """One byte of the request every 0.2 s."""
    s = tls_context().wrap_socket(tcp(w.alice.port, source))
    began = time.monotonic()
    text = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: yes\r\n" * 1000
    try:
        for i in range(len(text)):
            s.sendall(text[i:i + 1])
            time.sleep(0.2)
            assert time.monotonic() - began < 15, "a request may take for ever"
    except (ConnectionError, ssl.SSLError, BrokenPipeError):
        return


def slow_tls(source):
    s = tcp(w.alice.port, source)
    began = time.monotonic()
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600)
    try:
        for i in range(len(hello)):
            s.sendall(hello[i:i + 1])
            time.sleep(0.2)
            assert time.monotonic() - began < 15, "a ClientHello may take for ever"
    except (ConnectionError, BrokenPipeError):
        return


def reset(source):
    for _ in range(20):
        s = tcp(w.alice.port, source)
        s.sendall(b"\x16")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    time.sleep(0.3)


def half_open(source):
    """200 sockets that say nothing, from 200 addresses; then they must all be gone by themselves."""
    fds = len(os.listdir("/proc/%d/fd" % w.alice.process.pid))
    held = []
    for i in range(200):
        s = tcp(w.alice.port, "127.0.5.%d" % (i + 1))
        held.append(s)
    w.honest_works()
    now = len(os.listdir("/proc/%d/fd" % w.alice.process.pid))
    assert now - fds <= 80, "%d descriptors for 200 half-open sockets" % (now - fds)
    # A ban per address or a place that is free again: the next honest caller is served in time.
    wait_for(lambda: len(os.listdir("/proc/%d/fd" % w.alice.process.pid)) <= fds + 4, 10, what="the places to be free")
    Line(w.alice.port, "127.0.6.1").ws.close()
    for s in held:
        s.close()


def half_open_of_one(source):
    held = [tcp(w.alice.port, source) for _ in range(40)]
    gone = sum(is_gone(s, 0.02) is True for s in held)
    assert gone >= 20, "one address holds %d half-open places" % (40 - gone)
    w.honest_works()
    assert all(is_gone(s, 4) is True for s in held), "silent sockets stay"
    for s in held:
        s.close()


def after_200_half_open_no_memory(source):
    before = rss(w.alice)
    for _ in range(3):
        held = [tcp(w.alice.port, "127.0.%d.%d" % (7 + i // 200, 1 + i % 200)) for i in range(400)]
        for s in held:
            s.sendall(b"\x16\x03\x01\x02\x00")
        for s in held:
            s.close()
        time.sleep(0.2)
    time.sleep(0.5)
    assert rss(w.alice) - before < 48 << 20, "1,200 half TLS handshakes cost %d MB" % ((rss(w.alice) - before) >> 20)


def plain_on_a_tls_port(source):
    carol_port = w.carol.port
    s = tcp(carol_port, source)
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    began = time.monotonic()
    assert is_gone(s, 8) is True, "a plain request was answered on a TLS-only port"
    assert time.monotonic() - began < 2, "the plain caller had to wait"
    assert w.carol.alive


def bad_sockets():
    case("socket: garbage first byte", *first_bytes(os.urandom(1).replace(b"\x16", b"\0").replace(b"G", b"\0") + b"x" * 64))
    case("socket: SSH banner", *first_bytes(b"SSH-2.0-OpenSSH_9.2\r\n"))
    case("socket: zero bytes", *first_bytes(bytes(1000)))
    case("socket: TLS record of nonsense", ("strangers", "handshakes_failed"), "stranger",
         lambda source: is_gone_after(source, b"\x16\x03\x01\x00\x40" + b"\xee" * 64))
    case("socket: HTTP without upgrade", *http(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    case("socket: POST", *http(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"))
    case("socket: HTTP garbage", *http(b"\0\1\2\3\r\n\r\n" * 20))
    case("socket: 200 KB of HTTP headers", *http(b"GET / HTTP/1.1\r\n" + b"X-Big: " + b"y" * 200000 + b"\r\n\r\n"))
    case("socket: silent", ("strangers",), "stranger.*timeout", silent)
    case("socket: slowloris", ("strangers",), "stranger", slowloris)
    case("socket: ClientHello byte by byte", ("strangers",), "stranger", slow_tls)
    case("socket: reset after the first byte", ("strangers", "links_ended_tls", "links_ended_io"), "", reset)
    case("socket: 40 half-open from one address", ("links_refused",), "stranger",
         half_open_of_one)
    case("socket: 200 half-open from 200 addresses", ("strangers",), "stranger", half_open)
    case("socket: 1,200 half TLS handshakes", ("strangers", "connections_refused"), "", after_200_half_open_no_memory)
    w.lab.check("socket: plain request on a TLS-only port", lambda: plain_on_a_tls_port(w.source()))


def is_gone_after(source, data):
    s = tcp(w.alice.port, source)
    s.sendall(data)
    s.settimeout(8)
    try:
        while s.recv(4096):
            pass
    except ConnectionError:
        pass


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context().wrap_bio(incoming, outgoing)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def is_let_in(source):
    """True when a ClientHello is answered with a ServerHello."""
    s = tcp(w.alice.port, source)
    try:
        s.sendall(client_hello())
    except (ConnectionError, BrokenPipeError):
        return False
    got = is_gone(s, 5)
    s.close()
    assert got is True or got[:1] in (b"\x16", b"\x15"), got
    return got is not True and got[:1] == b"\x16"


class Ladder:
    """Climbs in a thread of its own while other cases run: 0.5, 1, 2, 4, 8 s, then a ban of 300 s."""
    source = "127.0.200.1"
    forgiven = "127.0.200.2"

    def __init__(self):
        self.steps, self.problem, self.banned = [], None, False
        self.thread = threading.Thread(target=self.climb, daemon=True)
        self.thread.start()

    def fail(self, source):
        ws = RawWs(w.alice.port, source)
        try:
            p.client_handshake(ws, p.Config(passphrase="still wrong, sorry"))
        except (p.HandshakeError, ConnectionError):
            pass
        ws.is_closed(5)
        ws.close()

    def climb(self):
        try:
            for wait in (0.5, 1, 2, 4, 8):
                self.fail(self.source)
                refused = not is_let_in(self.source)
                self.steps.append((wait, refused))
                time.sleep(wait + 0.3)
            self.fail(self.source)
            self.banned = not is_let_in(self.source)
        except Exception as problem:
            self.problem = problem


def a_ladder_ends_in_a_ban(ladder):
    ladder.thread.join(60)
    assert not ladder.thread.is_alive() and ladder.problem is None, ladder.problem
    assert all(refused for _, refused in ladder.steps), "not refused while it should wait: %s" % ladder.steps
    assert ladder.banned, "six failures and still served"
    # Before TLS: a banned address gets no ServerHello, not even an alert.
    s = tcp(w.alice.port, ladder.source)
    try:
        s.sendall(client_hello())
    except (ConnectionError, BrokenPipeError):
        pass
    assert is_gone(s, 5) is True, "a banned address was answered"
    counters = w.counters()
    assert counters["bans"] >= 1 and counters["connections_refused"] >= 6, counters
    assert re.search(r"address-banned source=%s for_s=300" % re.escape(ladder.source), w.alice.log())
    entry = [e for e in w.alice.audit() if e["event"] == "AUTH_IP_BLOCKED" and ladder.source in json.dumps(e)]
    assert entry, "the ban is not in the audit"
    time.sleep(1.0)
    assert not is_let_in(ladder.source), "the ban is over after a second"
    assert is_let_in("127.0.200.9"), "somebody else is refused too"
    w.honest_works()


def a_success_clears_the_ladder():
    source = Ladder.forgiven
    ladder = Ladder.__new__(Ladder)
    me = p.Identity()
    for _ in range(4):  # eight failures in all, but never more than two in a row
        for wait in (0.5, 1.0):
            ladder.fail(source)
            time.sleep(wait + 0.2)
        Line(w.alice.port, source, identity=me, name="forgiven").ws.close()
        w.alice.wait_offline(me.id)
    assert is_let_in(source)
