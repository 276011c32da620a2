"""Arguments for every operation of a device, made so that launches span several blocks."""

import numpy as np

__all__ = ["cases"]

# More than a warp of columns, more than a block of elements, and no multiple of either.
N, K = 11, 37


def cases():
    """Yield (operation, variant, dtype, arguments, places of the results among these)."""
    for dtype in (np.float32, np.float64):
        seen = set()
        for name, variant, arguments, results in _cases(np.random.default_rng(0), dtype):
            # In float64, where only a wrong formula differs, one variant of each is enough.
            if dtype is np.float32 or name not in seen:
                yield name, variant, dtype, arguments, results
            seen.add(name)


def _cases(rng, dtype):
    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    def prob(*shape):
        return rng.random(shape).astype(dtype)

    def empty(*shape):
        # Values that nothing reads: what is not written shows.
        return np.full(shape, 7.0, dtype)

    for kind in range(5):
        yield "bias_activation", f"kind {kind}", [normal(N, K), normal(K), kind], [0]
        # Values as the activation has them: above 0 for the softplus, in (0, 1) for the logistic.
        y = normal(N, K) if kind < 2 else prob(N, K)
        for n in (N, 1, 70) if kind == 0 else (N,):
            arguments = [normal(n, K), np.resize(y, (n, K)), empty(K), kind]
            yield "activation_gradient", f"kind {kind}, {n} rows", arguments, [0, 2]
    shift = normal(N, K)
    shift[::3] = -np.inf
    yield "tilt", "", [normal(N, K), normal(K), shift], [0]
    for size in (5, 700):
        moments = [normal(size), normal(size) ** 2]
        scalars = [dtype(value) for value in (1e-2, 0.9, 0.99, 1e-8)]
        arguments = [normal(size), normal(size), *moments, *scalars]
        yield "adam_step", f"{size}", arguments, [0, 2, 3]
    yield "decayed_add", "", [normal(700), dtype(0.9), normal(700)], [0]
    yield "softplus_sums", "", [10 * normal(N, K), np.empty(N)], [1]
    keys = rng.integers(0, 2**63, N).astype(np.uint64)
    for d in (K, 4, 3):
        p = prob(N, d)
        p[:, 0], p[0] = 0, 1
        seed, stream = np.uint64(2**63 + 11), np.uint64(2**40 + 5)
        yield "bernoulli", f"{d} columns", [p, keys, seed, stream, empty(N, d)], [4]
    for kind in range(3):
        target = prob(N, K) if kind == 2 else normal(N, K)
        output = 4 * normal(N, K)
        output[0], target[0] = 0, 0
        arguments = [kind, output, target, 1.7, 0.3, empty(N, K), np.empty(N)]
        yield "loss", f"kind {kind}", arguments, [5, 6]
    for d in (2, K):
        target = rng.integers(0, d, N)
        yield "cross_entropy", f"{d}", [normal(N, d), target, 0.3, empty(N, d), np.empty(N)], [3, 4]
    for k in (3, K):
        yield from _channel_cases(rng, normal, empty, k)
    for m, places in ((3, 5), (1, 1)):
        z, law = 3 * normal(N, places, 2), [normal(2, m) for _ in range(3)]
        z[0, 0], z[1, 0] = 400, -400
        slopes = np.empty((3, 2, m))
        arguments = [z, *law, np.empty(N), np.empty_like(z), *slopes]
        yield "mixture_rate", f"{m} of {places}", arguments, [4, 5, 6, 7, 8]
    for places in (1, 5):
        z, centers = 2 * normal(N, places, 11), np.sort(normal(11, 4), axis=1)
        # Ties go to the first.
        centers[0, 1] = centers[0, 0] = z[0, 0, 0]
        nearest = np.empty(z.shape, np.int32)
        slopes = [np.empty_like(z) for _ in range(2)]
        nats = rng.random((11, 4))
        arguments = [z, centers, nats, 4.0, nearest, np.empty_like(z), np.empty(N), *slopes]
        yield "assign_centers", f"{places}", arguments, [4, 5, 6, 7, 8]
        grad, sums = normal(*z.shape).reshape(-1, 11), empty(11, 4)
        nearest = rng.integers(0, 4, grad.shape).astype(np.int32)
        yield "center_sums", f"{places}", [nearest, grad, sums, np.empty(sums.shape)], [2, 3]
    for k in (1, 3, K):
        # The loop's moments are float64 whatever the nets are.
        f = rng.standard_normal((2 * k + 3, k))
        results = [np.full(shape, 7.0) for shape in ((k, k), k, 1)]
        yield "whitening", f"{k}", [np.cov(f.T).reshape(k, k), rng.random(k), *results], [2, 3, 4]
    yield from _image_cases(normal, empty)


