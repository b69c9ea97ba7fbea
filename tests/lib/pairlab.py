"""`ironmesh pair` as a program of its own, for the tests of pairing."""
import subprocess
import threading

from ironlab import _die_with_parent, wait_for


class PairCommand:
    """`ironmesh pair` on one machine, line by line. The control socket is a file: it serves a daemon in a namespace too."""

    def __init__(self, binary, home, *args):
        self.process = subprocess.Popen([binary, "--home", home, "pair", *args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=_die_with_parent)
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=self.read, args=(p, to), daemon=True)
                        for p, to in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def read(pipe, to):
        for line in pipe:
            to.append(line.rstrip("\n"))

    def line(self, n=0):
        return wait_for(lambda: len(self.lines) > n and self.lines[n], what="line %d; %r" % (n, self.errors))

    def end(self, timeout=30):
        code = self.process.wait(timeout)
        for reader in self.readers:
            reader.join(5)
        return code

    def says(self, text):
        return any(text in line for line in self.lines + self.errors)

    def done(self):
        code = self.end()
        assert code == 0, (code, self.lines, self.errors)
        return self
