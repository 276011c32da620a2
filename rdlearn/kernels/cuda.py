"""The operations of the neural core on a GPU: arrays and products by CuPy, all else by numba.

Those of `rdlearn.kernels.cpu`, by the same scalar rules, but sums go in another order: results
agree to rounding. Everything is in the one stream of the process, so nothing waits for a result
that the host does not ask for.
"""

import cupy

from rdlearn.kernels.cuda_channels import (
    assign_centers,
    center_sums,
    echo_backward,
    echo_chain,
    echo_forward,
    gate_backward,
    gate_forward,
    gaussian_backward,
    gaussian_forward,
    mixture_rate,
    whitening,
)
from rdlearn.kernels.cuda_dense import (
    activation_gradient,
    adam_step,
    bernoulli,
    bias_activation,
    cross_entropy,
    decayed_add,
    loss,
    softplus_sums,
    tilt,
)
from rdlearn.kernels.cuda_images import (
    gather_patches,
    gdn_backward,
    gdn_forward,
    gdn_pool_gradient,
    scatter_patches,
)

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

empty, matmul = cupy.empty, cupy.matmul
# Values of patches in a product, 256 MB: few and large ones.
PATCH_VALUES = 2**26
# Codes are computed on the CPU, where images stand alone.
ONE_BY_ONE = False


def matmul_by_rows(a, b, out):
    raise NotImplementedError("Codes are computed on the CPU, where rows stand alone to the bit.")


def matmul_sparse(a, b, out, empty):
    # Zeros are many, but not so many that a GPU would profit.
    return matmul(a, b, out=out)


def add_dense_product(a, b, alpha, beta, out):
    product = cupy.matmul(a.T, b)
    product *= out.dtype.type(alpha)
    if beta == 0:
        # What out holds may be no number.
        out[...] = product
    else:
        decayed_add(out.ravel(), out.dtype.type(beta), product.ravel())


def add_product(a, b, alpha, beta, out, empty):
    add_dense_product(a, b, alpha, beta, out)


def to_device(array):
    return cupy.asarray(array)


def to_host(array):
    return cupy.asnumpy(array)


def device_name():
    number = cupy.cuda.runtime.getDevice()
    return cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
