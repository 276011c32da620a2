"""What the command line says on stderr: progress, notes, warnings and refusals."""

import sys

__all__ = ["EpochBar", "Progress", "Warner", "printable", "sentence", "shown"]

# Characters of a refusal. The name that is complained about stands first and the remedy last, so
# that a longer text is cut in its middle.
LONGEST, KEPT_START, KEPT_END = 290, 170, 110


class Progress:
    """What is going on, on stderr: one line rewritten on a terminal, else a line a stage."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()

    def show(self, text):
        end, start = ("", "\r\x1b[K") if self.terminal else ("\n", "")
        print(f"{start}rdlearn: {printable(text)}", end=end, file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def note(self, text):
        self.clear()
        print(f"rdlearn: note: {printable(text)}", file=sys.stderr)


class EpochBar:
    """A bar of the epochs of a fit, with rate and distortion, where `verbose` asks for one.

    Parameters
    ----------
    verbose : bool or int
    max_iter : int
        Epochs of the whole fit.
    """

    def __init__(self, verbose, max_iter):
        self._progress, self._max_iter = Progress() if verbose else None, max_iter

    def say(self, text):
        if self._progress:
            self._progress.show(text)

    def show(self, epoch, history):
        """Show the bar after an epoch whose figures are the last ones of `history`."""
        done = 20 * epoch // self._max_iter
        self.say(
            f"[{'#' * done:<20}] epoch {epoch}/{self._max_iter}: "
            f"{history['rate_bits'][-1]:.4g} bits, distortion {history['distortion'][-1]:.5g}"
        )

    def clear(self):
        if self._progress:
            self._progress.clear()


class Warner:
    """Each warning once, on one line."""

    def __init__(self):
        self.seen = set()

    def __call__(self, message, category, filename, lineno, file=None, line=None):
        text = shown(_first_line(str(message)))
        if text not in self.seen:
            self.seen.add(text)
            print(f"rdlearn: warning: {text}", file=sys.stderr)


def sentence(error, given=()):
    """What an error says, as `shown`, in one sentence.

    `given` are the arguments of the command: a line end in one of them does not end the sentence.
    """
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return shown(f"{name}{error.strerror}.")
    text = str(error)
    for argument in given:
        text = text.replace(argument, printable(argument))
    text = _first_line(text)
    if isinstance(error, MemoryError):
        return shown(f"There is not enough memory ({text or 'no size given'}).")
    return shown(text or type(error).__name__)


def _first_line(text):
    # Libraries put the fact in the first paragraph and advice or lists below it.
    return " ".join(text.strip().split("\n")[0].split())


def shown(text):
    """The text `printable` and cut to LONGEST characters."""
    text = printable(text)
    if len(text) <= LONGEST:
        return text
    return f"{text[:KEPT_START]} ... {text[-KEPT_END:]}"


def printable(text):
    """The text with control characters escaped: a terminal would obey those of a file's name."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
