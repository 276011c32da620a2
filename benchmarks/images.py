"""Kodak photographs in bytes of whole files: UniformNoiseCodec beside JPEG, WebP and JPEG 2000.

Models learn from the BSDS training images only and are kept in --models, so that coding can be
repeated without training. Wavelet models take a minute each; --hours sets the training time of each
convolutional one, which are left out where it is 0 and no model is kept.
"""

import argparse
import io
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _report import RESULTS, report
from PIL import Image

from rdlearn import UniformNoiseCodec, load
from rdlearn.datasets import load_bsds, load_kodak
from rdlearn.metrics import ms_ssim, psnr
from rdlearn.model_selection import bd_rate

# Height and width of the part of each training image that is used, landscape.
SHAPE = (320, 480, 3)
# Prices of squared error: steps of sqrt(6 / beta) gray levels, and of 1 - MS-SSIM of an image.
STEPS = (240, 150, 100, 70, 45, 30, 20)
CONV_BETAS = (4e-4, 1e-3, 2.5e-3, 6e-3)
SSIM_BETAS = (2e5, 8e5, 3.2e6)
CONV = {"n_components": 96, "hidden_layer_sizes": (64, 64), "learning_rate_init": 2e-3}
QUALITIES = (4, 7, 10, 14, 18, 24, 30, 40, 50, 60, 70, 80, 88, 93)
# Bits per pixel asked of JPEG 2000.
RATES = (0.05, 0.07, 0.1, 0.14, 0.19, 0.25, 0.33, 0.42, 0.5, 0.62, 0.8, 1.0, 1.3, 1.7, 2.2)
# Of the search of an image's code.
SEARCH_STEPS = 100
# Bits per pixel of the sheet of pictures.
SHOWN = 0.12


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run that shows the form")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of csv and pictures")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of models")
    parser.add_argument("--hours", type=float, default=0.0, help="training of a convolutional net")
    args = parser.parse_args()
    images = load_kodak().images[: 2 if args.quick else None]
    coders = {"JPEG": QUALITIES, "WebP": QUALITIES, "JPEG 2000": RATES}
    if args.quick:
        coders = {name: settings[1::4] for name, settings in coders.items()}
    points = [
        {"codec": name, "setting": setting, "image": number, **measure(name, setting, image)}
        for name, settings in coders.items()
        for setting in settings
        for number, image in enumerate(images)
    ]
    models = fitted(args)
    for name, pairs in models.items():
        for setting, model in pairs:
            for number, image in enumerate(images):
                point = {"codec": name, "setting": setting, "image": number}
                points.append(point | measure(model, setting, image))
    points = pd.DataFrame(points)
    suffix = "_quick" if args.quick else ""
    args.out.mkdir(parents=True, exist_ok=True)
    points.to_csv(args.out / f"images_points{suffix}.csv", index=False)
    note = f"{len(images)} Kodak images, bytes of whole files"
    report("images", summary(points), args, note)
    plot(points, args.out / f"images{suffix}.png")
    sheet(images[-1], models, args.out / f"images_sheet{suffix}.png")


def fitted(args):
    """Codecs by name, each a list of (setting, model), from files or by training."""
    found = {}
    args.models.mkdir(parents=True, exist_ok=True)
    steps = STEPS[1::3] if args.quick else STEPS
    jobs = [
        (f"wavelet, {context}", step, {"architecture": "wavelet", "beta": 6 / step**2}, context)
        for context in ("causal", "none")
        for step in steps
    ]
    conv = {"architecture": "conv", **CONV}
    jobs += [("conv, causal", beta, {**conv, "beta": beta}, "causal") for beta in CONV_BETAS]
    perceptual = {**conv, "distortion": "ms_ssim", "patch_size": 192, "batch_size": 4}
    jobs += [
        ("conv for MS-SSIM", beta, {**perceptual, "beta": beta}, "causal") for beta in SSIM_BETAS
    ]

    def path_of(name, setting):
        return args.models / f"{name.replace(', ', '_').replace(' ', '_')}_{setting:g}.rdl"

    for name, setting, parameters, context in jobs:
        path = path_of(name, setting)
        if not path.exists():
            if parameters["architecture"] == "conv" and not args.hours:
                continue
            model = UniformNoiseCodec(
                image_shape=SHAPE, context=context, data_range=255, random_state=0, **parameters
            )
            train(model, args).save(path)
        found.setdefault(name, []).append((setting, load(path)))
    for setting, model in found.get("conv, causal", []):
        path = path_of("conv, none", setting)
        if not path.exists():
            static_tables(path_of("conv, causal", setting), args).save(path)
        found.setdefault("conv, none", []).append((setting, load(path)))
        searched = Searched(model, 5 if args.quick else SEARCH_STEPS)
        found.setdefault("conv, searched", []).append((setting, searched))
    return found