def _channel_cases(rng, normal, empty, k):
    label = f"{k} components"
    encoded, order = normal(N, 2 * k), rng.permutation(N)
    encoded[0, k:] = 5.0
    for sampled in (False, True):
        arguments = [encoded, normal(N, k), sampled, empty(N, k), empty(N, k), empty(N)]
        yield "gaussian_forward", f"{label}, {sampled}", arguments, [3, 4, 5]
    arguments = [normal(N, k), 0.3, normal(N, k), normal(k), normal(N, k) ** 2, normal(N, k)]
    yield "gaussian_backward", label, [*arguments, empty(N, 3 * k)], [6]
    arguments = [normal(N, k), 3 * encoded, empty(N, k), empty(N, k), normal(N)]
    yield "gate_forward", label, arguments, [2, 3, 4]
    opened = 1 / (1 + np.exp(-normal(N, k)))
    arguments = [normal(N, k), 0.3, normal(N, k), encoded, opened, empty(N, k), empty(N, 2 * k)]
    yield "gate_backward", label, arguments, [5, 6]
    mixing = np.tril(normal(k, k)) / k
    arguments = [-abs(encoded), order, normal(k), normal(k), mixing]
    arguments += [empty(N, k) for _ in range(3)] + [empty(N)]
    yield "echo_chain", label, arguments, [5, 6, 7, 8]
    for more in (0, 7):
        longer = np.concatenate([order, order[:more]])
        m = len(longer)
        scale, noise = empty(m, k), empty(m, k)
        arguments = [encoded, longer, normal(k), -0.2, empty(N, k), scale, noise, empty(N)]
        yield "echo_forward", f"{label}, {more} again", arguments, [4, 5, 6, 7]
        scale = (0.8 * rng.random((m, k))).astype(scale.dtype)
        arguments = [normal(N, k), 0.3, longer, -0.2, scale, normal(m, k), empty(N, 2 * k)]
        yield "echo_backward", f"{label}, {more} again", arguments, [6]


def _image_cases(normal, empty):
    for height, width, kernel, stride in ((4, 7, 3, 1), (5, 6, 5, 2), (3, 4, 9, 4)):
        images = normal(2, height, width, 2)
        n_rows = 2 * -(-height // stride) * -(-width // stride)
        label = f"{height}x{width}, {kernel} by {stride}"
        for start, stop in ((0, n_rows), (1, max(2, n_rows - 1))):
            size = (stop - start, kernel * kernel * 2)
            arguments = [images, kernel, stride, start, empty(*size)]
            yield "gather_patches", f"{label}, from {start}", arguments, [4]
            arguments = [normal(*size), kernel, stride, start, images]
            yield "scatter_patches", f"{label}, from {start}", arguments, [4]
    x = normal(N, K)
    x[0] = 0
    for inverse in (False, True):
        arguments = [x, normal(N, K) ** 2, normal(K) ** 2 + 1, inverse, empty(N, K)]
        yield "gdn_forward", f"{inverse}", arguments, [1, 4]
        arguments = [normal(N, K), x, normal(N, K) ** 2 + 1, inverse, empty(N, K), normal(K)]
        yield "gdn_pool_gradient", f"{inverse}", arguments, [0, 4, 5]
    yield "gdn_backward", "", [x, normal(N, K), normal(N, K)], [2]
