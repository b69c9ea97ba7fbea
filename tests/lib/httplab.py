"""httplab -- a raw HTTP/1.1 and WebSocket client for tests that must say exactly what they send.

Nothing is added to a request but Host and Content-Length, and these only when the test does not give them.
"""
import base64
import json
import os
import socket
import struct


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    def __repr__(self):
        return "<%s %r>" % (self.status, self.body[:300])


def read_answer(sock, buffer=b"", head_only=False):
    """One answer and what follows it. status None: the connection was closed before one came."""
    while b"\r\n\r\n" not in buffer:
        try:
            piece = sock.recv(65536)
        except ConnectionError:
            piece = b""
        if not piece:
            return Answer(None, {}, buffer), b""
        buffer += piece
    head, rest = buffer.split(b"\r\n\r\n", 1)
    lines = head.decode("latin1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, value = line.split(":", 1)
        assert name.lower() not in headers, "twice: " + name
        headers[name.lower()] = value.strip()
    length = 0 if head_only else int(headers.get("content-length", 0))
    while len(rest) < length:
        piece = sock.recv(65536)
        if not piece:
            break
        rest += piece
    return Answer(int(lines[0].split()[1]), headers, rest[:length]), rest[length:]


class Http:
    def __init__(self, port):
        self.port = port
        self.origin = "http://127.0.0.1:%d" % port
        self.defaults = {}

    def connect(self, timeout=15.0):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def text(self, method, path, headers=None, body=b""):
        """`headers` with the value None leave a default out."""
        all_headers = {"Host": "127.0.0.1:%d" % self.port, **self.defaults, **(headers or {})}
        if body or method in ("POST", "PUT"):
            all_headers.setdefault("Content-Length", str(len(body)))
        lines = ["%s %s HTTP/1.1" % (method, path)]
        lines += ["%s: %s" % (k, v) for k, v in all_headers.items() if v is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin1") + body

    def ask(self, method, path, headers=None, body=b"", timeout=15.0):
        with self.connect(timeout) as sock:
            sock.sendall(self.text(method, path, headers, body))
            return read_answer(sock, head_only=method == "HEAD")[0]

    def get(self, path, **headers):
        return self.ask("GET", path, {k.replace("_", "-"): v for k, v in headers.items()})

    def call(self, method, params=None, headers=None):
        """A command, with what a page of ours sends."""
        body = json.dumps(params or {}).encode()
        return self.ask("POST", "/api/v1/" + method, {"Content-Type": "application/json", "Origin": self.origin, **(headers or {})}, body)

    def with_token(self, token):
        made = Http(self.port)
        made.defaults = {"Authorization": "Bearer " + token}
        return made

    def sign_in(self, code):
        """What a page does with the code of its address: an Http with cookie and csrf, and the answer."""
        got = self.call("session", {"code": code})
        if got.status != 200:
            return None, got
        made = Http(self.port)
        made.cookie = got.headers["set-cookie"].split(";")[0]
        made.csrf = got.json["csrf"]
        made.defaults = {"Cookie": made.cookie, "X-Ironmesh-CSRF": made.csrf}
        return made, got


class Live:
    """A WebSocket client. `refused`: the Answer, when there was no upgrade."""

    def __init__(self, http, headers=None, path="/api/v1/live", timeout=15.0, receive_buffer=None):
        self.refused = None
        self.close_code = None
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(("127.0.0.1", http.port))
        sent = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Origin": http.origin, **(headers or {})}
        self.sock.sendall(http.text("GET", path, sent))
        got, self.buffer = read_answer(self.sock)
        if got.status != 101:
            self.refused = got

    def frame(self, opcode, data):
        mask = os.urandom(4)
        n = len(data)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | n]) if n < 126 else bytes([0x80 | 126]) + struct.pack(">H", n))
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def say(self, value):
        self.frame(1, value if isinstance(value, bytes) else json.dumps(value).encode())

    def start(self, http=None, **more):
        csrf = {"csrf": http.csrf} if hasattr(http, "csrf") else {}
        self.say({"type": "start", **csrf, **more})
        return self.hear()

    def need(self, n):
        while len(self.buffer) < n:
            try:
                piece = self.sock.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                raise EOFError
            self.buffer += piece
        got, self.buffer = self.buffer[:n], self.buffer[n:]
        return got

    def hear(self):
        """The next message; None when it was closed (then close_code says how)."""
        text = b""
        try:
            while True:
                a, b = self.need(2)
                n = b & 127
                if n == 126:
                    n = struct.unpack(">H", self.need(2))[0]
                elif n == 127:
                    n = struct.unpack(">Q", self.need(8))[0]
                data = self.need(n)
                if a & 15 == 8:
                    self.close_code = struct.unpack(">H", data[:2])[0] if n >= 2 else 1005
                    self.sock.close()
                    return None
                if a & 15 in (0, 1):
                    text += data
                    if a & 128:
                        return json.loads(text)
        except EOFError:
            self.close_code = self.close_code or 1006
            self.sock.close()
            return None

    def wait(self, predicate, most=100000):
        for _ in range(most):
            got = self.hear()
            if got is None:
                raise AssertionError("closed with %s while waiting" % self.close_code)
            if predicate(got):
                return got
        raise AssertionError("it did not come")

    def closed(self):
        while self.hear() is not None:
            pass
        return self.close_code

    def close(self):
        self.sock.close()
