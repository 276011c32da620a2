"""On a GPU: codes, rates and gradients of channels; operations as those of the CPU."""

import math

import numpy as np
from numba import cuda

from rdlearn.kernels.centers import FAR
from rdlearn.kernels.echo import diagonal_slope, log_scale
from rdlearn.kernels.flow import gate, gate_slopes
from rdlearn.kernels.gaussian import MAX_LOG_SIGMA, gaussian_code, gaussian_slopes
from rdlearn.kernels.grid import (
    MOST_THREADS,
    SHARERS,
    WARP,
    by_blocks,
    in_one_block,
    over_elements,
    over_rows,
    sum_in_order,
)
from rdlearn.kernels.uniform_noise import logistic_cell
from rdlearn.kernels.whitening import MARGIN

__all__ = [
    "assign_centers",
    "center_sums",
    "echo_backward",
    "echo_chain",
    "echo_forward",
    "gate_backward",
    "gate_forward",
    "gaussian_backward",
    "gaussian_forward",
    "mixture_rate",
    "whitening",
]

TINY = float(np.finfo(np.float64).tiny)


@over_rows()
def gaussian_forward(encoded, noise, sampled, code, sigma, rate):
    i, lane, k = cuda.blockIdx.x, cuda.threadIdx.x, code.shape[1]
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for c in range(lane, k, WARP):
        code[i, c], sigma[i, c], nats = gaussian_code(
            encoded[i, c], encoded[i, k + c], noise[i, c], sampled
        )
        total += nats
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        rate[i] = sum_in_order(parts, WARP)


@over_elements()
def gaussian_backward(grad_code, grad_rate, pull, curvature, sigma, noise, grad_encoded):
    n, k = grad_code.shape
    for place in range(cuda.grid(1), n * k, cuda.gridsize(1)):
        i, c = divmod(place, k)
        grad_encoded[i, c], grad_encoded[i, k + c] = gaussian_slopes(
            grad_code[i, c], grad_rate, pull[i, c], curvature[c], sigma[i, c], noise[i, c]
        )


@over_rows()
def gate_forward(z, raw, out, opened, rate):
    i, lane, k = cuda.blockIdx.x, cuda.threadIdx.x, z.shape[1]
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for c in range(lane, k, WARP):
        out[i, k - 1 - c], opened[i, c], log_gate = gate(z[i, c], raw[i, c], raw[i, k + c])
        total += log_gate
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        rate[i] -= sum_in_order(parts, WARP)


@over_elements()
def gate_backward(grad_out, grad_rate, z, raw, opened, grad_z, grad_raw):
    n, k = z.shape
    for place in range(cuda.grid(1), n * k, cuda.gridsize(1)):
        i, c = divmod(place, k)
        grad_z[i, c], grad_raw[i, c], grad_raw[i, k + c] = gate_slopes(
            grad_out[i, k - 1 - c], grad_rate, z[i, c], raw[i, c], opened[i, c]
        )


# Chains go on from row to row: a thread takes a component along all of them.


@over_elements(of=2)
def _diagonal_chain(encoded, order, tail, log_clip, code, scale, noise):
    n, k = code.shape
    for c in range(cuda.grid(1), k, cuda.gridsize(1)):
        carry = tail[c]
        for t in range(len(order) - 1, -1, -1):
            i = order[t]
            s = math.exp(log_scale(encoded[i, k + c], log_clip))
            scale[t, c] = s
            noise[t, c] = carry
            carry = encoded[i, c] + s * carry
            if t < n:
                code[i, c] = carry


@over_rows()
def _diagonal_rate(rate, encoded, log_clip):
    i, lane, k = cuda.blockIdx.x, cuda.threadIdx.x, encoded.shape[1] // 2
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for c in range(lane, k, WARP):
        total -= log_scale(encoded[i, k + c], log_clip)
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        rate[i] = sum_in_order(parts, WARP)


def echo_forward(encoded, order, tail, log_clip, code, scale, noise, rate):
    _diagonal_chain(encoded, order, tail, log_clip, code, scale, noise)
    _diagonal_rate(rate, encoded, log_clip)


@over_elements()
def echo_backward(grad_code, grad_rate, order, log_clip, scale, noise, grad_encoded):
    n, k = grad_code.shape
    inverse_clip = math.exp(-log_clip)
    for c in range(cuda.grid(1), k, cuda.gridsize(1)):
        carried = 0.0
        for t in range(len(order)):
            i = order[t]
            s = scale[t, c]
            if t < n:
                total = carried + grad_code[i, c]
                grad_encoded[i, c] = total
                grad_encoded[i, k + c] = diagonal_slope(
                    -grad_rate, total, noise[t, c], s, inverse_clip
                )
            else:
                total = carried
                grad_encoded[i, c] += total
                grad_encoded[i, k + c] += diagonal_slope(0.0, total, noise[t, c], s, inverse_clip)
            carried = total * s


