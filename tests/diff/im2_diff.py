#!/usr/bin/env python3
"""The codec of im2 in C against the Python reference of the specification: the same verdict and the same
bytes on valid encodings, on every limit and one beyond it, and on N seeded mutants of them.

    IM2REF=.../im2ref  tests/diff/im2_diff.py PROGRAM [N] [SEED]      (make im2-diff N=1000000)

A difference in the verdict or in the re-encoding is printed with its input and fails the run. Two names for
one refusal are counted only: an input that breaks two rules may be named after either.
"""
import collections
import hashlib
import multiprocessing
import os
import random
import subprocess
import sys

if not os.path.isdir(os.path.join(os.environ.get("IM2REF", ""), "im2")):
    sys.exit("im2-diff: the Python reference of im2 is not a part of this tree.\n"
             "Set IM2REF to the folder that holds its package im2/ (enc.py, wire.py), for example\n"
             "    make im2-diff IM2REF=$HOME/im2ref N=1000000")
sys.path.insert(0, os.environ["IM2REF"])
from im2 import enc, wire  # noqa: E402
from im2.prim import Fail  # noqa: E402

wire.ed_verify = lambda *a: True  # signatures are not the codec's: a record is judged by its shape
BATCH = 1000
NAMES = {tag: name for name, tag in wire.IT.items()}
RECORD_BODIES = dict(zip(wire.BODY, "CAP PREKEY ROUTE REVOKE ROTATE POSTURE EPOCH GROUP CARD".split()))
STRUCTS = {n: c for n, c in wire.CODEC.items() if isinstance(c, enc.S)}
STRUCTS.update(X1EXT=wire.X1EXT, X2PAY=wire.X2PAY, HS=wire.HSP, BUDGET=wire.BUDGET, RT=wire.RT,
               RECORD_T=wire.REC, CAPENT=wire.CAPENT)
STRUCTS.update({name: wire.BODY[t] for t, name in RECORD_BODIES.items()})
OTHERS = [n for n, c in wire.CODEC.items() if not isinstance(c, enc.S)] + ["ITEMS", "PLAIN"]


# --- the reference's verdict -------------------------------------------------------------------------
def plain_check(items):
    for tag, value in items:
        if tag in NAMES:
            wire.CODEC[NAMES[tag]].dec(value)
        elif tag & 1:
            raise Fail("E_CRITICAL")


def reencode(name, b):
    if name in STRUCTS:
        return STRUCTS[name].enc(STRUCTS[name].dec(b))
    if name in ("ITEMS", "PLAIN"):
        items, pad = enc.rd_items(b)
        if name == "PLAIN":
            plain_check(items)
        return enc.items(items, pad)
    v = wire.CODEC[name].dec(b)
    if name in ("FRAG", "CHUNK"):
        return wire.frag(*v)
    if name == "RECORD":
        t, end = enc.rd_lv(b)
        return enc.lv(wire.REC.enc(wire.REC.dec(t))) + b[end:]
    return v


def reference(name, b):
    try:
        return "fine " + hashlib.sha256(reencode(name, b)).hexdigest()[:16]
    except Fail as e:
        return e.args[0]


# --- valid values from the reference's own tables ------------------------------------------------------
TEXTS = ["a", "a-b_c.9", "llm:llama", "grüße", "日本語", "\U0001f600 ok", "x" * 40]


