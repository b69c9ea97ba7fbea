"""rawws -- a WebSocket client of a few lines over plain sockets, for tests that must misbehave.

Unlike a library it binds any loopback source address, sends any frame (unmasked, fragmented, too long, half
of one) and answers nothing unless asked. RawWs is a Channel of peer09: send(), recv(), close().
"""
import base64
import os
import socket
import ssl
import struct
import time

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def tcp(port, source="127.0.0.1", timeout=10.0):
    s = socket.socket()
    s.settimeout(timeout)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.bind((source, 0))
    s.connect(("127.0.0.1", port))
    return s


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def is_gone(s, timeout=8.0):
    """True when the far side ended the TCP connection and sent nothing before; else the bytes it sent."""
    s.settimeout(timeout)
    try:
        got = s.recv(4096)
    except (ConnectionError, BrokenPipeError):
        return True
    except socket.timeout:
        return False
    return True if got == b"" else got


class RawWs:
    def __init__(self, port, source="127.0.0.1", tls=True, timeout=10.0, headers=(), version=13, path="/"):
        self.sock = tcp(port, source, timeout)
        try:
            if tls:
                self.sock = tls_context().wrap_socket(self.sock)
            key = base64.b64encode(os.urandom(16)).decode()
            lines = ["GET %s HTTP/1.1" % path, "Host: 127.0.0.1:%d" % port, "Upgrade: websocket", "Connection: Upgrade",
                     "Sec-WebSocket-Key: " + key, "Sec-WebSocket-Version: %d" % version, *headers]
            self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            self.buffer = b""
            while b"\r\n\r\n" not in self.buffer:
                piece = self.sock.recv(4096)
                if not piece:
                    raise ConnectionError("closed during the upgrade")
                self.buffer += piece
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise ConnectionError("no upgrade: %r" % head[:80])
        except (OSError, ssl.SSLError):
            self.sock.close()
            raise
        self.over = False
        self.close_code = None

    def frame(self, opcode, payload, fin=True, mask=True, length=None, rsv=0):
        """One WebSocket frame as it is written here, true or not."""
        payload = payload.encode() if isinstance(payload, str) else payload
        n = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        bit = 0x80 if mask else 0
        if n < 126:
            head += bytes([bit | n])
        elif n < 65536:
            head += bytes([bit | 126]) + struct.pack(">H", n)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", n)
        if mask:
            key = os.urandom(4)
            pad = (key * (len(payload) // 4 + 1))[:len(payload)]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(payload), "big")
            head += key
        self.raw(head + payload)

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except (OSError, ssl.SSLError):
            self.over = True
            raise ConnectionError("closed") from None

    def send(self, unit):
        self.frame(TEXT if isinstance(unit, str) else BINARY, unit)

    def _fill(self, n, deadline):
        while len(self.buffer) < n:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(65536)
            except socket.timeout:
                raise TimeoutError from None
            except (OSError, ssl.SSLError):
                piece = b""
            if not piece:
                self.over = True
                return False
            self.buffer += piece
        return True

    def recv(self, timeout):
        """The next text or binary message, None when the connection is over, TimeoutError."""
        deadline = time.monotonic() + timeout
        whole, first = b"", None
        while True:
            if self.over:
                return None
            if not self._fill(2, deadline):
                return None
            opcode, n, at = self.buffer[0] & 15, self.buffer[1] & 127, 2
            if n > 125:
                at = 4 if n == 126 else 10
                if not self._fill(at, deadline):
                    return None
                n = int.from_bytes(self.buffer[2:at], "big")
            if not self._fill(at + n, deadline):
                return None
            fin, payload = self.buffer[0] & 128, self.buffer[at:at + n]
            self.buffer = self.buffer[at + n:]
            if opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self.over = True
                return None
            if opcode == PING:
                self.frame(PONG, payload)
                continue
            if opcode == PONG:
                continue
            if opcode:
                first = opcode
            whole += payload
            if fin:
                return whole.decode() if first == TEXT else whole

    def is_closed(self, timeout=8.0):
        """Reads until the far side closes; False when it does not in time."""
        deadline = time.monotonic() + timeout
        try:
            while self.recv(max(0.01, deadline - time.monotonic())) is not None:
                pass
        except TimeoutError:
            return False
        return True

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass
