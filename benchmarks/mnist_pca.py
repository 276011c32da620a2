"""Table II of 'Learning to Compress Using Deep AutoEncoder' (Li & Chen 2019), PCA half.

Hamming distortion per pixel on the 10,000 binarised MNIST test images: K principal components
as real numbers thresholded at 1/2 (here 8 bits each, far more than K bits), and with one bit each
(truly K bits). The paper's own figures are pictures; the references are those of an independent
measurement with plain PCA, and should be met within 0.001. Beside them: the same K bits spent by
PCACodec as it likes (entropy-coded, `target_rate=K`, at most 64 components).
"""

import numpy as np
from _report import options, report

from rdlearn import PCACodec
from rdlearn.datasets import load_mnist

REAL = dict(
    zip(
        (24, 22, 20, 18, 16, 15, 12, 10, 9),
        (0.0455, 0.0479, 0.0506, 0.0537, 0.0569, 0.0589, 0.0653, 0.0702, 0.0733),
        strict=True,
    )
)
ONE_BIT = dict(
    zip(
        REAL,
        (0.0745, 0.0760, 0.0779, 0.0798, 0.0822, 0.0833, 0.0874, 0.0910, 0.0930),
        strict=True,
    )
)
TOLERANCE = 0.001


def main():
    args = options(__doc__)
    data = load_mnist(binarize="sample", random_state=0)
    train, test = (data[part].astype(np.float32) for part in ("X_train", "X_test"))
    if args.quick:
        train = train[:10_000]
    rows = []
    for k in (24, 9) if args.quick else REAL:
        real = per_pixel(PCACodec(k, n_bits=8, distortion="hamming").fit(train), test)
        one_bit = per_pixel(PCACodec(k, n_bits=1, distortion="hamming").fit(train), test)
        coded = PCACodec(64, target_rate=k, distortion="hamming").fit(train)
        rows.append(
            {
                "K": k,
                "real_valued": real,
                "reference_real": REAL[k],
                "one_bit": one_bit,
                "reference_one_bit": ONE_BIT[k],
                "within_0.001": max(abs(real - REAL[k]), abs(one_bit - ONE_BIT[k])) <= TOLERANCE,
                "entropy_coded": per_pixel(coded, test),
                "entropy_coded_bits": coded.rate(test),
            }
        )
    report("mnist_pca", rows, args, "Hamming distortion per pixel, 10,000 test images")


def per_pixel(codec, X):
    return codec.mean_distortion(X) / X.shape[1]


if __name__ == "__main__":
    main()
