"""Draws what a folder holds: of a run, its losses and validation curves; of several runs, their
curves on one another; of a sweep, lines with error bands for one option, a heat map for two, else
bars with the spread over seeds.
"""
import argparse
import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
DASHES = ["-", "--", "-.", ":"]
FIGURES = {"recall@20": "Recall@20", "ndcg@20": "NDCG@20"}


def style(k):
    """Tells lines apart in print, too."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)]}


# --------------------------------------------------------------------------------------- runs

def read_log(folder):
    """The columns of log.csv, by name, as numbers."""
    with open(folder / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def read_config(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def title_of(config):
    data = config["data"]
    return f"{config['model']} on {data['name']}{' (made up)' if data['synthetic'] else ''}"


def draw_run(axes, folder, log):
    """One run: its loss and the parts of it, and Recall and NDCG with the best epoch."""
    parts = [name for name in log
             if name not in ("epoch", "best") and "valid_" not in name and any(log[name])]
    for k, name in enumerate(parts):
        label = "total" if name == "loss" else name
        axes[0].plot(log["epoch"], log[name], label=label, **style(k))
    config = read_config(folder)
    best = config["best_epoch"]
    for k, (name, words) in enumerate(FIGURES.items()):
        axes[1].plot(log["epoch"], log["valid_" + name], label=words, marker="o",
                     markevery=[log["epoch"].index(best)], **style(k))
    axes[1].axvline(best, color="0.6", linewidth=0.8, label=f"best epoch, {best}")
    axes[1].set(ylabel="Recall, NDCG")
    return f"{title_of(config)}, seed {config['settings']['seed']}"


def draw_runs(folders, axes):
    """The figure's title, after its two panels are drawn."""
    axes[0].set(title="Training", ylabel="loss, mean of the epoch's batches", xlabel="epoch")
    axes[1].set(title="Validation", xlabel="epoch")
    logs = [read_log(folder) for folder in folders]
    if len(folders) == 1:
        title = draw_run(axes, folders[0], logs[0])
    else:
        for k, (folder, log) in enumerate(zip(folders, logs)):
            # The first is wide and pale, so that it is seen under another that is the same.
            look = {"linewidth": 4, "alpha": 0.35} if k == 0 else {}
            best = read_config(folder)["best_epoch"]
            axes[0].plot(log["epoch"], log["loss"], label=folder.name, **style(k), **look)
            axes[1].plot(log["epoch"], log["valid_recall@20"], label=f"best epoch {best}",
                         marker="o", markevery=[log["epoch"].index(best)], **style(k), **look)
        axes[1].set(ylabel="Recall@20")
        title = ", ".join(dict.fromkeys(title_of(read_config(folder)) for folder in folders))
    for panel in axes:
        panel.legend(fontsize="small")
    return title


# ------------------------------------------------------------------------------------- sweeps

def mean(row, figure):
    """Mean, not a number where there is none, and deviation, 0 where there is one seed."""
    of = row["means"][figure]
    return float("nan") if of["mean"] is None else of["mean"], of["deviation"] or 0


def settings_of(row, columns):
    return [row["settings"].get(column) for column in columns]


def is_numeric(sweep, column):
    values = [row["settings"][column] for row in sweep["rows"] if column in row["settings"]]
    return all(isinstance(value, (int, float)) for value in values)


def draw_lines(sweep, figure, panel):
    """A line for each model over the only column; level for a model without it."""
    column = sweep["columns"][0]
    for k, model in enumerate(dict.fromkeys(row["model"] for row in sweep["rows"])):
        rows = [row for row in sweep["rows"] if row["model"] == model]
        points = sorted((row["settings"][column], *mean(row, figure))
                        for row in rows if column in row["settings"])
        if not points:
            panel.axhline(mean(rows[0], figure)[0], label=model, **style(k))
            continue
        x, y, spread = zip(*points)
        panel.plot(x, y, marker="o", markersize=4, label=model, **style(k))
        panel.fill_between(x, [a - b for a, b in zip(y, spread)],
                           [a + b for a, b in zip(y, spread)], color=COLOURS[k % 8], alpha=0.2)
        if figure in sweep["published"].get(model, {}):
            panel.axhline(sweep["published"][model][figure], color=COLOURS[k % 8], linestyle=":",
                          label=f"{model}, published")
        if min(x) > 0 and max(x) >= 100 * min(x):
            panel.set_xscale("log")
        else:
            panel.set_xticks(x)
    panel.set(xlabel=column, ylabel=f"test {FIGURES[figure]}")
    panel.legend(fontsize="small")


