"""What the command line says on stderr: progress, notes, warnings and refusals."""

import sys

__all__ = ["Progress", "Warner", "one_line", "sentence"]


class Progress:
    """What is going on, on stderr: one line rewritten on a terminal, else a line a stage."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()

    def show(self, text):
        end, start = ("", "\r\x1b[K") if self.terminal else ("\n", "")
        print(f"{start}rdlearn: {text}", end=end, file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def note(self, text):
        self.clear()
        print(f"rdlearn: note: {text}", file=sys.stderr)


class Warner:
    """Each warning once, on one line."""

    def __init__(self):
        self.seen = set()

    def __call__(self, message, category, filename, lineno, file=None, line=None):
        text = one_line(str(message))
        if text not in self.seen:
            self.seen.add(text)
            print(f"rdlearn: warning: {text}", file=sys.stderr)


def sentence(error):
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}."
    if isinstance(error, MemoryError):
        return f"There is not enough memory ({one_line(str(error)) or 'no size given'})."
    return one_line(str(error)) or type(error).__name__


def one_line(text):
    # Libraries put the fact in the first paragraph and advice or lists below it.
    return " ".join(text.strip().split("\n")[0].split())