@over_rows()
def _white_scale(encoded, sigma, rate):
    i, lane, k = cuda.blockIdx.x, cuda.threadIdx.x, sigma.shape[1]
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for c in range(lane, k, WARP):
        log_sigma = min(encoded[i, k + c], MAX_LOG_SIGMA)
        sigma[i, c] = math.exp(log_sigma)
        total -= log_sigma
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        rate[i] = sum_in_order(parts, WARP)


@in_one_block(of=2)
def _white_chain(encoded, order, tail, mean, columns, sigma, code, noise):
    n, k = code.shape
    a = cuda.threadIdx.x
    # Centred codes of the row before and of this one, in turn.
    codes = cuda.shared.array((2, MOST_THREADS), np.float64)
    i, f, s, m = order[n - 1], 0.0, 0.0, 0.0
    if a < k:
        f, s, m = encoded[i, a], sigma[i, a], mean[a]
        codes[0, a] = tail[a] - m
    cuda.syncthreads()
    for t in range(n - 1, -1, -1):
        before = (n - 1 - t) % 2
        if a < k:
            eps = 0.0
            for b in range(a + 1):
                eps += columns[b, a] * codes[before, b]
            z = f + s * eps
            noise[i, a] = eps
            code[i, a] = z
            codes[1 - before, a] = z - m
            if t > 0:
                # On their way while the others finish.
                i = order[t - 1]
                f, s = encoded[i, a], sigma[i, a]
        cuda.syncthreads()


def echo_chain(encoded, order, tail, mean, mixing, code, sigma, noise, rate):
    if len(tail) > MOST_THREADS:
        raise ValueError(
            f"n_components={len(tail)} is more than a GPU's block takes for echo noise, "
            f"{MOST_THREADS}; use fewer, or device='cpu'."
        )
    _white_scale(encoded, sigma, rate)
    # Neighbouring threads read neighbouring entries of columns.
    _white_chain(encoded, order, tail, mean, mixing.T.copy(), sigma, code, noise)


@over_elements()
def _law(share, log_scale, part, precision, edge):
    n_channels, m = share.shape
    for place in range(cuda.grid(1), n_channels * m, cuda.gridsize(1)):
        c, k = divmod(place, m)
        top = share[c, 0]
        for j in range(1, m):
            top = max(top, share[c, j])
        total = 0.0
        for j in range(m):
            total += math.exp(share[c, j] - top)
        part[c, k] = math.exp(share[c, k] - top) / total
        v = math.exp(-log_scale[c, k])
        precision[c, k] = v
        edge[c, k] = math.exp(-v)


@over_rows()
def _masses(z, mean, part, precision, edge, mass, rate, by_z):
    i, lane = cuda.blockIdx.x, cuda.threadIdx.x
    n_channels, m = mean.shape
    parts = cuda.shared.array(WARP, np.float64)
    nats = 0.0
    for at in range(lane, z.shape[1] * n_channels, WARP):
        place, c = divmod(at, n_channels)
        p, down = 0.0, 0.0
        for k in range(m):
            v = precision[c, k]
            inside, slope, _, _ = logistic_cell(z[i, place, c], mean[c, k], v, edge[c, k])
            own = part[c, k] * inside * (1 - edge[c, k])
            p += own
            down += own * slope * v
        nats -= math.log(p)
        mass[i, place, c] = p
        by_z[i, place, c] = -down / p
    parts[lane] = nats
    cuda.syncthreads()
    if lane == 0:
        rate[i] = sum_in_order(parts, WARP)


@by_blocks(of=1)
def _law_slopes(z, mean, part, precision, edge, mass, by_share, by_mean, by_scale):
    n_channels, m = mean.shape
    c, k = divmod(cuda.blockIdx.x, m)
    lane, n_places = cuda.threadIdx.x, z.shape[1]
    parts = cuda.shared.array((3, SHARERS), np.float64)
    v = precision[c, k]
    share, shift, scale = 0.0, 0.0, 0.0
    for at in range(lane, z.shape[0] * n_places, SHARERS):
        i, place = divmod(at, n_places)
        inside, slope, widen, t = logistic_cell(z[i, place, c], mean[c, k], v, edge[c, k])
        weight = part[c, k] * inside * (1 - edge[c, k]) / mass[i, place, c]
        share += part[c, k] - weight
        shift += weight * slope * v
        scale += weight * (slope * t + widen * 0.5 * v)
    parts[0, lane], parts[1, lane], parts[2, lane] = share, shift, scale
    cuda.syncthreads()
    if lane == 0:
        by_share[c, k] = sum_in_order(parts[0], SHARERS)
        by_mean[c, k] = sum_in_order(parts[1], SHARERS)
        by_scale[c, k] = sum_in_order(parts[2], SHARERS)


