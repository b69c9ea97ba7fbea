"""docpages -- the commands that a document prints, and what its hidden remarks say about them (CONTRIBUTING.md, "Documents")."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = re.compile(r"^(\(umask|ironmesh|make|curl|tar|date|jq|cat|for|if|printf|echo|source|\w+=)(\s|$)")
SHELL = ("sh", "shell", "bash")
REMARK = re.compile(r"(given|setup|exit|root|not run):\s*(.*)", re.S)


class Item:
    """kind: given, setup, command, prose. A command has the exit code that is expected, and `skip` ("" when it is run here) with
    `root` true when the test of the package runs it."""

    def __init__(self, kind, text, line, skip="", root=False):
        self.kind, self.text, self.line, self.skip, self.root, self.code = kind, text, line, skip, root, 0


class Page:
    def __init__(self, name):
        self.name = name
        self.items = []
        self.skip, self.root, self.code = "", False, 0
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            self.lines = f.read().split("\n")
        self.read()

    def remark(self, kind, text, line):
        if kind == "exit":
            self.code = int(text)
        elif kind in ("root", "not run"):
            self.skip, self.root = text or "as root", kind == "root"
        else:
            self.items.append(Item(kind, text, line))

    def read(self):
        at, lines = 0, self.lines
        while at < len(lines):
            line = lines[at]
            if line.startswith("<!--"):
                end = at
                while "-->" not in lines[end]:
                    end += 1
                m = REMARK.match("\n".join(lines[at:end + 1])[4:].split("-->")[0].strip())
                if m:
                    self.remark(m.group(1), m.group(2), at + 1)
                at = end + 1
            elif line.startswith("```"):
                end = at + 1
                while not lines[end].startswith("```"):
                    end += 1
                if line[3:].strip() in SHELL:
                    self.block(lines[at + 1:end], at + 2, True)
                at = end + 1
            elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip() or lines[at - 1].startswith("<!--")):
                end = at
                while end < len(lines) and (lines[end].startswith("    ") or
                                            (not lines[end].strip() and end + 1 < len(lines) and lines[end + 1].startswith("    "))):
                    end += 1
                self.block([s[4:] for s in lines[at:end]], at + 1, False)
                at = end
            else:
                self.items += [Item("prose", text, at + 1) for text in re.findall(r"`(ironmesh [^`]+)`", line)]
                at += 1

    def block(self, lines, first, shell):
        at, last = 0, None
        while at < len(lines):
            start, text = at, lines[at]
            while text.endswith("\\") and at + 1 < len(lines):
                at += 1
                text = text[:-1] + lines[at].strip()
            at += 1
            text = re.split(r"\s{2,}#", text)[0].rstrip()
            if text and not text.startswith("#") and (shell or COMMAND.match(text)):
                last = Item("command", text, first + start, self.skip, self.root)
                self.items.append(last)
        if last:
            last.code = self.code
        self.skip, self.root, self.code = "", False, 0
