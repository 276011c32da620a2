"""Convolutional nets as an objective: gradients, threads, patches, padding, single images."""

import numpy as np
import pytest
from convolution_reference import naive_conv, naive_gdn, naive_transposed
from reference import assert_slopes

from rdlearn._image_nets import ImageNets, image_objective, padded, patches, total_stride
from rdlearn._perceptual import on_patches
from rdlearn.channels.uniform_noise import UniformNoiseChannel
from rdlearn.distortions import NLPD, AbsoluteError, MultiScaleSSIM, SquaredError
from rdlearn.nets.adam import Adam
from rdlearn.nets.convolution import LEAST_BETA
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import WeightedLoss, make_loss

# Neither side is a multiple of the stride, 8: patches are padded to 16 x 24.
SIZE, HIDDEN, N_CODE, N_COLOURS = (13, 18), (3,), 2, 3
D = SIZE[0] * SIZE[1] * N_COLOURS
SPREAD = 40.0


class Case:
    """An objective with parameters, images and draws in float64."""

    def __init__(self, distortion, weighted=False, n_threads=1, n=3, seed=0):
        rng = np.random.default_rng(seed)
        # Losses of size one: differences show what is small beside them.
        self.price = 1e-6 if distortion.name == "squared_error" else 0.7
        loss = make_loss(distortion, np.full(D, 120.0), SPREAD)
        raw = rng.integers(0, 256, (n, *SIZE, N_COLOURS)).astype(np.float64)
        target = ((raw.reshape(n, D) - 120.0) / SPREAD).astype(np.float64)
        self.weight = rng.uniform(0.5, 2, n) if weighted else np.ones(n)
        if weighted:
            loss = WeightedLoss(loss)
            target = np.column_stack([target, self.weight])
        channel = UniformNoiseChannel(N_CODE, 2 * 3)
        self.objective = image_objective(N_COLOURS, list(HIDDEN), channel, loss, SIZE, n_threads)
        # Rounding to float32 on the way would drown the differences.
        self.objective._grads = [np.zeros(g.shape) for g in self.objective._grads]
        self.flat = self.objective.init(rng).astype(np.float64)
        self.flat += rng.normal(scale=0.05, size=self.flat.size)
        self.x = (padded(raw, total_stride(HIDDEN)) - 120.0) / SPREAD
        self.target = target
        self.draw = channel.draw(rng, n).astype(np.float64)

    def forward(self, work=None):
        views = self.objective.views(self.flat)
        inputs = views, self.x, self.target, None, self.draw, None, work or Workspace()
        return self.objective.forward(*inputs, self.price)

    def value(self):
        _, rate, loss, _ = self.forward()
        return 0.4 * rate.sum() + self.price * loss.sum()

    def gradient(self):
        grads, work = np.full(self.flat.shape, np.nan), Workspace()
        *_, cache = self.forward(work)
        views, parts = self.objective.views(self.flat), self.objective.views(grads)
        self.objective.backward(views, parts, cache, 0.4, work)
        return grads