def mixture_rate(z, share, mean, log_scale, rate, by_z, by_share, by_mean, by_scale):
    part, precision, edge = (np.empty_like(by_share) for _ in range(3))
    mass = np.empty_like(z, dtype=np.float64)
    _law(share, log_scale, part, precision, edge)
    _masses(z, mean, part, precision, edge, mass, rate, by_z)
    _law_slopes(z, mean, part, precision, edge, mass, by_share, by_mean, by_scale)


@over_rows()
def assign_centers(z, centers, nats, sharpness, nearest, code, rate, slope, rate_slope):
    i, lane = cuda.blockIdx.x, cuda.threadIdx.x
    n_channels, n_centers = centers.shape
    parts = cuda.shared.array(WARP, np.float64)
    total = 0.0
    for at in range(lane, z.shape[1] * n_channels, WARP):
        place, c = divmod(at, n_channels)
        value = min(max(z[i, place, c], -FAR), FAR)
        best, least = 0, np.inf
        for k in range(n_centers):
            square = (value - centers[c, k]) ** 2
            if square < least:
                best, least = k, square
        mass, mean, cost = 0.0, 0.0, 0.0
        for k in range(n_centers):
            weight = math.exp(sharpness * (least - (value - centers[c, k]) ** 2))
            mass += weight
            mean += weight * centers[c, k]
            cost += weight * nats[c, k]
        mean, cost = mean / mass, cost / mass
        spread, going = 0.0, 0.0
        for k in range(n_centers):
            weight = math.exp(sharpness * (least - (value - centers[c, k]) ** 2))
            away = weight * (centers[c, k] - mean)
            spread += away * (centers[c, k] - mean)
            going += away * (nats[c, k] - cost)
        slope[i, place, c] = 2 * sharpness * spread / mass
        rate_slope[i, place, c] = 2 * sharpness * going / mass
        nearest[i, place, c] = best
        code[i, place, c] = centers[c, best]
        total += nats[c, best]
    parts[lane] = total
    cuda.syncthreads()
    if lane == 0:
        rate[i] = sum_in_order(parts, WARP)


@by_blocks(of=3)
def center_sums(nearest, grad, sums, counts):
    c, k = divmod(cuda.blockIdx.x, counts.shape[1])
    lane = cuda.threadIdx.x
    parts = cuda.shared.array((2, SHARERS), np.float64)
    total, count = 0.0, 0.0
    for i in range(lane, nearest.shape[0], SHARERS):
        if nearest[i, c] == k:
            total += grad[i, c]
            count += 1.0
    parts[0, lane], parts[1, lane] = total, count
    cuda.syncthreads()
    if lane == 0:
        sums[c, k] = sum_in_order(parts[0], SHARERS)
        counts[c, k] = sum_in_order(parts[1], SHARERS)


@in_one_block(of=1)
def _whitening(scatter, square, factor, mixing, deviation, log_det):
    k, lane, lanes = len(square), cuda.threadIdx.x, cuda.blockDim.x
    for j in range(k):
        variance = scatter[j, j] + (1 + MARGIN) * square[j] + TINY
        left = variance
        for b in range(j):
            left -= factor[j, b] * factor[j, b]
        pivot = math.sqrt(left)
        for i in range(lane, k, lanes):
            if i == j:
                factor[j, j], deviation[j] = pivot, math.sqrt(variance)
            elif i > j:
                total = scatter[i, j]
                for b in range(j):
                    total -= factor[i, b] * factor[j, b]
                factor[i, j] = total / pivot
        # The whole column, before it is read.
        cuda.syncthreads()
    for c in range(lane, k, lanes):
        for i in range(k):
            total = 1.0 if i == c else 0.0
            for b in range(c, i):
                total -= factor[i, b] * mixing[b, c]
            mixing[i, c] = total / factor[i, i] if i >= c else 0.0
    if lane == 0:
        total = 0.0
        for j in range(k):
            total -= math.log(factor[j, j])
        log_det[0] = total


def whitening(scatter, square, mixing, deviation, log_det):
    _whitening(scatter, square, np.empty_like(scatter), mixing, deviation, log_det)