class Maker:
    def __init__(self, rnd):
        self.rnd = rnd

    def number(self, k):
        lo, hi = k.lo, k.hi
        picks = [lo, lo + 1, hi, hi - 1, 127, 128, 16383, 16384, self.rnd.randint(lo, hi)]
        return self.rnd.choice([v for v in picks if lo <= v <= hi and v != k.d])

    def some(self, n):
        return self.rnd.randbytes(n)

    def text(self, k):
        for _ in range(50):
            t = self.rnd.choice(TEXTS).encode()
            if k.lo <= len(t) <= k.hi and not (k.name and not t.isascii()) and not (k.name and b":" in t) \
                    and not (k.name and b" " in t):
                return t
        return b"a" * max(1, k.lo)

    def bytes(self, k):
        if k.n is not None:
            return self.some(k.n)
        return self.some(min(k.hi, max(k.lo, 1) + self.rnd.choice((0, 1, 5, 30, 126, 130))))

    def list(self, k):
        n = self.rnd.choice((0, 1, 2, 3) if k.empty else (1, 1, 2, 3, k.maxn if k.maxn <= 16 else 4))
        v = [self.value(k.el) for _ in range(n)]
        if k.asc:
            v = [x for _, x in sorted({k.el.enc(x): x for x in v}.items())]
        return v

    def value(self, k):
        if isinstance(k, enc.U):
            return self.number(k)
        if isinstance(k, enc.T):
            return self.text(k)
        if isinstance(k, enc.B):
            return self.bytes(k)
        if isinstance(k, enc.F):
            return True
        if isinstance(k, enc.Ls):
            return self.list(k)
        if isinstance(k, enc.S):
            return self.struct(k)
        if isinstance(k, wire.Entry):
            s = self.rnd.randint(1, 4)
            return (s, self.some(16), self.rnd.choice((0, 1, 12, 300))) if s == 4 else (s, self.some(16))
        if isinstance(k, wire.Pair):
            return (self.rnd.choice((1, 2, 300)), self.rnd.choice((1, 127, 5000)))
        if isinstance(k, wire.Hdr):
            return (self.some(self.rnd.randint(1, 64)), self.some(self.rnd.choice((0, 1, 200))))
        raise TypeError(k)

    def struct(self, s, fill=None):
        """A dictionary that the reference accepts; `fill` is the share of optional fields."""
        fill = self.rnd.choice((0, 0.3, 0.8, 1)) if fill is None else fill
        while True:
            d = {n: self.value(k) for n, k, req in s.f.values() if req or self.rnd.random() < fill}
            for a, b in (("ctype", "ctype_text"), ("sid", "st")):
                if a in d and b in d and self.rnd.random() < 0.5:
                    del d[a]
            if s is wire.MSG:
                for n in self.rnd.choice((("from", "to", "group"), ("group",), ("to",))):
                    d.pop(n, None)
                if len({"from", "to", "group"} & set(d)) == 1:
                    d.pop("from", d.pop("to", d.pop("group", None)))
                if d.get("flags", 0) & 16:
                    d["flags"] |= 8
            if s is wire.RT:
                if d["kind"] == 2:
                    d.update(sid=self.some(16), st=self.rnd.randint(1, 4))
                else:
                    d.pop("sid", None), d.pop("st", None)
            if s is wire.REC and self.rnd.random() < 0.9:
                d["type"] = self.rnd.randint(1, 9)
                d["body"] = wire.BODY[d["type"]].enc(self.struct(wire.BODY[d["type"]]))
            if self.rnd.random() < 0.15:
                tags = {2 * self.rnd.randint(1, 30), 16382}
                d["?"] = [(t, self.some(self.rnd.randint(0, 9))) for t in sorted(tags) if t not in s.f]
            if not d and s is not wire.GRANTACK and s.f and fill > 0:
                continue
            try:
                b = s.enc(d)
                return s.dec(b)
            except Fail:
                d.pop("?", None)

    def record(self):
        t = wire.REC.enc(self.struct(wire.REC))
        n = self.rnd.choice((0, 0, 2, 3, 16))
        if n == 0:
            return enc.lv(t) + b"\0" + self.some(64)
        eds = sorted([wire.REC.dec(t)["author"]] + [self.some(32) for _ in range(n - 1)])
        return enc.lv(t) + bytes([n]) + b"".join(e + self.some(64) for e in eds)

    def item(self, name):
        if name in STRUCTS:
            return STRUCTS[name].enc(self.struct(STRUCTS[name]))
        if name in ("FRAG", "CHUNK"):
            return wire.frag(self.rnd.choice((0, 1, 127, 300, 2**32 - 1)),
                             self.rnd.choice((0, 350, 2**40, 2**63 - 1)), self.some(self.rnd.randint(1, 40)))
        if name in ("PING", "PONG"):
            return self.some(8)
        if name == "GROUPMSG":
            return self.some(28 + self.rnd.choice((0, 1, 50)))
        if name == "RECORD":
            return self.record()
        xs = []
        for _ in range(self.rnd.choice((0, 1, 1, 2, 3, 5))):
            if self.rnd.random() < 0.1:
                xs.append((2 * self.rnd.randint(50, 8191), self.some(self.rnd.randint(0, 9))))
            else:
                n = self.rnd.choice(list(wire.IT))
                xs.append((wire.IT[n], self.item(n)))
        return enc.items(xs, self.rnd.choice((0, 0, 1, 7, 40)))


