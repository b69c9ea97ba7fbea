"""openmetrics -- a strict reader of OpenMetrics 1.0 text, for tests: what is not exactly right raises ValueError.

families: {name: Family}; samples: {(name, ((label, value), ...)): float}.
"""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(r"(%s)(?:\{(.*)\})? (\S+)$" % NAME)
NUMBER = re.compile(r"[+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|Inf)$|NaN$")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}


class Family:
    def __init__(self, name, kind):
        self.name, self.kind, self.unit, self.help, self.samples = name, kind, None, None, []


def labels_of(text):
    out, at = [], 0
    while at < len(text):
        if out:
            if text[at] != ",":
                raise ValueError("labels: " + text)
            at += 1
        m = LABEL.match(text, at)
        if not m:
            raise ValueError("labels: " + text)
        out.append((m.group(1), re.sub(r"\\(.)", lambda e: "\n" if e.group(1) == "n" else e.group(1), m.group(2))))
        at = m.end()
    if len({k for k, _ in out}) != len(out):
        raise ValueError("a label twice: " + text)
    return tuple(out)


def check_histogram(f):
    buckets = [(dict(labels)["le"], v) for name, labels, v in f.samples if name.endswith("_bucket")]
    bounds = [float(le.replace("+Inf", "inf")) for le, _ in buckets]
    values = [v for _, v in buckets]
    count = [v for name, _, v in f.samples if name.endswith("_count")]
    if bounds != sorted(set(bounds)) or bounds[-1] != float("inf") or values != sorted(values) or count != values[-1:]:
        raise ValueError("histogram: " + f.name)
    if any("." not in le and le != "+Inf" for le, _ in buckets):
        raise ValueError("a bound is a float: " + f.name)


def read(text):
    if not text.endswith("# EOF\n") or text.count("# EOF") != 1:
        raise ValueError("no # EOF at the end")
    families, samples, f = {}, {}, None
    for line in text.split("\n")[:-2]:
        m = re.match(r"# (TYPE|UNIT|HELP) (%s) (.+)$" % NAME, line)
        if m:
            word, name, rest = m.groups()
            if word == "TYPE":
                if name in families or rest not in SUFFIXES:
                    raise ValueError(line)
                f = families[name] = Family(name, rest)
            elif not f or f.name != name or f.samples or getattr(f, word.lower()) is not None:
                raise ValueError("out of order: " + line)
            else:
                setattr(f, word.lower(), rest)
            if word == "UNIT" and not name.endswith("_" + rest):
                raise ValueError("unit is not in the name: " + line)
            continue
        m = SAMPLE.match(line)
        if not m or not f:
            raise ValueError("neither comment nor sample: " + repr(line))
        name, labels, value = m.group(1), labels_of(m.group(2) or ""), m.group(3)
        if name not in [f.name + s for s in SUFFIXES[f.kind]]:
            raise ValueError("%s in the family %s" % (name, f.name))
        if not NUMBER.match(value):
            raise ValueError("number: " + line)
        if (name, labels) in samples:
            raise ValueError("twice: " + line)
        v = float(value.replace("Inf", "inf"))
        if f.kind == "counter" and not v >= 0:
            raise ValueError("a counter below zero: " + line)
        samples[name, labels] = v
        f.samples.append((name, labels, v))
    for f in families.values():
        if f.help is None:
            raise ValueError("no HELP: " + f.name)
        if f.kind == "histogram":
            check_histogram(f)
        if f.kind == "counter" and f.name.endswith("_total"):
            raise ValueError("a family of counters is named without _total: " + f.name)
    return families, samples
