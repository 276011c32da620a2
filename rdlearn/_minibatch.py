"""The one minibatch loop: schedule, stopping, best weights, history."""

import math
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from rdlearn._training import warn
from rdlearn.information import nats_to_bits
from rdlearn.nets.layers import Workspace

__all__ = ["PRICE_WARM_UP", "Batches", "Schedule", "minimize"]

# Steps over which the learning rate rises, but at most a tenth of them all.
WARM_UP_STEPS = 200
# The learning rate that the cosine ends at, as a part of the first.
LAST_RATE = 0.02
# Part of the steps over which the price of the rate rises from nothing, unless the codec says:
# codes that cost from the start collapse before the decoder has learned to use them.
PRICE_WARM_UP = 0.5
# Control of beta towards a target: when it starts, how far log beta can go in all and in a step,
# the memories of the values it sees, and how many steps it looks ahead.
CONTROL_FROM, TRAVEL, GAIN, FAST, SLOW, AHEAD = 0.05, 40.0, 0.03, 0.1, 0.025, 120
# A target rate is approached from this many times more, for the reason that prices start low.
FINER = 2.0
# Aim inside the window below the target.
AIM = 0.98
# The least and largest price, in units of the first.
BETA_RANGE = 1e9


@dataclass
class Batches:
    """Training rows in the nets' units.

    Parameters
    ----------
    x : ndarray of shape (n, d), float32
        Encoder inputs.
    target : ndarray
        What the loss compares decoder outputs with; a row for each row of x.
    side : ndarray of shape (n, c), float32, or None
    redraw : callable or None
        ``redraw(rng, rows) -> x, target``: rows drawn afresh each time they are used.
    ops : module or None
        Operations of the device that batches are wanted on; None leaves them on the host.
    """

    x: np.ndarray
    target: np.ndarray
    side: np.ndarray | None = None
    redraw: object = None
    ops: object = None

    def on(self, ops):
        """These rows on a device, where batches are gathered; rows drawn afresh follow."""
        kept = (self.x, self.target) if self.redraw else map(ops.to_device, (self.x, self.target))
        side = None if self.side is None else ops.to_device(self.side)
        return Batches(*kept, side, self.redraw, ops)

    def __len__(self):
        return len(self.x)

    def take(self, rows, rng):
        """x, target and side of some rows."""
        at = rows if self.ops is None else self.ops.to_device(rows)
        side = None if self.side is None else self.side[at]
        if self.redraw is None or rng is None:
            return self.x[at], self.target[at], side
        fresh = self.redraw(rng, rows)
        return *(fresh if self.ops is None else map(self.ops.to_device, fresh)), side

    def blocks(self, size, seed):
        """x of all rows in their order, `size` at a time; what is drawn afresh, by the seed."""
        rng = np.random.Generator(np.random.Philox(seed))
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))), rng)[0]

    def split(self, rows):
        """Some rows on their own."""
        redraw = self.redraw
        inner = None if redraw is None else (lambda rng, inside: redraw(rng, rows[inside]))
        return Batches(*self.take(rows, None), inner)


@dataclass
class Schedule:
    """How to walk. Names as in scikit-learn's MLPRegressor.

    Parameters
    ----------
    beta : float
        Price of the loss, in nats of rate per unit.
    target_rate, target_loss : float or None
        At most one; beta is led towards it, rate in nats.
    warm : bool
        Whether the parameters come from a fit before.
    price_warm_up : float
        Part of the steps over which the price of the rate rises.
    interrupted : bool
        Whether a KeyboardInterrupt ended the walk.
    """

    beta: float
    batch_size: int
    learning_rate_init: float
    max_iter: int
    shuffle: bool = True
    tol: float = 1e-4
    n_iter_no_change: int = 10
    target_rate: float | None = None
    target_loss: float | None = None
    warm: bool = False
    price_warm_up: float = PRICE_WARM_UP
    interrupted: bool = False
    history: dict = field(
        default_factory=lambda: {"rate_bits": [], "distortion": [], "objective": [], "beta": []}
    )

    def learning_rate(self, step, n_steps):
        """Linear rise, constant until half of the steps, cosine fall."""
        rise = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, n_steps // 10)))
        done = step / n_steps
        fall = 1.0
        if done > 0.5:
            fall = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (2 * done - 1)))
        return self.learning_rate_init * rise * fall