# --- mutants ----------------------------------------------------------------------------------------------
def fields(b):
    """[(tag, value)] of anything shaped like a structure, else None"""
    out, i = [], 0
    try:
        while i < len(b):
            t, i = enc.rd_varint(b, i)
            v, i = enc.rd_lv(b, i)
            out.append((t, v))
    except Fail:
        return None
    return out


def unfields(fs):
    return b"".join(enc.varint(t) + enc.lv(v) for t, v in fs)


NUMBERS = sorted({x for p in (0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 64, 127, 128, 255, 256, 16383, 16384, 65535,
                              65536, 86400, 2592000, 2**20, 2**30, 2**32, 2**53, 2**63)
                  for x in (p - 1, p, p + 1) if 0 <= x < 2**63})


class Mutator:
    def __init__(self, rnd, pools):
        self.rnd, self.pools = rnd, pools

    def raw(self, b):
        r, b = self.rnd, bytearray(b)
        k = r.randrange(8)
        i = r.randrange(len(b) + 1)
        if k == 0 and b:
            b[i % len(b)] ^= 1 << r.randrange(8)
        elif k == 1:
            b[i:i] = bytes([r.choice((0, 1, 2, 127, 128, 255, r.randrange(256)))])
        elif k == 2 and b:
            del b[i % len(b)]
        elif k == 3:
            b = b[:i]
        elif k == 4:
            j = r.randrange(len(b) + 1)
            b[i:i] = b[min(i, j):max(i, j)][:40]
        elif k == 5:
            b += bytes(r.randrange(1, 4))
        elif k == 6 and b:
            b[i % len(b)] = r.choice((0, 1, 0x1f, 0x20, 0x7f, 0x80, 0xc2, 0xed, 0xff))
        else:
            j = min(len(b), i + r.randrange(1, 20))
            del b[i:j]
        return bytes(b)

    def value(self, v):
        r = self.rnd
        k = r.randrange(7)
        if k == 0:
            return enc.varint(r.choice(NUMBERS))
        if k == 1:
            return b""
        if k == 2:
            n = enc.varint(r.choice(NUMBERS))
            return n[:-1] + bytes([n[-1] | 0x80, 0])  # one byte longer than needed
        if k == 3 and fields(v):
            return unfields(self.shuffle(fields(v)))
        if k == 4:
            return v + r.randbytes(1)
        if k == 5:
            return v[:-1]
        return self.raw(v)

    def shuffle(self, fs):
        r, fs = self.rnd, list(fs)
        k, i = r.randrange(7), r.randrange(len(fs))
        if k == 0:
            del fs[i]
        elif k == 1:
            fs.insert(i, fs[i])
        elif k == 2:
            j = r.randrange(len(fs))
            fs[i], fs[j] = fs[j], fs[i]
        elif k == 3:
            fs[i] = (r.choice((fs[i][0] ^ 1, fs[i][0] + 1, r.randrange(80), 16383, 16384)), fs[i][1])
        elif k == 4:
            t = r.choice((2, 4, 26, 36, 37, 77, 16382))
            fs = sorted(fs + [(t, r.randbytes(r.randrange(5)))], key=lambda f: f[0])
        else:
            fs[i] = (fs[i][0], self.value(fs[i][1]))
        return fs

    def mutant(self, name):
        r = self.rnd
        b = r.choice(self.pools[name])
        for _ in range(r.choice((1, 1, 1, 2, 3))):
            fs = fields(b) if name not in ("FRAG", "CHUNK", "PING", "PONG", "GROUPMSG", "RECORD") else None
            k = r.randrange(10)
            if fs and k < 6:
                b = unfields(self.shuffle(fs))
            elif k == 9:
                other = r.choice(self.pools[name])
                b = b[:r.randrange(len(b) + 1)] + other[r.randrange(len(other) + 1):]
            elif name == "RECORD" and k < 5:
                t, end = enc.rd_lv(b) if self.whole(b) else (b, len(b))
                fs = fields(t)
                b = enc.lv(unfields(self.shuffle(fs))) + b[end:] if fs else self.raw(b)
            else:
                b = self.raw(b)
        return b

    @staticmethod
    def whole(b):
        try:
            return bool(enc.rd_lv(b))
        except Fail:
            return False


