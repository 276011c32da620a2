"""What channels without parameters or memory share."""

__all__ = ["Memoryless"]


class Memoryless:
    """A channel that takes single rows, learns nothing, and hands nothing to the next batch."""

    n_parameters = 0
    min_rows = 1
    # How many times the nets' learning rate its own parameters have.
    pace = 1.0

    def start(self, dtype, ops, state=None, settled=True):
        """Nothing passes from batch to batch."""
        return None

    def keep(self, code, cache, state):
        """Nothing passes from batch to batch."""
        return None
