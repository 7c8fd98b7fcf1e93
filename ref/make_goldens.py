"""Writes golden directories (format: README.md): the named ones of ref/goldens, or random ones.

    python3 ref/make_goldens.py --out DIR                      the named ones
    python3 ref/make_goldens.py --out DIR --count N [--seed S] N random ones
"""
import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import bm3_reference as bm3

TOP_K = [5, 10, 20, 50]
ALL = ["rec", "align", "mask"]
NAMES = ["image", "text", "audio"]
BETWEEN = ("layer_", "H", "projection.", "predicted.", "view.")


def draw_split(rng, config, n_isolated):
    """Distinct (user, item) pairs; n_isolated users and items occur in no training pair."""
    users = rng.permutation(config.n_users)[n_isolated:]
    items = rng.permutation(config.n_items)[n_isolated:]
    pairs = {"train": [], "valid": [], "test": []}
    for user in range(config.n_users):
        n_train = rng.integers(1, len(items) // 3 + 1) if user in users else 0
        train = rng.permutation(items)[:n_train]
        rest = rng.permutation(np.setdiff1d(np.arange(config.n_items), train))
        at_least = int(user == users[0])  # some user must count in the metrics
        n_valid, n_test = rng.integers(at_least, 4), rng.integers(at_least, 8)
        parts = {"train": train, "valid": rest[:n_valid], "test": rest[n_valid:][:n_test]}
        for name, part in parts.items():
            pairs[name] += [(user, item) for item in part]
    return {name: rng.permutation(np.array(part, dtype=np.int64)) for name, part in pairs.items()}


def draw_init(rng, config, feature_dims):
    """Random features and parameters, by their file names."""
    d = config.dim
    shapes = {"user_embedding": (config.n_users, d), "item_embedding": (config.n_items, d),
              "predictor.weight": (d, d), "predictor.bias": (d,)}
    for name, d_m in zip(config.modalities, feature_dims):
        shapes.update({f"feature.{name}": (config.n_items, d_m), f"{name}.weight": (d_m, d),
                       f"{name}.bias": (d,)})
    return {name: rng.normal(size=shape) / np.sqrt(shape[-1]) for name, shape in shapes.items()}


def draw_steps(rng, config, train, batch_sizes):
    """Batches of training pairs that repeat users, items and (from size 2) a pair; and masks."""
    steps = []
    for size in batch_sizes:
        pick = rng.integers(len(train), size=size)
        pick[0] = pick[-1] = 0
        masks = {name: rng.random((config.n_users if name == "user" else config.n_items,
                                   config.dim)) >= config.dropout
                 for name in ["user", "item", *config.modalities]}
        steps.append((train[pick, 0], train[pick, 1], masks))
    return steps


def draw(rng, config, feature_dims, batch_sizes, n_isolated):
    """The inputs of a golden directory. Items without training pairs share one embedding and so
    tie in every list; without layers, the item of the first training pair is so close to zero
    that its cosines are clamped in the first step."""
    split = draw_split(rng, config, n_isolated)
    init = draw_init(rng, config, feature_dims)
    isolated = np.setdiff1d(np.arange(config.n_items), split["train"][:, 1])
    init["item_embedding"][isolated] = init["item_embedding"][isolated[:1]]
    if config.n_layers == 0:
        init["item_embedding"][split["train"][0, 1]] *= 1e-9
    return config, split, init, draw_steps(rng, config, split["train"], batch_sizes)


def tiny():
    """Inputs whose numbers a person can follow; README.md works the first ones out."""
    config = bm3.Config(n_users=3, n_items=3, dim=2, n_layers=1, dropout=0.5, reg_weight=0.1,
                        reg_form="norm", mm_weight=2.0, losses=ALL, features="frozen",
                        modalities=["image"], lr=0.1)
    split = {"train": [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)], "valid": [(1, 2), (2, 0)],
             "test": [(0, 2), (2, 1)]}
    init = {"user_embedding": [[1, 0], [0, 1], [1, 2]], "item_embedding": [[2, 0], [0, 2], [1, 0]],
            "predictor.weight": [[1, 1], [0, 1]], "predictor.bias": [0, 1],
            "feature.image": [[1, 0], [0, 1], [1, 1]], "image.weight": [[1, 2], [0, 1]],
            "image.bias": [1, 0]}
    masks = {"user": [[1, 1], [1, 0], [0, 1]], "item": [[1, 0], [1, 1], [1, 0]],
             "image": [[1, 1], [1, 1], [1, 0]]}
    return (config, {name: np.array(pairs) for name, pairs in split.items()},
            {name: np.array(rows, dtype=np.float64) for name, rows in init.items()},
            [(np.array([0, 2]), np.array([1, 2]), {n: np.array(m) for n, m in masks.items()})])