# --- limits and one beyond ----------------------------------------------------------------------------------
def element(k, i):
    if isinstance(k, enc.T):
        return b"%04d" % i
    if isinstance(k, enc.B):
        return (b"%08d" % i).rjust(k.n, b"0") if k.n is not None else b"%04d" % i
    if isinstance(k, enc.S):
        return k.enc({"name": b"%04d" % i})
    return k.enc({wire.Entry: (2, b"%016d" % i), wire.Pair: (1, i + 1), wire.Hdr: (b"k", b"%04d" % i)}[type(k)])


def edges(maker):
    for name, s in STRUCTS.items():
        for d in (maker.struct(s, 1), maker.struct(s, 0)):
            d.pop("?", None)
            base = fields(s.enc(d))
            for i in range(len(base)):
                yield name, unfields(base[:i] + base[i + 1:])
        yield name, b""

        def with_field(t, v):
            return unfields(sorted([f for f in base if f[0] != t] + [(t, v)], key=lambda f: f[0]))

        for t, (_, k, _) in s.f.items():
            if isinstance(k, enc.U):
                for v in {k.lo - 1, k.lo, k.lo + 1, k.hi - 1, k.hi, k.hi + 1, k.d or 0}:
                    if 0 <= v < 2**63:
                        yield name, with_field(t, enc.varint(v))
                yield name, with_field(t, b"\xff" * 8 + b"\x7f")
                yield name, with_field(t, b"\xff" * 9 + b"\x01")
            elif isinstance(k, enc.B):
                lo, hi = (k.n, k.n) if k.n is not None else (k.lo, k.hi)
                for n in {lo - 1, lo, hi, hi + 1}:
                    if n >= 0:
                        yield name, with_field(t, b"a" * n)
                if isinstance(k, enc.T):
                    for c in list(range(256)) + [0x2028, 0xd7ff, 0xe000, 0xffff, 0x10ffff]:
                        yield name, with_field(t, chr(c).encode())
                    for raw in (b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\xc3"):
                        yield name, with_field(t, b"plain ascii" + raw)
            elif isinstance(k, enc.Ls):
                for n in (0, 1, k.maxn, k.maxn + 1):
                    yield name, with_field(t, enc.lst([element(k.el, i) for i in range(n)]))
                two = [element(k.el, 1), element(k.el, 0)]
                yield name, with_field(t, enc.lst(two))
                yield name, with_field(t, enc.lst(two[:1] * 2))
                yield name, with_field(t, enc.lst([b"a", b"aa"]))
                yield name, with_field(t, enc.lst([b"aa", b"a"]))
                yield name, with_field(t, enc.lst([b""]))
                for i in (-1, 0, 1):
                    if k.maxlen < s.maxlen:
                        es, n = [], k.maxlen + i
                        while n > 2000:
                            es.append(enc.lv(b"k") + enc.lv(bytes(990)))
                            n -= len(enc.lv(es[-1]))
                        es.append(enc.lv(b"k") + enc.lv(bytes(n - 6)))
                        yield name, with_field(t, enc.lst(es))
            elif isinstance(k, enc.S):
                yield name, with_field(t, b"")
                yield name, with_field(t, unfields([(2, enc.varint(5))]))
                yield name, with_field(t, unfields([(16, bytes(2**20 - 5))]))
                yield name, with_field(t, unfields([(16, bytes(2**20 - 4))]))
            elif isinstance(k, enc.F):
                yield name, with_field(t, b"")
                yield name, with_field(t, b"\0")
        for n in (61, 62, 63, 64, 65):  # fields
            yield name, unfields(sorted(base + [(1000 + 2 * i, b"") for i in range(n)], key=lambda f: f[0]))
        room = s.maxlen - len(unfields(base)) - 2  # fill up with an unknown field
        for over in (-1, 0, 1):
            n = room + over
            n -= len(enc.varint(n))
            for cut in (0, 1):
                if n - cut > 0:
                    yield name, unfields(sorted(base + [(8000, bytes(n - cut))], key=lambda f: f[0]))
    for n in (255, 256, 257):
        yield "ITEMS", enc.items([(28, b"")] * n)
        yield "ITEMS", enc.items([(28, b"")] * n, 3)
    for n in (0, 1, 15, 16, 17):
        t = wire.REC.enc(dict(type=100, author=bytes(32), gen=1, issued=0, life=0, body=b""))
        yield "RECORD", enc.lv(t) + bytes([n]) + b"".join(bytes([i]) * 96 for i in range(n))
        yield "RECORD", enc.lv(t) + bytes([n]) + bytes(64)
    for n in range(40):
        for name in ("PING", "PONG", "GROUPMSG", "FRAG", "CHUNK"):
            yield name, b"\1" * n


# --- the run ------------------------------------------------------------------------------------------------
class Program:
    def __init__(self, path):
        self.p = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, batch):
        self.p.stdin.write(b"".join(bytes([len(n)]) + n.encode() + len(b).to_bytes(4, "big") + b
                                    for n, b in batch) + b"\0")
        self.p.stdin.flush()
        return [self.p.stdout.readline().decode().strip() for _ in batch]


