"""Draws what `over_http` measured, as JSON from standard input, into an SVG file. Runs where matplotlib is."""

import json
import sys

import matplotlib.pyplot as plt

plt.rcParams |= {"svg.hashsalt": "flaskapp", "svg.fonttype": "none", "font.family": "sans-serif"}


def main(path: str) -> None:
    measured = json.load(sys.stdin)  # {"title": …, "rates": {kind: {server: captions a second}}}
    figure, panels = plt.subplots(1, len(measured["rates"]), figsize=(9, 2.6), sharey=True, layout="constrained")
    for panel, (kind, rates) in zip(panels, measured["rates"].items(), strict=True):
        servers = list(reversed(rates))
        colours = ["tab:red" if server.startswith("flaskapp") else "tab:grey" for server in servers]
        bars = panel.barh(servers, [rates[server] for server in servers], color=colours)
        panel.bar_label(bars, fmt="%.2f", padding=3)
        panel.set_title(kind, fontsize=10)
        panel.set_xlabel("captions a second")
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(measured["title"], fontsize=10)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