def named():
    """(name, inputs) of the committed directories, which together cover what the model can do."""
    def case(seed, name, n_users, n_items, dim, n_layers, dropout, reg_weight, reg_form, losses,
             features, feature_dims, batch_sizes, n_isolated, **more):
        config = bm3.Config(n_users, n_items, dim, n_layers, dropout, reg_weight, reg_form,
                            more.pop("mm_weight", 2.0), losses, features,
                            NAMES[:len(feature_dims)], **more)
        rng = np.random.default_rng(seed)
        return name, draw(rng, config, feature_dims, batch_sizes, n_isolated)
    return [
        ("tiny", tiny()),
        case(1, "two_modalities", 7, 57, 3, 2, 0.3, 0.1, "norm", ALL, "frozen", [7, 4], [9, 4], 2),
        case(2, "tuned", 6, 18, 5, 3, 0.5, 0.01, "squared", ALL, "tuned", [3, 7, 1], [9, 1, 7], 2),
        case(3, "no_modalities", 10, 17, 8, 1, 0.5, 0.1, "norm", ALL, "frozen", [], [19, 6, 11], 3),
        case(4, "rec_only", 6, 16, 7, 0, 0.0, 0.1, "squared", ["rec"], "frozen", [5], [6, 10], 1,
             lr=0.01),
        case(5, "align_only", 7, 17, 4, 1, 0.3, 0.01, "norm", ["align"], "tuned", [2, 9], [5, 8],
             2, mm_weight=0.7, beta1=0.8, beta2=0.99, eps=1e-6),
        case(6, "mask_only", 6, 17, 9, 2, 0.5, 0.1, "squared", ["mask"], "frozen", [4], [14, 3], 2,
             mm_weight=1.5),
        case(7, "degree_epsilon", 7, 16, 6, 2, 0.5, 0.1, "norm", ALL, "tuned", [7, 3], [8, 13], 0,
             degree_epsilon=1e-7),
        # One dimension: each cosine is 1 or -1, and what the gradients add up is rounding alone.
        case(8, "one_dimension", 8, 17, 1, 2, 0.0, 0.1, "norm", ALL, "tuned", [3, 2], [9, 6], 1),
    ]


def random_inputs(seed, index):
    """Inputs number `index` of a seed; 16 in a row have every pair of layers and modalities."""
    rng = np.random.default_rng([seed, index])
    n_layers, n_modalities = index % 4, (index + index // 4) % 4
    config = bm3.Config(
        n_users=int(rng.integers(4, 31)), n_items=int(rng.integers(16, 71)),
        dim=int(rng.choice([1, 2, 3, 5, 7, 8, 13, 17, 33])), n_layers=n_layers,
        dropout=float(rng.choice([0.0, 0.3, 0.5])), reg_weight=float(rng.choice([0.01, 0.1, 1.0])),
        reg_form=str(rng.choice(["norm", "squared"])), mm_weight=float(rng.choice([0.5, 1.0, 2.0])),
        losses=[ALL, ALL, ALL, *([name] for name in ALL)][rng.integers(6)],
        features=str(rng.choice(["frozen", "tuned"])), modalities=NAMES[:n_modalities],
        lr=float(rng.choice([1e-3, 1e-2])), degree_epsilon=float(rng.choice([0.0, 1e-7])))
    feature_dims = rng.choice([1, 2, 3, 6, 11, 20, 37], size=n_modalities)
    batch_sizes = rng.permutation(np.arange(1, 20))[:rng.integers(1, 5)]
    return draw(rng, config, feature_dims, batch_sizes, n_isolated=int(rng.integers(0, 3)))


def complete(config, split, init, steps, brief):
    """All arrays of the directory by path without ".npy", and the metrics of both splits. When
    `brief`, steps after the first lack what lies between parameters and losses."""
    arrays = {**split, **{f"init/{name}": array for name, array in init.items()}}
    params = {name: torch.tensor(array) for name, array in init.items()}
    adjacency = bm3.normalized_adjacency(config, split["train"])
    optimizer = bm3.make_optimizer(config, params)
    for s, (users, items, masks) in enumerate(steps):
        step = {"users": users, "items": items}
        step.update({f"mask.{name}": mask.astype(np.uint8) for name, mask in masks.items()})
        step.update(bm3.train_step(config, params, optimizer, adjacency, torch.as_tensor(users),
                                   torch.as_tensor(items), {n: torch.as_tensor(m)
                                                            for n, m in masks.items()}))
        step.update({f"after/{name}": params[name].detach().clone()
                     for name in bm3.trainable(config, params)})
        arrays.update({f"step_{s}/{name}": value.detach().numpy() if torch.is_tensor(value)
                       else value for name, value in step.items()
                       if s == 0 or not brief or not name.startswith(BETWEEN)})
    with torch.no_grad():
        final = bm3.forward(config, params, adjacency)
    user, item = final["predicted.user"].numpy(), final["predicted.item"].numpy()
    scores = user @ item.T  # [Eq. 13]
    lists = bm3.top_k_lists(scores, split["train"], max(TOP_K))
    arrays.update({"final/predicted.user": user, "final/predicted.item": item,
                   "final/scores": scores, "final/top_k": lists})
    return arrays, {part: bm3.metrics(lists, split["train"], split[part], TOP_K)
                    for part in ("valid", "test")}


def write(folder, config, arrays, metrics, n_steps):
    """Writes the golden directory `folder`, whole or not at all."""
    settings = {"format": "bm3-golden-1", **dataclasses.asdict(config), "n_steps": n_steps,
                "metrics": metrics}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        part = Path(scratch) / "golden"
        for name, array in arrays.items():
            path = part / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.ascontiguousarray(array))
        with open(part / "golden.json", "w", encoding="ascii") as file:
            json.dump(settings, file, indent=1, allow_nan=False)
            file.write("\n")
        os.rename(part, folder)


def main():
    parser = argparse.ArgumentParser(description="Golden directories of BM3's PyTorch reference.")
    parser.add_argument("--out", required=True, type=Path, help="folder that gets the directories")
    parser.add_argument("--count", type=int, help="this many random ones instead of the named ones")
    parser.add_argument("--seed", type=int, default=1, help="of the random ones (default 1)")
    args = parser.parse_args()
    cases = named() if args.count is None else (
        (f"random_{args.seed}_{k}", random_inputs(args.seed, k)) for k in range(args.count))
    for name, inputs in cases:
        folder = args.out / name
        if folder.exists():
            sys.exit(f"{folder} exists: remove it or choose another --out")
        write(folder, inputs[0], *complete(*inputs, brief=args.count is None),
              n_steps=len(inputs[3]))
        print(folder)


if __name__ == "__main__":
    main()