def draw_heat_map(sweep, figure, panel):
    """The first column downwards, the second to the right; a frame around the best."""
    down, right = sweep["columns"]
    rows = sweep["rows"]
    ys, xs = (sorted({row["settings"][column] for row in rows}) for column in (down, right))
    cells = [[float("nan")] * len(xs) for _ in ys]
    for row in rows:
        cells[ys.index(row["settings"][down])][xs.index(row["settings"][right])] = \
            mean(row, figure)[0]
    image = panel.imshow(cells, cmap="cividis", aspect="auto")
    middle = sum(image.get_clim()) / 2
    for row in rows:
        x, y = xs.index(row["settings"][right]), ys.index(row["settings"][down])
        panel.text(x, y, f"{cells[y][x]:.4f}", ha="center", va="center", fontsize="small",
                   color="white" if cells[y][x] < middle else "black")
        if row["best_by_validation"]:
            panel.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, linewidth=2.5,
                                          edgecolor="#D55E00", clip_on=False, zorder=3))
    panel.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    panel.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    panel.set(xlabel=right, ylabel=down, title=f"test {FIGURES[figure]}")


def draw_bars(sweep, figure, panel):
    """A bar for each row, the first on top, with each seed's figure and the published one."""
    several = len({row["model"] for row in sweep["rows"]}) > 1
    labels, published_label = [], "published"
    for k, row in enumerate(sweep["rows"]):
        words = [f"{column} {value:g}" if isinstance(value, float) else str(value)
                 for column, value in zip(sweep["columns"], settings_of(row, sweep["columns"]))
                 if value is not None]
        if several or not words:
            words.insert(0, row["model"])
        labels.append(", ".join(words) + (" *" if row["best_by_validation"] else ""))
        value, spread = mean(row, figure)
        panel.barh(k, value, color=COLOURS[5], edgecolor="black", linewidth=0.6)
        panel.errorbar(value, k, xerr=spread, color="black", capsize=3, linewidth=1)
        published = sweep["published"].get(row["model"], {}).get(figure)
        if published is not None:
            panel.plot(published, k, "D", color=COLOURS[1], markersize=5,
                       label=published_label)
            published_label = None  # once in the legend
    panel.set_yticks(range(len(labels)), labels)
    panel.invert_yaxis()
    panel.set(xlabel=f"test {FIGURES[figure]}")
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize="small")


def draw_sweep(sweep, axes):
    """The figure's title, after a panel for each of FIGURES is drawn."""
    columns, rows = sweep["columns"], sweep["rows"]
    models = {row["model"] for row in rows}
    numeric = all(is_numeric(sweep, column) for column in columns)
    if numeric and len(columns) == 1:
        draw, mark = draw_lines, ""
    elif numeric and len(columns) == 2 and len(models) == 1:
        draw, mark = draw_heat_map, "; framed: the best by validation"
    else:
        draw, mark = draw_bars, "; *: the best by validation"
    for figure, panel in zip(FIGURES, axes):
        draw(sweep, figure, panel)
    if draw is draw_bars:
        axes[1].set_yticklabels([])
    seeds = {len(row["runs"]) for row in rows}
    over = "one seed" if seeds == {1} else \
        f"mean ± standard deviation of {'/'.join(map(str, sorted(seeds)))} seeds"
    made_up = " (made up)" if sweep["data"]["synthetic"] else ""
    who = f"{models.pop()} on " if len(models) == 1 else ""
    return f"{who}{sweep['data']['name']}{made_up}: {over}{mark}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path,
                        help="a run's, several runs', or a sweep's")
    parser.add_argument("--out", type=Path, help="the picture [FOLDER.png, of the first]")
    args = parser.parse_args()
    summary = args.folders[0] / "summary.json"
    height = 3.2
    sweep = None
    if len(args.folders) == 1 and summary.exists():
        sweep = json.loads(summary.read_text(encoding="utf-8"))
        height = max(height, 1 + 0.28 * len(sweep["rows"])) if len(sweep["columns"]) != 2 else 3.2
    for folder in args.folders:
        if sweep is None and not (folder / "log.csv").exists():
            sys.exit(f"{folder} has neither log.csv nor summary.json: expected a run's folder, or "
                     "one finished sweep's")
    figure, axes = plt.subplots(1, 2, figsize=(8, height), layout="constrained")
    title = draw_runs(args.folders, axes) if sweep is None else draw_sweep(sweep, axes)
    figure.suptitle(title, fontsize="medium")
    out = args.out or Path(f"{args.folders[0].resolve()}.png")  # a run's folder takes no other file
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