class _Control:
    """Leads log beta towards a target of rate or loss: integral control with a forecast."""

    def __init__(self, schedule, n_steps):
        self.schedule = schedule
        self.gain = min(GAIN, TRAVEL / n_steps)
        self.beta = schedule.beta
        self.by_rate = schedule.target_rate is not None
        self.target = schedule.target_rate if self.by_rate else schedule.target_loss
        self.fast = self.slow = None

    def price(self, done):
        """Price of the rate: in a fresh fit to a beta, rises to 1 over the first part of it."""
        fresh = self.target is None and not self.schedule.warm
        return min(1.0, done / self.schedule.price_warm_up) if fresh else 1.0

    def update(self, rate, loss, done, pace):
        """Look at a step's means; `pace` is the learning rate as a part of the largest."""
        value = rate if self.by_rate else loss
        if self.target is None or not math.isfinite(value):
            return
        log = math.log(max(value, 1e-3 * self.target))
        if self.fast is None:
            self.fast = self.slow = log
        self.fast += FAST * (log - self.fast)
        self.slow += SLOW * (log - self.slow)
        if done < CONTROL_FROM:
            return
        # The memories lag by 1 / FAST and 1 / SLOW steps.
        trend = (self.fast - self.slow) / (1 / SLOW - 1 / FAST)
        goal = math.log(AIM * self.target)
        if self.by_rate:
            goal += math.log(FINER) * max(0.0, 1 - done / self.schedule.price_warm_up)
        miss = goal - (self.fast + AHEAD * trend)
        move = self.gain * pace * max(-1.0, min(1.0, miss)) * (1 if self.by_rate else -1)
        first = self.schedule.beta
        self.beta = min(max(self.beta * math.exp(move), first / BETA_RANGE), first * BETA_RANGE)


