"""Sums of rows against dense products, at densities on either side of the switch."""

import numpy as np
import pytest

from rdlearn.kernels.cpu import add_product, matmul_sparse
from rdlearn.kernels.sparse import sparse_add_product, sparse_product
from rdlearn.nets.layers import Workspace

SHAPES = [(1, 1, 1), (3, 17, 5), (20, 33, 9), (40, 8, 64)]


def case(n, d, k, density, dtype, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, d)) * (rng.random((n, d)) < density)
    return a.astype(dtype), rng.normal(size=(d, k)).astype(dtype), rng


@pytest.mark.parametrize("n, d, k", SHAPES)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products(n, d, k, density, dtype):
    a, b, rng = case(n, d, k, density, dtype)
    # Sums of up to 40 products of size about 1.
    close = {"rtol": 0, "atol": 200 * np.finfo(dtype).eps}
    for product in (sparse_product, matmul_sparse):
        out = np.full((n, k), np.nan, dtype)
        product(a, b, out, Workspace().empty)
        np.testing.assert_allclose(out, a.astype(float) @ b, **close)
    c, first = rng.normal(size=(n, k)).astype(dtype), rng.normal(size=(d, k)).astype(dtype)
    for alpha, beta in ((1.0, 0.0), (0.5, 1.0), (-2.0, 0.25)):
        want = beta * first.astype(float) + alpha * a.T.astype(float) @ c
        for product in (sparse_add_product, add_product):
            out = first.copy()
            product(a, c, alpha, beta, out, Workspace().empty)
            np.testing.assert_allclose(out, want, **close)


def test_what_was_there_does_not_matter_where_it_counts_nothing():
    a, _, rng = case(6, 4, 3, 0.3, np.float32)
    out = np.full((4, 3), np.nan, np.float32)
    c = rng.normal(size=(6, 3)).astype(np.float32)
    sparse_add_product(a, c, 1.0, 0.0, out, Workspace().empty)
    assert np.isfinite(out).all()


def test_transposed_matrices_go_to_blas():
    a, b, _ = case(5, 7, 4, 0.1, np.float32)
    out = np.empty((5, 4), np.float32)
    matmul_sparse(a, np.asfortranarray(b), out, Workspace().empty)
    np.testing.assert_allclose(out, a @ b, atol=1e-5)