class Tally:
    def __init__(self):
        self.fine = self.refused = 0
        self.names = collections.Counter()
        self.bad = []
        self.each = collections.Counter()

    def judge(self, program, batch):
        for (name, b), got in zip(batch, program.ask(batch)):
            want = reference(name, b)
            self.each[name] += 1
            if want.startswith("fine") or got.startswith("fine"):
                self.fine += 1
                if want != got:
                    self.bad.append((name, b.hex()[:2000], want, got))
                elif not got.endswith(hashlib.sha256(b).hexdigest()[:16]):
                    self.bad.append((name, b.hex()[:2000], want, "accepted, but not its own re-encoding"))
            else:
                self.refused += 1
                if got == "":
                    raise SystemExit("im2-diff: the program ended at %s %s" % (name, b.hex()[:2000]))
                if want != got:
                    self.names[(name, want, got)] += 1


def work(args):
    path, number, seed, first = args
    rnd = random.Random("im2-diff/%s" % seed)
    maker, tally, program = Maker(rnd), Tally(), Program(path)
    kinds = list(STRUCTS) + OTHERS
    pools = {n: [maker.item(n) for _ in range(60)] for n in kinds}
    sure = [(n, b) for n in kinds for b in pools[n]]
    if first:
        sure += list(edges(maker))
    for i in range(0, len(sure), BATCH):
        tally.judge(program, sure[i:i + BATCH])
    valid = tally.fine
    mutator = Mutator(rnd, pools)
    done = 0
    while done < number:
        n = min(BATCH, number - done)
        tally.judge(program, [(k, mutator.mutant(k)) for k in (kinds[(done + j) % len(kinds)] for j in range(n))])
        done += n
    program.p.stdin.close()
    if program.p.wait() != 0:
        tally.bad.append(("exit", "", "0", str(program.p.returncode)))
    return len(sure), valid, tally


def main():
    path = sys.argv[1]
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 200000
    seed = sys.argv[3] if len(sys.argv) > 3 else "1"
    jobs = [(path, number // 2, seed + "/a", True), (path, number - number // 2, seed + "/b", False)]
    with multiprocessing.Pool(2) as pool:
        results = pool.map(work, jobs)
    names, bad = collections.Counter(), []
    for _, _, t in results:
        names.update(t.names)
        bad += t.bad
    sure = sum(r[0] for r in results)
    fine = sum(r[2].fine for r in results)
    refused = sum(r[2].refused for r in results)
    print("im2-diff: %d structures and item kinds, %d valid or limit inputs, %d mutants (seed %s)"
          % (len(STRUCTS) + len(OTHERS), sure, number, seed))
    print("im2-diff: both accept, same bytes: %d; both refuse: %d; refused under two names: %d"
          % (fine - len(bad), refused, sum(names.values())))
    for (name, want, got), n in names.most_common(12):
        print("    %6d  %-10s reference %-11s program %s" % (n, name, want, got))
    for b in bad[:20]:
        print("DIFFERENT %s\n  input     %s\n  reference %s\n  program   %s" % b)
    print("im2-diff: %d differences" % len(bad))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