def minimize(objective, params, batches, schedule, rng, *, validation=None, device="cpu", tell):
    """Minibatch descent; `params` is changed in place.

    Parameters
    ----------
    objective : Objective
    params : ndarray, float32
    batches : Batches
    schedule : Schedule
        Its `history` gains a row an epoch: means over the epoch as the weights changed.
    rng : numpy.random.Generator
    validation : Batches or None
        Rows that early stopping looks at.
    device : str
    tell : callable
        ``tell(epoch, history, params) -> stop``, after each epoch.

    Returns
    -------
    beta : float
        The price at the end.

    Raises
    ------
    ValueError
        The loss is not finite in the first epoch.
    """
    work = Workspace(device)
    ops = work.ops
    live = ops.to_device(params)
    batches = batches.on(ops)
    validation = None if validation is None else validation.on(ops)
    grads = ops.to_device(np.zeros_like(params))
    views, grad_views = objective.views(live), objective.views(grads)
    n, size, smallest = len(batches), schedule.batch_size, objective.channel.min_rows
    per_epoch = len(range(0, n - smallest + 1, size))
    n_steps = schedule.max_iter * per_epoch
    optimizer, control = objective.optimizer(ops), _Control(schedule, n_steps)
    rates, losses = (ops.empty(n, dtype=np.float64) for _ in range(2))
    # Validation draws are the same every time, so that epochs compare.
    check_seed = int(rng.integers(1 << 62))
    best, best_params, waited = (math.inf, math.inf), None, 0
    state = None
    good = params.copy()
    step = 0
    try:
        for epoch in range(1, schedule.max_iter + 1):
            rows = rng.permutation(n) if schedule.shuffle else np.arange(n)
            settled = step >= schedule.price_warm_up * n_steps
            state = objective.channel.start(np.float32, ops, state, settled)
            seen = 0
            for part in _parts(rows, size, smallest):
                x, target, side = batches.take(part, rng)
                done = (step + 1) / n_steps
                draw = ops.to_device(objective.channel.draw(rng, len(part)))
                price = control.price(done)
                rate_now = schedule.learning_rate(step, n_steps)
                # Weights of size one at most: gradients stay far above Adam's epsilon.
                most = max(1.0, control.beta) * len(part)
                code, rate, loss, cache = objective.forward(
                    views, x, target, side, draw, state, work, control.beta / most
                )
                objective.backward(views, grad_views, cache, price / most, work)
                optimizer.step(live, grads, rate_now)
                state = objective.keep(code, cache, state)
                now = slice(seen, seen + len(part))
                rates[now], losses[now] = rate, loss
                seen += len(part)
                # A device need not wait for the host where nobody looks at a step.
                if control.target is not None:
                    pace = rate_now / schedule.learning_rate_init
                    control.update(float(rate.mean()), float(loss.mean()), done, pace)
                step += 1
            current = ops.to_host(live)
            means = [float(values.mean()) for values in (rates, losses)]
            if not (np.isfinite(means).all() and np.isfinite(current).all()):
                _stop_at_nan(epoch, schedule)
                best_params = good if best_params is None else best_params
                break
            good[:] = current
            _remember(schedule.history, *means, control.beta)
            if validation is not None:
                means = _validate(objective, views, validation, size, check_seed, state, work)
                # Both at the price of today, which a target moves.
                value, least = (rate + control.beta * loss for rate, loss in (means, best))
                schedule.history.setdefault("validation_objective", []).append(float(value))
                if step >= schedule.price_warm_up * n_steps:
                    waited = 0 if value < least - schedule.tol else waited + 1
                    if value < least:
                        best, best_params = means, current.copy()
            stop = tell(epoch, schedule.history, current)
            if stop or waited >= schedule.n_iter_no_change:
                break
    except KeyboardInterrupt:
        if min(map(len, schedule.history.values())) == 0:
            raise
        schedule.interrupted = True
        warn(
            f"Interrupted in epoch {len(schedule.history['rate_bits']) + 1}; the model is the best "
            "validated one, or else that of the last whole epoch.",
            ConvergenceWarning,
        )
        best_params = good if best_params is None else best_params
    # An interrupt may have come between two columns.
    whole = min(map(len, schedule.history.values()))
    for column in schedule.history.values():
        del column[whole:]
    params[:] = ops.to_host(live) if best_params is None else best_params
    return control.beta


def _parts(rows, size, smallest):
    """Rows in batches; what is too little for a batch at the end joins the one before."""
    starts = range(0, max(1, len(rows) - smallest + 1), size)
    for start in starts:
        yield rows[start:] if start == starts[-1] else rows[start : start + size]


def _remember(history, rate, loss, beta):
    values = (nats_to_bits(rate), loss, rate + beta * loss, beta)
    for name, value in zip(("rate_bits", "distortion", "objective", "beta"), values, strict=True):
        history[name].append(float(value))


def _stop_at_nan(epoch, schedule):
    remedy = f"lower learning_rate_init={schedule.learning_rate_init:g} or rescale X"
    if epoch == 1:
        raise ValueError(f"The loss was not finite in epoch 1, so nothing was learned; {remedy}.")
    warn(
        f"The loss was not finite in epoch {epoch}: training stopped, and the model is that of "
        f"epoch {epoch - 1}; {remedy}.",
        ConvergenceWarning,
    )


def _validate(objective, views, batches, size, seed, state, work):
    """Mean rate in nats and mean loss of held-out rows."""
    rng = np.random.Generator(np.random.Philox(seed))
    channel = objective.channel
    total, state = np.zeros(2), channel.start(np.float32, work.ops, state)
    for part in _parts(np.arange(len(batches)), size, channel.min_rows):
        x, target, side = batches.take(part, rng)
        draw = work.ops.to_device(channel.draw(rng, len(part)))
        code, rate, loss, cache = objective.forward(views, x, target, side, draw, state, work)
        state = objective.keep(code, cache, state)
        total += [float(values.sum(dtype=np.float64)) for values in (rate, loss)]
    return total / len(batches)