DISTORTIONS = [
    SquaredError(),
    NLPD((*SIZE, N_COLOURS), 255),
    MultiScaleSSIM((*SIZE, N_COLOURS), 255),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("distortion", DISTORTIONS[:1], ids=["squared_error"])
def test_gradients_against_finite_differences(distortion, weighted):
    case = Case(distortion, weighted)
    assert_slopes(case.value, case.flat, case.gradient(), np.random.default_rng(1))
    assert case.gradient().all()


@pytest.mark.parametrize("distortion", DISTORTIONS[1:], ids=["nlpd", "ms_ssim"])
def test_gradients_of_looks_along_directions(distortion):
    """Reproductions pass through float32 here: differences of long steps."""
    case, rng = Case(distortion, weighted=True), np.random.default_rng(2)
    gradient, kept = case.gradient(), case.flat.copy()
    for _ in range(6):
        direction = rng.choice([-1.0, 1.0], kept.size) * (np.abs(gradient) > 0)
        ends = []
        for step in (1e-3, -1e-3):
            case.flat[:] = kept + step * direction
            ends.append(case.value())
        case.flat[:] = kept
        size = np.abs(gradient).sum()
        assert abs((ends[0] - ends[1]) / 2e-3 - gradient @ direction) < 0.02 * size


def test_rate_and_loss_by_their_definitions():
    case = Case(SquaredError(), weighted=True)
    encoder, channel, decoder = case.objective.views(case.flat)
    z = naive_conv(case.x, encoder[0]["weights"], encoder[0]["bias"], 4)
    z = naive_gdn(z, *gdn(encoder[1]), inverse=False)
    z = naive_conv(z, encoder[2]["weights"], encoder[2]["bias"], 2)
    assert z.shape == (3, 2, 3, N_CODE)
    code = z + case.draw.reshape(z.shape)
    y = naive_transposed(code, decoder[0]["weights"], decoder[0]["bias"], 2)
    y = naive_gdn(y, *gdn(decoder[1]), inverse=True)
    y = naive_transposed(y, decoder[2]["weights"], decoder[2]["bias"], 4)
    inside = y[:, : SIZE[0], : SIZE[1]].reshape(3, -1)
    _, rate, loss, _ = case.forward()
    # The padding is not lost, because it is not there.
    expected = case.weight * SPREAD**2 * np.sum((inside - case.target[:, :-1]) ** 2, axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
    share, mean, log_scale = channel.reshape(3, N_CODE, -1)
    expected = np.zeros(3)
    for c in range(N_CODE):
        below, above = (
            sum(
                p / (1 + np.exp((m - code[..., c] - half) / np.exp(s)))
                for p, m, s in zip(
                    np.exp(share[c]) / np.exp(share[c]).sum(), mean[c], log_scale[c], strict=True
                )
            )
            for half in (-0.5, 0.5)
        )
        expected -= np.log(above - below).sum(axis=(1, 2))
    np.testing.assert_allclose(rate, expected, rtol=1e-9)


def gdn(params):
    """gamma and beta of a layer's roots."""
    return params["gamma"] ** 2, params["beta"] ** 2 + LEAST_BETA


@pytest.mark.parametrize("n, n_threads", [(3, 2), (5, 3), (1, 2)])
def test_threads_agree_to_rounding(n, n_threads):
    one, more = (Case(SquaredError(), weighted=True, n_threads=t, n=n) for t in (1, n_threads))
    for k in (1, 2):
        np.testing.assert_allclose(more.forward()[k], one.forward()[k], rtol=1e-12)
    for _ in range(2):
        # Twice: what is left of the batch before must not show.
        np.testing.assert_allclose(more.gradient(), one.gradient(), rtol=1e-9, atol=1e-8)


def test_a_smaller_batch_after_a_larger_one():
    case, small = Case(SquaredError(), n_threads=3, n=5), Case(SquaredError(), n_threads=3, n=5)
    small.x, small.target, small.draw = small.x[:2], small.target[:2], small.draw[:2]
    expected = small.gradient()
    case.gradient()
    case.x, case.target, case.draw = small.x, small.target, small.draw
    np.testing.assert_array_equal(case.gradient(), expected)


def numbered(n=4, height=9, width=7):
    """Images whose every pixel knows its place."""
    row, i, j = np.ogrid[:n, :height, :width]
    return np.stack([row * 10_000 + i * 100 + j, -(row * 10_000 + i * 100 + j)], axis=3)


@pytest.mark.parametrize("size", [(1, 1), (4, 3), (9, 3), (4, 7), (9, 7)])
def test_patches_lie_inside_and_are_mirrored_or_not(size):
    images, rng = numbered(), np.random.default_rng(0)
    rows = rng.integers(0, 4, 1500)
    out = patches(images, rows, size, rng)
    assert out.shape == (1500, *size, 2) and out.dtype == images.dtype
    places, mirrored = set(), 0
    for patch, row in zip(out, rows, strict=True):
        i, j = np.divmod(patch[:, :, 0] - row * 10_000, 100)
        left, right = j[0, 0], j[0, -1]
        step = 1 if right >= left else -1
        mirrored += right < left
        top, first = i[0, 0], min(left, right)
        assert 0 <= top <= 9 - size[0] and 0 <= first <= 7 - size[1]
        np.testing.assert_array_equal(i, (top + np.arange(size[0]))[:, None] + 0 * j)
        np.testing.assert_array_equal(j, (left + step * np.arange(size[1])) + 0 * i)
        np.testing.assert_array_equal(patch[:, :, 1], -patch[:, :, 0])
        places.add((top, first))
    # All 36 places at most of 1500 draws, and half of them mirrored: 6 standard errors.
    assert len(places) == (10 - size[0]) * (8 - size[1])
    assert size[1] == 1 or abs(mirrored / 1500 - 0.5) < 6 * 0.5 / np.sqrt(1500)


@pytest.mark.parametrize("height, width", [(1, 1), (8, 16), (9, 7), (16, 1)])
def test_padding_repeats_the_last_row_and_column(height, width):
    images = numbered(2, height, width)
    out = padded(images, 8)
    assert out.shape == (2, -(-height // 8) * 8, -(-width // 8) * 8, 2)
    i = np.minimum(np.arange(out.shape[1]), height - 1)
    j = np.minimum(np.arange(out.shape[2]), width - 1)
    np.testing.assert_array_equal(out, images[:, i][:, :, j])
    assert out.flags.c_contiguous


def test_losses_on_patches():
    for plain in (SquaredError(), AbsoluteError()):
        assert on_patches(plain, (4, 4, 1), 0.25) == (plain, 1.0)
    whole = NLPD((40, 60, 3), 1.0, version=2017)
    part, factor = on_patches(whole, (20, 30, 3), 0.25)
    assert part == NLPD((20, 30, 3), 1.0, version=2017) and factor == 0.25
    assert whole.image_shape == (40, 60, 3)
    with pytest.raises(ValueError, match="side below 11"):
        on_patches(MultiScaleSSIM((40, 60, 3), 255), (10, 30, 3), 0.1)


@pytest.fixture(scope="module")
def nets():
    rng = np.random.default_rng(3)
    objective = image_objective(3, [4, 5], UniformNoiseChannel(6), None, None)
    loss = make_loss(SquaredError(), np.zeros(3), 1.0)
    trainable = image_objective(3, [4, 5], UniformNoiseChannel(6), loss, (1, 1))
    params = trainable.init(rng) + rng.normal(scale=0.02, size=objective.n_parameters)
    params = params.astype(np.float32)
    mean = np.array([100.0, 120.0, 90.0])
    return ImageNets(objective, params, total_stride([4, 5]), mean, 50.0, SquaredError())


def test_strides():
    assert [total_stride(range(n)) for n in range(4)] == [4, 8, 16, 32]


@pytest.mark.parametrize("size", [(1, 1), (16, 32), (33, 50), (17, 5)])
def test_an_image_does_not_depend_on_what_was_coded_before(nets, size):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (*size, 3)).astype(np.float32)
    z = nets.analyse(x)
    places = nets.places(*size)
    assert places == (-(-size[0] // 16), -(-size[1] // 16))
    assert z.dtype == np.float32 and z.shape == (places[0] * places[1] * 6,)
    y = nets.synthesise(np.rint(z), *size)
    assert y.shape == x.shape and y.dtype == np.float32
    kept_z, kept_y = z.copy(), y.copy()
    for other in ((70, 20), (3, 3), size):
        nets.synthesise(nets.analyse(rng.integers(0, 256, (*other, 3)).astype(np.float32)), *other)
        np.testing.assert_array_equal(nets.analyse(x), z)
        np.testing.assert_array_equal(nets.synthesise(np.rint(z), *size), y)
    # What was handed out is not the workspace.
    np.testing.assert_array_equal(z, kept_z)
    np.testing.assert_array_equal(y, kept_y)
    np.testing.assert_array_equal(nets.analyse(x.astype(np.float64)), z)


def test_a_place_sees_its_neighbourhood_only(nets):
    x = np.random.default_rng(0).integers(0, 256, (16 * 9, 16 * 9, 3)).astype(np.float32)
    z = nets.analyse(x).reshape(9, 9, 6)
    x[:16, :16] = 0
    changed = np.any(nets.analyse(x).reshape(9, 9, 6) != z, axis=2)
    # 9 x 9 and twice 5 x 5: 4 + 4 * 2 + 8 * 2 = 28 pixels, less than two places.
    assert changed[0, 0] and not changed[3:].any() and not changed[:, 3:].any()


def test_training_on_patches_lowers_the_objective():
    rng = np.random.default_rng(0)
    ramps = rng.normal(size=(12, 2, 1, 1, 3)) * 3
    i, j = np.ogrid[:40, :40]
    images = 120 + ramps[:, 0] * (i - 20)[..., None] + ramps[:, 1] * (j - 20)[..., None]
    channel = UniformNoiseChannel(4, 4)
    loss = make_loss(SquaredError(), np.full(16 * 16 * 3, 120.0), 50.0)
    objective = image_objective(3, [6], channel, loss, (16, 16))
    flat = objective.init(rng)
    grads, work, adam = np.zeros_like(flat), Workspace(), None
    adam, values = Adam(flat.size, work.ops), []
    for _ in range(150):
        raw = patches(images, rng.integers(0, 12, 8), (16, 16), rng)
        x = ((padded(raw, 8) - 120.0) / 50.0).astype(np.float32)
        target = loss.target(raw.reshape(8, -1))
        views = objective.views(flat)
        draw = channel.draw(rng, 8)
        _, rate, lost, cache = objective.forward(views, x, target, None, draw, None, work, 0.01 / 8)
        objective.backward(views, objective.views(grads), cache, 1 / 8, work)
        adam.step(flat, grads, 0.01)
        values.append(rate.mean() + 0.01 * lost.mean())
    assert np.mean(values[-20:]) < 0.4 * np.mean(values[:5])
