"""The operations of the neural core on the CPU: what an algorithm may ask of a device."""

import numpy as np
from scipy.linalg import blas

from rdlearn.kernels.boltzmann import decayed_add, softplus_sums
from rdlearn.kernels.centers import assign_centers, center_sums
from rdlearn.kernels.convolution import (
    gather_patches,
    gdn_backward,
    gdn_forward,
    gdn_pool_gradient,
    scatter_patches,
)
from rdlearn.kernels.echo import echo_backward, echo_chain, echo_forward
from rdlearn.kernels.elementwise import activation_gradient, adam_step, bias_activation, tilt
from rdlearn.kernels.flow import gate_backward, gate_forward
from rdlearn.kernels.gaussian import gaussian_backward, gaussian_forward
from rdlearn.kernels.losses import cross_entropy, loss
from rdlearn.kernels.products import affine
from rdlearn.kernels.random import bernoulli
from rdlearn.kernels.sparse import SPARSE, sparse_add_product, sparse_product
from rdlearn.kernels.uniform_noise import mixture_rate
from rdlearn.kernels.whitening import whitening

__all__ = [
    "ONE_BY_ONE",
    "PATCH_VALUES",
    "activation_gradient",
    "adam_step",
    "add_dense_product",
    "add_product",
    "assign_centers",
    "bernoulli",
    "bias_activation",
    "center_sums",
    "cross_entropy",
    "decayed_add",
    "device_name",
    "echo_backward",
    "echo_chain",
    "echo_forward",
    "empty",
    "gate_backward",
    "gate_forward",
    "gather_patches",
    "gaussian_backward",
    "gaussian_forward",
    "gdn_backward",
    "gdn_forward",
    "gdn_pool_gradient",
    "loss",
    "matmul",
    "matmul_by_rows",
    "matmul_sparse",
    "mixture_rate",
    "scatter_patches",
    "softplus_sums",
    "tilt",
    "to_device",
    "to_host",
    "whitening",
]

empty, matmul = np.empty, np.matmul
# Values of patches in a product, 1 MB: products of fewer rows are slower, larger blocks leave the
# cache.
PATCH_VALUES = 2**18
# Whether images go one by one, each the same to the bit in any company.
ONE_BY_ONE = True


def matmul_by_rows(a, b, out):
    """a @ b, each row of which depends on its own row of a only."""
    zeros = [np.zeros(size, dtype=a.dtype) for size in b.shape]
    affine(a, zeros[0], b, zeros[1], out)
    return out


def matmul_sparse(a, b, out, empty):
    """a @ b, quicker where a is mostly zeros; ``empty(name, shape, dtype)`` gives room to work."""
    if b.flags.c_contiguous and np.count_nonzero(a) <= SPARSE * a.size:
        sparse_product(a, b, out, empty)
        return out
    return matmul(a, b, out=out)


def add_product(a, b, alpha, beta, out, empty):
    """out = beta * out + alpha * a.T @ b, in place; shapes (n, d), (n, k), (d, k), C order.

    ``empty(name, shape, dtype)`` gives room to work.
    """
    if np.count_nonzero(a) <= SPARSE * a.size:
        sparse_add_product(a, b, alpha, beta, out, empty)
    else:
        add_dense_product(a, b, alpha, beta, out)


def add_dense_product(a, b, alpha, beta, out):
    """`add_product` where a has no zeros to speak of."""
    gemm = blas.sgemm if out.dtype == np.float32 else blas.dgemm
    # BLAS reads columns first, hence everything transposed.
    gemm(alpha, b.T, a.T, beta, out.T, trans_b=True, overwrite_c=True)


def to_device(array):
    """The array where the kernels can reach it."""
    return array


def to_host(array):
    """The array where numpy can reach it."""
    return array


def device_name():
    """What computes, for people."""
    return "the CPU"
