#!/usr/bin/python3
"""The HTTP API: who is let in, what is refused, what a stream says, and what a scraper sees."""
import gzip
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib")]
import openmetrics  # noqa: E402
from httplab import Http, Live, read_answer  # noqa: E402
from ironlab import ROOT, Lab, wait_for  # noqa: E402

lab = Lab("test_http", __doc__)
alice, bob = lab.daemon("alice"), lab.daemon("bob")
web = page = None
tokens = {}


def new_code(**more):
    """The address of the page and its code; `web` goes there."""
    base, code = alice.call("http.code", **more)["url"].split("/#code=")
    web.port, web.origin = int(base.rsplit(":", 1)[1]), base
    return base, code


def listening(port):
    """The addresses on which a TCP port is bound, as the kernel has them."""
    out = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path) as f:
            for line in list(f)[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == "0A" and int(local.split(":")[1], 16) == port:
                    out.add(local.split(":")[0])
    return out


# --- the door ----------------------------------------------------------------------------------------------
def nothing_listens_until_it_is_asked_for():
    global web
    alice.start("--log-level", "debug", "--peer", bob.address)
    bob.start("--trust-on-first-use")
    assert alice.call("http.status")["url"] is None
    done = alice.cli("dashboard", "--no-open", "--json", check=True)
    got = json.loads(done.stdout)
    assert got["schema"] == "ironmesh.dashboard/1" and re.match(r"http://127\.0\.0\.1:\d+/#code=[0-9a-f]{64}$", got["url"]), got
    web = Http(int(got["url"].split(":")[2].split("/")[0]))
    assert listening(web.port) == {"0100007F"}, listening(web.port)
    assert alice.call("http.status")["url"] == web.origin + "/"
    assert alice.status()["http"] == {"url": web.origin + "/", "sessions": 0} and web.origin in alice.cli("status").stdout.decode()


def a_browser_is_given_a_file_and_no_argument_tells_the_code():
    """Everybody on the machine sees the arguments of programs."""
    box = os.path.join(lab.folder, "screen")
    os.makedirs(box)
    with open(os.path.join(box, "xdg-open"), "w") as f:
        f.write('#!/bin/sh\nprintf "%%s\\n" "$@" > "%s/asked"\n' % box)
    os.chmod(os.path.join(box, "xdg-open"), 0o700)
    command = subprocess.Popen([lab.binary, "--home", alice.home, "dashboard"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env={**os.environ, "PATH": box + ":" + os.environ["PATH"], "DISPLAY": ":9", "XDG_RUNTIME_DIR": box})
    shown = command.stdout.readline().strip()
    wait_for(lambda: os.path.exists(os.path.join(box, "asked")), what="the browser")
    with open(os.path.join(box, "asked")) as f:
        asked = f.read().split("\n")
    assert len(asked) == 2 and asked[0].startswith(box) and "code" not in asked[0], asked
    assert stat.S_IMODE(os.stat(asked[0]).st_mode) == 0o600
    with open(asked[0]) as f:
        assert shown in f.read()
    assert web.sign_in(shown.split("#code=")[1])[0]
    assert command.wait(10) == 0 and not os.path.exists(asked[0]), "the file goes with the code"


def two_daemons_do_not_meet_over_a_port():
    other = bob.call("http.code")["url"]
    port = int(other.split(":")[2].split("/")[0])
    assert port != web.port and listening(port) == {"0100007F"}
    bob.call("http.close")


def an_address_of_others_needs_a_second_switch():
    carol = lab.daemon("carol")
    assert carol.start_refused("--http", "0.0.0.0:0") == 2
    assert carol.start_refused("--http", "localhost") == 2
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        carol.start("--http", "127.0.0.1:%d" % busy.getsockname()[1])  # a warning, and it goes on
    assert carol.call("http.status")["url"] is None and "http-not-listening" in carol.log()
    carol.stop()
    carol.start("--http", "0.0.0.0:%d" % lab.port(), "--http-remote")
    assert any("without TLS" in w for w in carol.status()["warnings"])
    carol.stop()


# --- every answer ----------------------------------------------------------------------------------------------
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
                               "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
                               "trusted-types lit-html",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def every_answer_has_the_same_headers():
    for method, path in (("GET", "/"), ("GET", "/app.js"), ("GET", "/livez"), ("HEAD", "/"), ("GET", "/nothing"), ("GET", "/metrics"),
                         ("GET", "/api/v1/status"), ("POST", "/api/v1/session"), ("PUT", "/"), ("OPTIONS", "/")):
        got = web.ask(method, path, {"Accept-Encoding": "gzip"})
        assert got.status, (method, path)
        for name, value in HEADERS.items():
            assert got.headers.get(name) == value, (method, path, name, got.headers)
        static = got.status == 200 and path in ("/", "/app.js")
        assert got.headers["cache-control"] == ("no-cache" if static else "no-store"), (path, got.headers)


def the_page_is_compressed_and_tagged():
    got = web.get("/", Accept_Encoding="gzip, br")
    assert got.status == 200 and got.headers["content-encoding"] == "gzip" and got.headers["content-type"] == "text/html; charset=utf-8"
    html = gzip.decompress(got.body).decode()
    assert "<script" in html and "app.js" in html and "onload=" not in html
    tag = got.headers["etag"]
    assert re.match(r'"[0-9a-f]{32}"$', tag)
    again = web.get("/", Accept_Encoding="gzip", If_None_Match=tag)
    assert again.status == 304 and not again.body and again.headers["etag"] == tag
    assert web.get("/").status == 406
    head = web.ask("HEAD", "/", {"Accept-Encoding": "gzip"})
    assert head.status == 200 and int(head.headers["content-length"]) == len(got.body)
    for name, kind in (("app.js", "text/javascript; charset=utf-8"), ("app.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml")):
        got = web.get("/" + name, Accept_Encoding="gzip")
        assert got.status == 200 and got.headers["content-type"] == kind and gzip.decompress(got.body)


# --- whose request it is ------------------------------------------------------------------------------------------
def only_our_names_are_answered():
    """DNS rebinding: a page of a stranger points its own name to 127.0.0.1."""
    before = alice.call("http.status")["counters"]["http_refused_host"]
    bad = ["evil.example", "evil.example:%d" % web.port, "127.0.0.1", "127.0.0.1:%d" % (web.port + 1), "localhost.:%d" % web.port,
           "127.0.0.1:%d.evil.example" % web.port, "0.0.0.0:%d" % web.port, "[::]:%d" % web.port]
    for host in bad:
        for path in ("/", "/livez", "/metrics", "/api/v1/status", "/nothing"):
            got = web.ask("GET", path, {"Host": host})
            assert got.status == 421, (host, path, got)
    assert web.ask("GET", "/livez", {"Host": None}).status in (421, 400, None)
    assert alice.call("http.status")["counters"]["http_refused_host"] >= before + len(bad) * 5
    for host in ("localhost", "LOCALHOST", "[::1]"):
        assert web.ask("GET", "/livez", {"Host": "%s:%d" % (host, web.port)}).status == 200
    live = Live(web, {"Host": "evil.example:%d" % web.port, "Origin": "http://evil.example:%d" % web.port})
    assert live.refused.status == 421


def a_page_of_somebody_else_gets_nothing():
    for origin in ("http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:%d" % (web.port + 1), "https://127.0.0.1:%d" % web.port,
                   "http://localhost:%d" % web.port):
        got = web.ask("GET", "/livez", {"Origin": origin})
        assert got.status == 403, (origin, got)
    for site in ("cross-site", "same-site"):
        assert web.get("/livez", Sec_Fetch_Site=site).status == 403
        assert web.get("/app.js", Sec_Fetch_Site=site, Accept_Encoding="gzip").status == 403
        # Somebody's link shows the page, and a frame does not.
        shown = web.get("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document", Accept_Encoding="gzip")
        assert shown.status == 200
        framed = web.get("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe", Accept_Encoding="gzip")
        assert framed.status == 403
    assert web.get("/livez", Sec_Fetch_Site="same-origin").status == 200


# --- sessions ---------------------------------------------------------------------------------------------------------
def a_code_opens_one_session_once():
    global page
    base, code = new_code()
    assert base == web.origin
    page, got = web.sign_in(code)
    v = got.json
    assert v["schema"] == "ironmesh.session/1" and v["role"] == "admin" and v["node"]["name"] == "alice" and len(v["csrf"]) == 64, v
    cookie = got.headers["set-cookie"]
    assert cookie.startswith("ironmesh_%d=" % web.port) and "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie  # there is no TLS on loopback
    again, refused = web.sign_in(code)  # a stolen address
    assert again is None and refused.status == 401 and "ironmesh dashboard" in refused.error["data"]["next"]
    for wrong in ("", "0" * 64, code[:-1], code + "0"):
        assert web.sign_in(wrong)[1].status == 401
    assert page.get("/api/v1/session").json["id"] == v["id"]
    assert "csrf" not in page.get("/api/v1/session").json
    assert page.call("status").json["name"] == "alice"


def a_code_is_posted_by_our_page_alone():
    _, code = new_code()
    body = json.dumps({"code": code}).encode()
    kind = {"Content-Type": "application/json"}
    assert web.ask("POST", "/api/v1/session", {**kind, "Origin": "http://evil.example"}, body).status == 403
    assert web.ask("POST", "/api/v1/session", {"Content-Type": "text/plain"}, body).status == 415
    assert web.ask("POST", "/api/v1/session", kind, b"{").status == 400
    assert web.ask("POST", "/api/v1/session", kind, b"[]").status == 400
    assert web.ask("POST", "/api/v1/session", kind, b'{"code":5}').status == 401
    assert web.ask("POST", "/api/v1/session", kind, b'{"code":"' + b"x" * 5000 + b'"}').status == 413
    assert web.sign_in(code)[0], "none of these has used it"


def a_cookie_alone_is_nobody():
    """Another program on another port of this machine gets the cookie too: browsers do not tell ports apart."""
    for headers in ({}, {"X-Ironmesh-CSRF": ""}, {"X-Ironmesh-CSRF": "0" * 64}, {"X-Ironmesh-CSRF": page.csrf[:-1]}):
        got = web.ask("GET", "/api/v1/status", {"Cookie": page.cookie, **headers})
        assert got.status == 403 and "CSRF" in got.error["message"], got
        got = web.ask("POST", "/api/v1/status", {"Cookie": page.cookie, "Origin": web.origin, "Content-Type": "application/json", **headers}, b"{}")
        assert got.status == 403, got
    assert web.ask("GET", "/api/v1/status", {"X-Ironmesh-CSRF": page.csrf}).status == 401
    # A POST of a page says where it comes from.
    assert page.ask("POST", "/api/v1/status", {"Content-Type": "application/json"}, b"{}").status == 403
    assert web.ask("GET", "/livez", {"Cookie": page.cookie}).status == 200
    # Somebody put other cookies of this name before ours.
    both = ("ironmesh_%d=%s; " % (web.port, "0" * 64)) * 100 + page.cookie
    assert page.ask("GET", "/api/v1/session", {"Cookie": both}).status == 200


def sessions_are_listed_and_ended():
    other, got = web.sign_in(new_code(role="read")[1])
    assert got.json["role"] == "read"
    assert other.call("peers.list").status == 200
    refused = other.call("peers.approve", {"peer": bob.id})
    assert refused.status == 403 and refused.error["data"]["exit"] == 8, refused
    assert other.get("/api/v1/sessions").status == 403
    listed = page.get("/api/v1/sessions").json["sessions"]
    assert {s["id"] for s in listed} >= {got.json["id"]} and sum(s["own"] for s in listed) == 1
    assert page.get("/api/v1/sessions").body.find(other.cookie.split("=")[1].encode()) < 0
    ended = page.ask("DELETE", "/api/v1/sessions/" + got.json["id"], {"Origin": web.origin})
    assert ended.status == 200 and other.get("/api/v1/session").status == 401
    assert page.ask("DELETE", "/api/v1/sessions/" + got.json["id"], {"Origin": web.origin}).status == 404
    mine, _ = web.sign_in(new_code()[1])
    out = mine.ask("DELETE", "/api/v1/session", {"Origin": web.origin})
    assert out.status == 200 and "Max-Age=0" in out.headers["set-cookie"] and mine.get("/api/v1/session").status == 401


def what_is_kept_of_sessions_is_hashed():
    path = os.path.join(alice.home, "http-sessions.json")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path) as f:
        text = f.read()
    assert page.csrf not in text and page.cookie.split("=")[1] not in text
    log = alice.log()
    assert page.csrf not in log and page.cookie.split("=")[1] not in log


# --- tokens -------------------------------------------------------------------------------------------------------------
def tokens_have_roles():
    alice.wait_online(bob.id)
    for role in ("metrics", "read", "send", "admin"):
        done = alice.cli("token", "create", "--role", role, "--name", "t-" + role, check=True)
        tokens[role] = web.with_token(done.stdout.decode().strip())
    allowed = {"metrics": 0, "read": 1, "send": 2, "admin": 3}
    for role, http in tokens.items():
        rank = allowed[role]
        assert http.get("/metrics").status == 200, role
        assert http.call("status").status == (200 if rank >= 1 else 403), role
        assert http.call("outbox.cancel", {"msg_id": "none"}).status == (404 if rank >= 2 else 403), role
        assert http.call("peers.alias", {"peer": bob.id, "alias": "rob"}).status == (200 if rank >= 3 else 403), role
    alice.call("peers.alias", peer=bob.id, alias="")
    # What is of the machine alone.
    for method in ("keys.rotate", "keys.revoke", "token.create", "token.list", "http.code", "http.close", "events.subscribe"):
        got = tokens["admin"].call(method, {"role": "admin"} if method == "token.create" else {})
        assert got.status == 403 and "command line" in got.error["message"], (method, got)
    # A file of this machine is no matter of HTTP.
    assert tokens["admin"].call("config.show", {"file": "/etc/passwd"}).status == 403


def a_wrong_token_is_nobody():
    for bad in ("imt_" + "0" * 64, "x", "imt_", tokens["read"].defaults["Authorization"][7:-1]):
        got = web.with_token(bad).call("status")
        assert got.status == 401 and "bearer" in got.headers["www-authenticate"].lower(), got
    assert web.ask("GET", "/api/v1/status", {"Authorization": "Basic YTpi"}).status == 401
    assert web.get("/api/v1/status").status == 401
    # With a token no page is needed, and a foreign page may not use one.
    assert tokens["read"].get("/api/v1/status", Origin="http://evil.example").status == 403


def wrong_tokens_are_limited_and_a_right_one_is_not_locked_out():
    last = [web.with_token("imt_" + "f" * 64).get("/api/v1/status").status for _ in range(60)]
    assert 401 in last[:5] and last[-1] == 429, last
    assert tokens["read"].get("/api/v1/status").status == 200
    events = [e for e in alice.audit() if e["event"] == "HTTP_AUTH_FAILED"]
    assert 1 <= len(events) <= 30, len(events)


def a_revoked_token_is_refused_at_once():
    text = alice.call("token.create", role="read", name="short")["token"]
    http = web.with_token(text)
    assert http.get("/api/v1/status").status == 200
    alice.cli("token", "revoke", "short", check=True)
    assert http.get("/api/v1/status").status in (401, 429)
    live = Live(web.with_token(alice.call("token.create", role="read", name="streams")["token"]))
    live.start(None, events=[])
    alice.call("token.revoke", token="streams")
    assert live.closed() == 4401
    brief = web.with_token(alice.call("token.create", role="read", life_ms=700)["token"])
    assert brief.get("/api/v1/status").status == 200
    wait_for(lambda: brief.get("/api/v1/status").status in (401, 429), what="the end of a token")
    with open(os.path.join(alice.home, "tokens.json")) as f:
        assert text[4:] not in f.read()


# --- commands ---------------------------------------------------------------------------------------------------------
def commands_answer_as_on_the_control_socket():
    alice.call("peers.approve", peer=bob.id)
    bob.call("peers.approve", peer=alice.id)
    alice.wait_online(bob.id)
    sent = page.call("send", {"to": "bob", "body": "over http", "wait_ms": 5000})
    assert sent.status == 200 and sent.json["state"] == "delivered", sent
    assert sent.headers["content-type"] == "application/json"
    got = page.get("/api/v1/outbox.list?limit=1&state=delivered").json["messages"]
    assert len(got) == 1 and got[0]["msg_id"] == sent.json["msg_id"]
    assert bob.take_body("over http")
    for query, word in (("limit=x", "whole number"), ("limit=0", "limit"), ("colour=1", "colour"), ("limit=1&limit=2", "twice"), ("&limit=1&&colour=1", "colour"),
                        ("state=%ff", "text")):
        bad = page.get("/api/v1/outbox.list?" + query)
        assert bad.status == 400 and word in bad.error["message"] and bad.error["data"]["err"] == "usage", (query, bad)
    assert page.get("/api/v1/outbox.list?state=%00").status in (400, 403, None)
    assert page.get("/api/v1/peers.show?peer=b%6Fb").json["name"] == "bob"
    assert page.get("/api/v1/send?to=bob&body=x").status == 405
    nobody = page.call("send", {"to": "nobody-here", "body": "x"})
    assert nobody.status == 404 and nobody.error["data"]["err"] == "not-found" and nobody.error["data"]["exit"] == 4
    assert nobody.error["data"].get("next"), nobody
    wrong = page.call("trust.verify", {"peer": "bob", "fingerprint": "0" * 32})
    assert wrong.status == 422 and wrong.error["data"]["err"] == "auth", wrong
    missing = page.call("stat")
    assert missing.status == 404 and "no method" in missing.error["message"]
    assert page.call("wait", {"msg_id": sent.json["msg_id"], "wait_ms": 60001}).status == 400
    qr = page.get("/api/v1/qr").json
    assert len(qr["rows"]) == qr["size"] and set("".join(qr["rows"])) == {"0", "1"}


def a_wait_is_given_up_with_its_connection():
    wait_for(lambda: alice.call("http.status")["connections"] == 0, what="the end of the ones before")
    before = 0
    sock = web.connect()
    body = json.dumps({"wait_ms": 60000}).encode()
    sock.sendall(tokens["send"].text("POST", "/api/v1/inbox.take", {"Content-Type": "application/json"}, body))
    wait_for(lambda: alice.call("http.status")["connections"] == before + 1, what="the connection")
    sock.close()
    wait_for(lambda: alice.call("http.status")["connections"] == before, what="its end")


def one_connection_serves_many_requests():
    kind = {"Content-Type": "application/json", "Origin": web.origin}
    sock = web.connect()
    for _ in range(3):
        sock.sendall(web.text("GET", "/livez"))
        got, rest = read_answer(sock)
        assert got.status == 200 and got.body == b"ok\n" and rest == b""
        sock.sendall(page.text("POST", "/api/v1/version", kind, b"{}"))
        got, rest = read_answer(sock)
        assert got.json["schema"] == "ironmesh.version/1" and rest == b""
    for piece in (page.text("POST", "/api/v1/version", {**kind, "Content-Length": "2"}), b"{}"):
        sock.sendall(piece)
        time.sleep(0.05)
    assert read_answer(sock)[0].status == 200
    sock.close()


def who_sends_ahead_has_one_answer_and_stops_nobody():
    kind = {"Content-Type": "application/json", "Origin": web.origin}
    get, post = web.text("GET", "/livez"), page.text("POST", "/api/v1/version", kind, b"{}")
    nobody = web.text("POST", "/api/v1/session", kind, b'{"code": "x"}')
    wait = tokens["send"].text("POST", "/api/v1/inbox.take", kind, b'{"wait_ms": 300}')
    for ahead in (get + post, post + post, get + nobody, post + get + post, wait + get + post, wait + wait, (get + post) * 50,
                  get + page.text("GET", "/livez", {"Content-Length": "5"}, b"hello")):
        with web.connect() as sock:
            sock.sendall(ahead)
            got, rest = read_answer(sock)
            assert got.status == 200, (ahead[:40], got)
            try:
                assert (rest or sock.recv(65536)) == b"", (ahead[:40], rest)
            except ConnectionError:
                pass
        assert alice.call("status", timeout=2) and web.get("/livez").status == 200
    # In pieces, while a command runs.
    with web.connect() as sock:
        sock.sendall(wait + post[:20])
        time.sleep(0.1)
        sock.sendall(post[20:])
        assert read_answer(sock)[0].status == 200
    assert alice.call("status", timeout=2)


def a_body_of_no_length_is_no_request():
    kind = {"Content-Type": "application/json", "Content-Length": None}
    for odd in ({}, {"Content-Length ": "2"}, {"Content-Length": ""}):
        with web.connect() as sock:
            sock.sendall(tokens["read"].text("POST", "/api/v1/version", {**kind, **odd}) + b"{}" + web.text("GET", "/livez"))
            got, rest = read_answer(sock)
            assert got.status == 200 and got.headers["connection"] == "close" and rest == b"", (odd, got)
            try:
                assert sock.recv(100) == b""
            except ConnectionError:
                pass


# --- limits -------------------------------------------------------------------------------------------------------------
def too_much_is_refused_before_it_is_read():
    kind = {"Content-Type": "application/json"}
    big = page.ask("POST", "/api/v1/send", {**kind, "Origin": web.origin, "Content-Length": str(5 << 20)})
    assert big.status == 413 and big.headers["connection"] == "close", big
    assert web.ask("POST", "/api/v1/send", {**kind, "Content-Length": str(4 << 20)}).status == 401
    assert tokens["send"].ask("POST", "/api/v1/send", {**kind, "Content-Length": None, "Transfer-Encoding": "chunked"}).status == 411
    for length in ("-1", "1e3", "999999999999999999999", "12x"):
        assert tokens["send"].ask("POST", "/api/v1/send", {**kind, "Content-Length": length}).status in (400, 403, 413, None), length
    assert tokens["read"].ask("GET", "/api/v1/status", {"Content-Length": "5"}, b"hello").status == 413
    # A whole mebibyte goes through.
    body = "x" * (1 << 20)
    assert tokens["send"].call("send", {"to": "bob", "body": body}).status == 200
    assert bob.take_body(body)
    long = web.ask("GET", "/livez", {"Cookie": "x=" + "y" * 20000})
    assert long.status in (None, 400, 413, 431), long
    assert web.ask("GET", "/" + "a" * 20000).status in (None, 400, 404, 414)
    assert web.get("/livez").status == 200


def what_is_no_http_is_closed():
    for text in (b"\x16\x03\x01\x02\x00\x01", b"\0" * 64, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                 b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % web.port, b"X" * 70000):
        with web.connect(timeout=20) as sock:
            try:
                sock.sendall(text)
                got, _ = read_answer(sock)
            except (ConnectionError, BrokenPipeError):
                continue
            assert got.status is None or got.status >= 400, (text[:30], got)
    assert web.get("/livez").status == 200


def who_is_slow_keeps_nobody_out():
    slow = [web.connect(timeout=30) for _ in range(1000)]
    for s in slow[::2]:
        try:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: ")
        except OSError:
            pass  # made room already
    assert web.get("/livez").status == 200
    assert page.call("status").status == 200
    assert alice.call("http.status")["connections"] <= 128
    assert alice.call("http.status")["counters"]["http_displaced"] >= 800
    # Headers that never end are not waited for.
    with web.connect(timeout=30) as drip:
        began = time.monotonic()
        try:
            for c in b"GET /livez HTTP/1.1\r\nX: " + b"y" * 1000:
                drip.sendall(bytes([c]))
                time.sleep(0.1)
        except OSError:
            pass
        assert time.monotonic() - began < 12
    wait_for(lambda: alice.call("http.status")["connections"] <= 5, timeout=20, what="the end of the slow ones")
    for s in slow:
        s.close()


def bodies_of_nobody_keep_nobody_out():
    slow = [web.connect(timeout=30) for _ in range(130)]
    for s in slow:
        s.sendall(web.text("POST", "/api/v1/session", {"Content-Type": "application/json", "Content-Length": "100"}, b"{"))
    wait_for(lambda: alice.call("http.status")["connections"] >= 128, what="the crowd")
    for _ in range(3):
        assert web.get("/livez").status == 200
        assert page.call("status").status == 200
    for s in slow:
        s.close()


def a_body_that_does_not_come_is_not_waited_for():
    with web.connect(timeout=40) as sock:
        sock.sendall(tokens["send"].text("POST", "/api/v1/send", {"Content-Type": "application/json", "Content-Length": "100"}, b"{"))
        began = time.monotonic()
        assert sock.recv(1) == b"" and time.monotonic() - began < 25


# --- streams --------------------------------------------------------------------------------------------------------------
def a_stream_tells_what_happens():
    live = Live(page)
    assert not live.refused, live.refused
    started = live.start(page, events=["message.", "peer."])
    assert started["type"] == "started" and started["role"] == "admin", started
    sent = alice.send("bob", "told")
    got = live.wait(lambda m: m["type"] == "event" and m["event"]["type"] == "message.delivered")
    assert got["event"]["msg_id"] == sent["msg_id"] and got["event"]["schema"] == "ironmesh.event/1"
    live.say({"type": "events", "events": ["audit"]})
    alice.send("bob", "not told")
    alice.call("http.code")
    assert live.wait(lambda m: m["type"] == "event")["event"]["type"] == "audit"
    live.close()


def the_feed_comes_with_numbers_and_says_when_it_has_a_gap():
    live = Live(page)
    started = live.start(page, feed=True)
    boot, seq = started["boot"], started["seq"]
    assert started["gap"] is False and len(boot) == 16, started
    snapshot = page.call("feed.snapshot", {"section": "peers"}).json
    assert snapshot["boot"] == boot and any(r["id"] == bob.id for r in snapshot["rows"])
    for i in range(3):
        alice.send("bob", "fed %d" % i, wait_ms=5000)
    last, heard = seq, []
    while not any("messages" in f for f in heard):
        got = live.wait(lambda m: m["type"] == "feed")["feed"]
        assert got["schema"] == "ironmesh.feed/1" and got["boot"] == boot and got["seq"] == last + 1, (last, got)
        last = got["seq"]
        heard.append(got)
    live.close()
    # It goes on where it ended ...
    live = Live(page)
    assert live.start(page, feed={"boot": boot, "since": seq})["gap"] is False
    assert live.wait(lambda m: m["type"] == "feed")["feed"]["seq"] == seq + 1
    live.close()
    # ... and says when that is not there any more.
    for since, b in ((seq, "0" * 16), (last + 100000, boot)):
        live = Live(page)
        assert live.start(page, feed={"boot": b, "since": since})["gap"] is True
        live.close()


def a_stream_of_a_token_has_no_csrf():
    live = Live(tokens["read"])
    assert live.start(None, events=[])["role"] == "read"
    live.close()
    assert Live(tokens["metrics"]).refused.status == 401
    assert Live(web).refused.status == 401
    assert Live(page, {"Origin": None}).refused.status == 403
    assert Live(page, {"Origin": "http://evil.example"}).refused.status == 403
    assert Live(page, path="/api/v1/status").refused.status == 404
    assert Live(page, path="/").refused.status == 404
    assert page.get("/api/v1/live").status == 426


def a_stream_is_closed_with_a_reason():
    for first, code in ((b"nonsense", 4400), (b"[]", 4400), ({"type": "start"}, 4401), ({"type": "start", "csrf": "0" * 64}, 4401),
                        ({"type": "events", "events": []}, 4400), ({"type": "start", "csrf": page.csrf, "events": "x"}, 4400),
                        ({"type": "start", "csrf": page.csrf, "feed": {"since": -1}}, 4400), (b"x" * 9000, 4400)):
        live = Live(page)
        live.say(first)
        assert live.closed() == code, (first, live.close_code)
    live = Live(page)
    live.frame(2, b"{}")
    assert live.closed() == 4400
    live = Live(page)
    assert live.closed() == 4408  # nothing was said
    other, got = web.sign_in(new_code()[1])
    live = Live(other)
    live.start(other, events=[])
    page.ask("DELETE", "/api/v1/sessions/" + got.json["id"], {"Origin": web.origin})
    assert live.closed() == 4401


def there_are_sixteen_streams():
    made = []
    while len(made) < 20:
        live = Live(tokens["read"])
        if live.refused:
            break
        live.start(None, events=[])
        made.append(live)
    assert len(made) == 16 and live.refused.status == 503, len(made)
    for one in made:
        one.close()
    wait_for(lambda: alice.call("http.status")["connections"] <= 2, what="their end")


def a_slow_page_costs_no_memory():
    """It loses events, is told so, and is closed when it takes nothing."""
    live = Live(tokens["read"], receive_buffer=4096, timeout=60)
    live.start(None, events=[])
    rss = int(openmetrics.read(scrape().body.decode())[1]["process_resident_memory_bytes", ()])
    for _ in range(8):
        alice.call("send_many", to="bob", messages=["x" * 20] * 1024)
    wait_for(lambda: alice.status()["outbox"]["queued"] == 0, timeout=60, what="all delivered")
    after = int(openmetrics.read(scrape().body.decode())[1]["process_resident_memory_bytes", ()])
    if "/asan/" not in lab.binary:  # which keeps what was freed for a while
        assert after - rss < 48 << 20, (rss, after)
    assert live.wait(lambda m: m["type"] == "event" and m["event"]["type"] == "events.lost")["event"]["count"] > 0
    live.close()
    stuck = Live(tokens["read"], receive_buffer=4096, timeout=60)
    stuck.start(None, events=[])
    before = alice.call("http.status")["counters"]["http_streams_slow"]
    for _ in range(4):
        alice.call("send_many", to="bob", messages=["x" * 20] * 1024)
    wait_for(lambda: alice.call("http.status")["counters"]["http_streams_slow"] > before, timeout=60, what="the end of a slow stream")
    stuck.close()


# --- numbers and health -----------------------------------------------------------------------------------------------------
def scrape(accept="application/openmetrics-text;version=1.0.0"):
    return tokens["metrics"].get("/metrics", Accept=accept)


def metrics_are_open_metrics():
    assert web.get("/metrics").status == 401
    got = scrape()
    assert got.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families, samples = openmetrics.read(got.body.decode())
    delivered = samples["ironmesh_messages_total", (("dir", "out"), ("state", "delivered"))]
    assert delivered == alice.counters()["messages_delivered"] > 0
    assert samples["ironmesh_peers_online", ()] == 1
    assert not any("peer" in dict(labels) for _, labels in samples), "no peer is named"
    for name, value in alice.counters().items():
        if name.startswith(("links_", "banned_now")):
            continue
        assert ("ironmesh_node_events_total", (("counter", name),)) in samples, name
    old = scrape("text/plain")
    assert old.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8" and b"# EOF" not in old.body
    assert b"# TYPE ironmesh_messages_total counter" in old.body
    assert openmetrics.read(alice.cli("metrics", check=True).stdout.decode())[0].keys() == families.keys()


def documented_metrics_are_those_that_are_there():
    families, _ = openmetrics.read(scrape().body.decode())
    with open(os.path.join(ROOT, "docs", "metrics.md")) as f:
        rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| (\w+|-) \|", f.read(), re.M)
    shown = {name: (kind, unit) for name, kind, unit in rows}
    for name, f in families.items():
        assert shown.get(name) == (f.kind, f.unit or "-"), (name, shown.get(name))
    assert {n for n in shown if not n.startswith("ironmesh_peer_")} == set(families)


def dashboards_and_alerts_use_names_that_are_there():
    families, samples = openmetrics.read(scrape().body.decode())
    there = {name for name, _ in samples} | {f.name + s for f in families.values() for s in openmetrics.SUFFIXES[f.kind]}
    with open(os.path.join(ROOT, "packaging", "grafana", "ironmesh.json")) as f:
        board = json.load(f)
    expressions = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
    with open(os.path.join(ROOT, "packaging", "prometheus", "ironmesh.rules.yml")) as f:
        rules = f.read()
    expressions += re.findall(r"^ +expr: (.+)$", rules, re.M)
    assert len(expressions) >= 15 and rules.count("- alert:") == rules.count("summary:") >= 6
    used = set()
    for e in expressions:
        used |= set(re.findall(r"\b(?:ironmesh|process)_[a-z_]+\b", e))
    assert used and used <= there, used - there
    for label, value in re.findall(r'(\w+)="(\w+)"', " ".join(expressions)):
        assert any(dict(labels).get(label) == value for _, labels in samples), (label, value)


def health_is_told_without_details():
    assert web.get("/livez").body == b"ok\n"
    got = web.get("/readyz")
    assert got.status == 200 and got.json == {"schema": "ironmesh.ready.check/1", "ready": True}
    checks = tokens["metrics"].get("/readyz").json["checks"]
    assert {c["name"] for c in checks} == {"store", "trust_store", "transport"} and all(c["ok"] for c in checks)


def every_method_is_in_the_manual_of_the_api():
    with open(os.path.join(ROOT, "docs", "http-api.md")) as f:
        text = f.read()
    shown = dict(re.findall(r"^\| `([a-z_.]+)` \| (read|send|admin|-) \|", text, re.M))
    with open(os.path.join(ROOT, "docs", "control.md")) as f:
        methods = re.findall(r"^### ([a-z_.]+)$", f.read(), re.M)
    assert set(shown) == set(methods), set(shown) ^ set(methods)
    for method in methods:
        role = shown[method]
        got = tokens["metrics"].call(method)
        assert got.status == 403, (method, got)
        want = re.search(r"needs the role (\w+)", got.error["message"])
        assert (want.group(1) if want else "-") == role, (method, role, got.error["message"])


# --- restart -----------------------------------------------------------------------------------------------------------------
def a_session_outlives_a_restart():
    global page
    live = Live(page)
    live.start(page, events=[])
    alice.stop()
    assert live.closed() == 1001
    alice.start()
    assert alice.call("http.status")["url"] == web.origin + "/"
    assert page.call("status").status == 200
    # An absence is no restart, and who finds the port taken trusts nobody who came by it.
    path = os.path.join(alice.home, "http-sessions.json")
    alice.stop()
    os.utime(path, (time.time() - 130, time.time() - 130))
    alice.start()
    assert alice.call("http.status") | {"counters": 0} == {"schema": "ironmesh.http/1", "url": None, "sessions": 0, "connections": 0, "counters": 0}
    page, _ = web.sign_in(new_code()[1])
    alice.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", web.port))
        thief.listen()
        alice.start()
        assert alice.call("http.status")["sessions"] == 0 and not os.path.exists(path)
    page, _ = web.sign_in(new_code()[1])
    assert page.call("status").status == 200
    alice.cli("dashboard", "--end", check=True)
    assert page.get("/api/v1/session").status == 401
    assert not os.path.exists(os.path.join(alice.home, "http-sessions.json"))
    alice.restart()
    assert alice.call("http.status")["url"] is None


def an_open_scrape_is_a_choice():
    port = lab.port()
    alice.restart("--http", "127.0.0.1:%d" % port, "--http-metrics", "open", "--http-name", "mesh.example:443", "--set",
                  "http.metrics_per_peer=yes")
    http = Http(port)
    families, samples = openmetrics.read(http.get("/metrics", Accept="application/openmetrics-text").body.decode())
    assert ("ironmesh_peer_queue_depth", (("peer", bob.id),)) in samples
    assert http.get("/api/v1/status").status == 401
    # Behind a proxy with TLS.
    assert http.ask("GET", "/livez", {"Host": "mesh.example", "Origin": "https://mesh.example"}).status == 200
    assert http.ask("GET", "/livez", {"Host": "mesh.example", "Origin": "https://other.example"}).status == 403
    assert any("/metrics is open" in w for w in alice.status()["warnings"])


def a_damaged_file_of_tokens_admits_nobody():
    alice.stop()
    path = os.path.join(alice.home, "tokens.json")
    with open(path, "r+") as f:
        f.seek(20)
        f.write("#")
    alice.start()
    http = Http(int(alice.call("http.status")["url"].split(":")[2].strip("/")))
    assert http.with_token(tokens["admin"].defaults["Authorization"][7:]).get("/api/v1/status").status == 401
    done = alice.cli("token", "create", "--role", "read")
    assert done.returncode == 9 and b"damaged" in done.stderr and b"next:" in done.stderr, done


TESTS = [nothing_listens_until_it_is_asked_for, a_browser_is_given_a_file_and_no_argument_tells_the_code, two_daemons_do_not_meet_over_a_port,
         an_address_of_others_needs_a_second_switch, every_answer_has_the_same_headers, the_page_is_compressed_and_tagged,
         only_our_names_are_answered, a_page_of_somebody_else_gets_nothing, a_code_opens_one_session_once,
         a_code_is_posted_by_our_page_alone, a_cookie_alone_is_nobody, sessions_are_listed_and_ended,
         what_is_kept_of_sessions_is_hashed, tokens_have_roles, a_wrong_token_is_nobody,
         wrong_tokens_are_limited_and_a_right_one_is_not_locked_out, a_revoked_token_is_refused_at_once,
         commands_answer_as_on_the_control_socket, a_wait_is_given_up_with_its_connection, one_connection_serves_many_requests,
         who_sends_ahead_has_one_answer_and_stops_nobody, a_body_of_no_length_is_no_request,
         too_much_is_refused_before_it_is_read, what_is_no_http_is_closed, who_is_slow_keeps_nobody_out,
         bodies_of_nobody_keep_nobody_out, a_body_that_does_not_come_is_not_waited_for, a_stream_tells_what_happens, the_feed_comes_with_numbers_and_says_when_it_has_a_gap, a_stream_of_a_token_has_no_csrf,
         a_stream_is_closed_with_a_reason, there_are_sixteen_streams, a_slow_page_costs_no_memory, metrics_are_open_metrics,
         documented_metrics_are_those_that_are_there, dashboards_and_alerts_use_names_that_are_there,
         health_is_told_without_details, every_method_is_in_the_manual_of_the_api, a_session_outlives_a_restart,
         an_open_scrape_is_a_choice, a_damaged_file_of_tokens_admits_nobody]
sys.exit(lab.run(*TESTS))
