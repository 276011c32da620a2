"""
A DataFrame into a small file and back
======================================

Eight correlated sensors, a valve and a counter, a hundred thousand rows, two bits a reading to
spend: fit under a rate target, write the model and the compressed rows, and read any rows back as a
DataFrame with the columns and dtypes of the original.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import rdlearn
from rdlearn import PCACodec

rng = np.random.default_rng(0)
time = np.arange(100_000)
drive = np.cumsum(rng.normal(size=(time.size, 2)), axis=0) * 0.05
mixing = rng.normal(size=(2, 8))
readings = drive @ mixing + 0.05 * rng.normal(size=(time.size, 8))
frame = pd.DataFrame(readings, columns=[f"sensor_{j}" for j in range(8)])
frame["valve_open"] = np.sin(time / 3000) > 0
frame["counter"] = (time // 50).astype(np.int32)

# Columns of different units: measure the loss in standard deviations of each.
codec = PCACodec(standardize=True, target_rate=2 * frame.shape[1]).fit(frame)

with tempfile.TemporaryDirectory() as folder:
    model, stream = Path(folder) / "sensors.rdl", Path(folder) / "sensors.rd"
    codec.save(model)
    codec.compress_to(frame, stream)
    raw = frame.memory_usage(index=False).sum()
    print(f"{raw:,} bytes in memory, {stream.stat().st_size:,} in the file,")
    print(f"{model.stat().st_size:,} for the model; {codec.rate(frame):.1f} bits per row.")

    # Elsewhere: the model file and the stream are all it takes.
    loaded = rdlearn.load(model)
    back = loaded.decompress(stream.read_bytes(), rows=slice(40_000, 43_000), as_frame=True)

print(back.dtypes.to_string())
original = frame.iloc[40_000:43_000].reset_index(drop=True)
loss = (back.astype(float) - original.astype(float)).std() / frame.astype(float).std()
print("residual in standard deviations:", loss.round(4).to_dict())

fig, axes = plt.subplots(2, 1, sharex=True, layout="constrained")
axes[0].plot(original["sensor_0"], label="original")
axes[0].plot(back["sensor_0"], label="decompressed", alpha=0.7)
axes[0].legend()
axes[0].set_ylabel("sensor_0")
axes[1].plot(back["sensor_0"] - original["sensor_0"], color="tab:red")
axes[1].set(ylabel="difference", xlabel="row")
fig.savefig("sensor_file.png", dpi=120)
