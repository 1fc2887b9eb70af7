"""Draws the bars described as JSON on standard input into an SVG file. `drawing.draw` runs it with matplotlib."""

import json
import sys

import matplotlib.pyplot as plt

plt.rcParams |= {"svg.hashsalt": "flaskapp", "svg.fonttype": "none", "font.family": "sans-serif"}


def main(path: str) -> None:
    shown = json.load(sys.stdin)  # {"title": …, "label": of the axis, "panels": {title: {bar: length}}}
    height = 1.1 + 0.3 * max(len(bars) for bars in shown["panels"].values())
    figure, (panels,) = plt.subplots(
        1, len(shown["panels"]), figsize=(9, height), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (title, lengths) in zip(panels, shown["panels"].items(), strict=True):
        names = list(reversed(lengths))
        colours = ["tab:red" if name.startswith("flaskapp") else "tab:grey" for name in names]
        bars = panel.barh(names, [lengths[name] for name in names], color=colours)
        panel.bar_label(bars, fmt="%.3g", padding=3)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(shown["label"])
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(shown["title"], fontsize=10)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