class Searched:
    """A codec that searches the code of each image."""

    def __init__(self, codec, search_steps):
        self.encode_image = partial(codec.encode_image, search_steps=search_steps)
        self.decode_image = codec.decode_image


def train(model, args):
    X = training_rows()[:: 20 if args.quick else 1]
    if model.architecture == "conv":
        # The first fit compiles.
        few, seconds = X[::5], []
        for epochs in (4, 20, 40):
            start = time.perf_counter()
            model.set_params(max_iter=epochs).fit(few)
            seconds.append(time.perf_counter() - start)
        epoch = (seconds[2] - seconds[1]) / 20 * len(X) / len(few)
        model.set_params(max_iter=max(2, int(3600 * args.hours / epoch)))
    start = time.perf_counter()
    model.fit(X)
    minutes = (time.perf_counter() - start) / 60
    print(f"{model.architecture} at beta={model.beta:.3g}: {minutes:.1f} minutes", flush=True)
    return model


def static_tables(path, args):
    """The nets of a model file under tables without contexts."""
    # Steps far below the rounding of float32 leave the nets as they are.
    again = {"warm_start": True, "max_iter": 1, "learning_rate_init": 1e-15}
    model = load(path).set_params(context="none", **again)
    return model.fit(training_rows()[:: 20 if args.quick else 1])


def training_rows():
    """The BSDS training images, turned to landscape and cut to one size, as rows of float32."""
    height, width, _ = SHAPE
    turned = (a if a.shape[0] < a.shape[1] else a.swapaxes(0, 1) for a in load_bsds().images)
    return np.stack([a[:height, :width].ravel() for a in turned]).astype(np.float32)


def measure(codec, setting, image):
    """Bytes, quality and seconds of one image."""
    start = time.perf_counter()
    data = encode(codec, setting, image)
    middle = time.perf_counter()
    decoded = decode(codec, data)
    end = time.perf_counter()
    return {
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / image[..., 0].size,
        "psnr_db": psnr(image, decoded, data_range=255),
        "ms_ssim": ms_ssim(image, decoded, data_range=255),
        "encode_seconds": middle - start,
        "decode_seconds": end - middle,
    }


def encode(codec, setting, image):
    if not isinstance(codec, str):
        return codec.encode_image(image)
    file = io.BytesIO()
    options = {"quality": setting}
    if codec == "JPEG 2000":
        # Without mct its colours are not decorrelated, which costs 2 dB and more.
        options = {
            "quality_mode": "rates",
            "quality_layers": [24 / setting],
            "irreversible": True,
            "mct": 1,
        }
    elif codec == "WebP":
        options["method"] = 6
    Image.fromarray(image).save(file, codec.replace(" ", "").upper(), **options)
    return file.getvalue()


def decode(codec, data):
    if not isinstance(codec, str):
        return codec.decode_image(data)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def summary(points):
    """A row a codec: savings of bytes at equal quality, and time against JPEG 2000."""
    rows = []
    other = {name: points[points.codec == name] for name in ("JPEG", "JPEG 2000")}
    for name, own in points.groupby("codec", sort=False):
        row = {"codec": name}
        for against, reference in other.items():
            each = [
                percent(part, reference[reference.image == image])
                for image, part in own.groupby("image")
            ]
            key = against.replace(" ", "_").lower()
            row[f"bd_{key}"], row[f"worst_{key}"] = np.mean(each), np.max(each)
            row[f"bd_{key}_fixed_setting"] = percent(averages(own), averages(reference))
        each = [
            percent(part, other["JPEG"][other["JPEG"].image == image], "ms_ssim")
            for image, part in own.groupby("image")
        ]
        row["bd_jpeg_ms_ssim"] = np.mean(each)
        static = points[points.codec == name.replace("causal", "none")]
        each = [
            percent(part, static[static.image == image]) for image, part in own.groupby("image")
        ]
        row["bd_static_tables"] = np.mean(each) if "causal" in name else np.nan
        for task in ("encode", "decode"):
            row[f"{task}_times_jpeg_2000"] = (
                near_half(own)[f"{task}_seconds"].median()
                / near_half(other["JPEG 2000"])[f"{task}_seconds"].median()
            )
        rows.append(row)
    for row in rows:
        row["holds"] = holds(row)
    return rows


