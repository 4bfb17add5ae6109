"""Draws benches/results/generators.png from generators.json: maps per second of every contestant.

    python3 benches/peers/plot.py

generators.py runs it at its end. Matplotlib is installed into its own virtual environment.
"""

import json

import workshop

workshop.run_inside("plot", [["matplotlib==3.11.2"]])

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

OURS = "cosmogan"
COLOURS = {"ours": "#d1495b", "f32": "#2e4057", "bf16": "#9fb3c8"}
LABELS = {"ours": "CosmoGAN-rs, f32", "f32": "f32", "bf16": "bf16"}
NAMES = {
    OURS: "CosmoGAN-rs",
    "torch eager": "PyTorch eager",
    "torch channels_last": "PyTorch channels last",
    "torch compile": "PyTorch compiled",
    "torch bf16": "PyTorch bf16",
    "onnxruntime f32": "ONNX Runtime",
    "openvino f32": "OpenVINO",
    "openvino bf16": "OpenVINO bf16",
    "jax f32": "JAX",
    "candle all_in_phases": "candle",
    "burn deconv": "burn",
    "tract f32": "tract",
}
# Width of the figure in pixels, at which its smallest text is readable, and dots per inch.
WIDTH, DOTS = 1200, 100


def kind(name, found):
    return "ours" if name == OURS else found["kind"]


def panel(axes, cell, order, most):
    """Draws one number of threads and one batch size: a bar per contestant, from the top in the given order."""
    for place, name in enumerate(order):
        found = cell["contestants"].get(name)
        if not found:
            axes.text(most * 0.015, place, "not measured", va="center", fontsize=9, color="gray")
            continue
        rate = found["maps_per_second"]
        errors = [[rate["median"] - rate["lowest"]], [rate["highest"] - rate["median"]]]
        bold = "bold" if name == OURS else "normal"
        axes.barh(place, rate["median"], 0.72, color=COLOURS[kind(name, found)])
        axes.errorbar(rate["median"], place, xerr=errors, color="black", linewidth=0.9, capsize=2)
        text = f"{rate['median']:.1f}" if rate["median"] < 9.95 else f"{rate['median']:.0f}"
        axes.text(rate["highest"] + most * 0.025, place, text, va="center", fontsize=10, fontweight=bold)
    axes.set_xlim(0, most * 1.16)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def main():
    result = json.loads((workshop.RESULTS / "generators.json").read_text())
    cells = {(cell["threads"], cell["batch"]): cell for cell in result["cells"]}
    threads, batches = (sorted({key[part] for key in cells}) for part in (0, 1))
    # The same order everywhere: by the rate at the largest batch on most threads.
    last = cells[threads[-1], batches[-1]]["contestants"]
    names = {name for cell in cells.values() for name in cell["contestants"]}
    order = sorted(names, key=lambda name: last[name]["maps_per_second"]["median"] if name in last else 0, reverse=True)

    height = 130 + len(threads) * (110 + 27 * len(order))
    figure, grid = plt.subplots(
        len(threads), len(batches), figsize=(WIDTH / DOTS, height / DOTS), sharey=True, squeeze=False
    )
    for row, count in zip(grid, threads):
        rates = [
            found["maps_per_second"]["highest"]
            for batch in batches
            for found in cells[count, batch]["contestants"].values()
        ]
        for axes, batch in zip(row, batches):
            panel(axes, cells[count, batch], order, max(rates))
            on = f"{count} thread" if count == 1 else f"{count} threads"
            axes.set_title("one map at a time" if batch == 1 else f"{batch} maps at a time", fontsize=12)
            axes.set_xlabel(f"maps per second, {on}", fontsize=11)
        row[0].set_yticks(range(len(order)), [NAMES.get(name, name) for name in order], fontsize=11)
        if OURS in order:
            row[0].get_yticklabels()[order.index(OURS)].set_fontweight("bold")
    machine = result["machine"]
    title = "Maps per second of the paper's generator (256 × 256, same weights and latents)"
    setting = (
        f"{machine['cores']} cores of {machine['processor']}; medians of {result['turns']} turns, "
        "lines from the lowest to the highest turn; higher is better"
    )
    figure.text(0.5, 1 - 32 / height, title, ha="center", fontsize=15, fontweight="bold")
    figure.text(0.5, 1 - 58 / height, setting, ha="center", fontsize=11)
    handles = [Patch(color=COLOURS[name], label=LABELS[name]) for name in COLOURS]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, 34 / height, 1, 1 - 70 / height), h_pad=2)
    path = workshop.RESULTS / "generators.png"
    # Without date and version, so that equal numbers give equal files.
    figure.savefig(path, dpi=DOTS, metadata={"Software": None})
    print(f"written: {path.relative_to(workshop.ROOT)}")


main()