def holds(row):
    """Whether what must hold of this codec does; True of those that nothing is asked of."""
    name, common = row["codec"], True
    if name.endswith("causal"):
        fast = row["encode_times_jpeg_2000"] <= 3 and row["decode_times_jpeg_2000"] <= 10
        common = fast and row["bd_static_tables"] <= -8
    limits = {
        "wavelet, causal": row["bd_jpeg_2000"] <= -5 and row["worst_jpeg_2000"] <= 2,
        "conv, causal": row["bd_jpeg"] <= -25,
        "conv for MS-SSIM": row["bd_jpeg_ms_ssim"] <= -35,
    }
    return bool(limits.get(name, True) and common)


def percent(curve, reference, quality="psnr_db"):
    """How many percent more bytes a curve takes at equal quality, or NaN without overlap."""

    def columns(table):
        values = {"rate_bits": table.bits_per_pixel.to_numpy()}
        if quality == "psnr_db":
            return values | {"psnr_db": table.psnr_db.to_numpy()}
        return values | {"distortion": 1 - table.ms_ssim.to_numpy()}

    try:
        return bd_rate(columns(curve), columns(reference)).percent
    except ValueError:
        return np.nan


def averages(points):
    """Mean rate and quality of each setting, of JPEG 2000 at equal slope for all images."""
    mean = ["bits_per_pixel", "psnr_db", "ms_ssim"]
    if points.codec.iloc[0] != "JPEG 2000":
        return points.groupby("setting")[mean].mean()
    loss = 10 ** (-points.psnr_db / 10)
    rows = []
    for slope in np.geomspace(1e-5, 3e-2, 12):
        cost = loss + slope * points.bits_per_pixel
        rows.append(points.loc[cost.groupby(points.image).idxmin(), mean].mean())
    return pd.DataFrame(rows).drop_duplicates()


def near_half(points):
    """Of each image, the point nearest to half a bit per pixel."""
    away = (points.bits_per_pixel - 0.5).abs()
    return points.loc[away.groupby(points.image).idxmin()]


def plot(points, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for name, own in points.groupby("codec", sort=False):
        mean = averages(own).sort_values("bits_per_pixel")
        mean = mean[mean.bits_per_pixel < 1.6]
        panels[0].plot(mean.bits_per_pixel, mean.psnr_db, "o-", markersize=3, label=name)
        in_db = -10 * np.log10(1 - mean.ms_ssim)
        panels[1].plot(mean.bits_per_pixel, in_db, "o-", markersize=3, label=name)
    for axes, label in zip(panels, ("PSNR (dB)", "MS-SSIM, -10 log10(1 - s) (dB)"), strict=True):
        axes.set(xlabel="bits per pixel", ylabel=label)
        axes.grid(alpha=0.3)
    figure.suptitle("Kodak, means at one setting (JPEG 2000: one slope) for all images")
    panels[1].legend(fontsize="small")
    figure.savefig(path, dpi=100)


def sheet(image, models, path):
    """A part of an image at about SHOWN bits per pixel, in every codec that gets there."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    coders = {"JPEG": QUALITIES, "WebP": range(0, 30, 2), "JPEG 2000": [SHOWN]}
    pictures = [("original", image, 24.0)]
    for name, settings in coders.items():
        tried = [encode(name, setting, image) for setting in settings]
        data = min(tried, key=lambda data: abs(8 * len(data) / image[..., 0].size - SHOWN))
        pictures.append((name, decode(name, data), 8 * len(data) / image[..., 0].size))
    for name, pairs in models.items():
        if "none" not in name:
            tried = [(model, model.encode_image(image)) for _, model in pairs]
            model, data = min(
                tried, key=lambda pair: abs(8 * len(pair[1]) / image[..., 0].size - SHOWN)
            )
            pictures.append((name, model.decode_image(data), 8 * len(data) / image[..., 0].size))
    figure, panels = pyplot.subplots(
        2, -(-len(pictures) // 2), figsize=(4 * -(-len(pictures) // 2), 6), layout="constrained"
    )
    for axes in panels.ravel():
        axes.axis("off")
    for axes, (name, picture, rate) in zip(panels.ravel(), pictures, strict=False):
        axes.imshow(picture[120:400, 200:600])
        quality = "" if name == "original" else f", {psnr(image, picture, data_range=255):.1f} dB"
        axes.set_title(f"{name}, {rate:.3f} bit per pixel{quality}", fontsize=9)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
