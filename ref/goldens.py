"""Writes goldens (format: README.md): the named ones of ref/goldens, or random ones.

    python3 ref/goldens.py --out DIR                                 the named ones
    python3 ref/goldens.py --out DIR --count N [--seed S] [--model M] N random ones
"""
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from reference import ALL, MODELS, metrics, top_k_lists

TOP_K = [5, 10, 20, 50]
MODALITIES = ["image", "text", "audio"]
ADAM = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


def draw_split(rng, n_users, n_items, n_isolated):
    """Distinct (user, item) pairs; n_isolated users and items occur in no training pair."""
    users = rng.permutation(n_users)[n_isolated:]
    items = rng.permutation(n_items)[n_isolated:]
    pairs = {"train": [], "valid": [], "test": []}
    for user in range(n_users):
        n_train = rng.integers(1, len(items) // 3 + 1) if user in users else 0
        train = rng.permutation(items)[:n_train]
        rest = rng.permutation(np.setdiff1d(np.arange(n_items), train))
        at_least = int(user == users[0])  # some user must count in the metrics
        n_valid, n_test = rng.integers(at_least, 4), rng.integers(at_least, 8)
        parts = {"train": train, "valid": rest[:n_valid], "test": rest[n_valid:][:n_test]}
        for name, part in parts.items():
            pairs[name] += [(user, item) for item in part]
    return {name: rng.permutation(np.array(part, dtype=np.int64)) for name, part in pairs.items()}


def draw_negatives(rng, model, users, items):
    """Items that the users do not have in training, every other one a positive of another row
    where there is such a one; the last repeats the first."""
    negatives = []
    for k, user in enumerate(users):
        seen = model.train[model.train[:, 0] == user, 1]
        free = np.setdiff1d(items if k % 2 else np.arange(model.n_items), seen)
        negatives.append(rng.choice(free if len(free) else
                                    np.setdiff1d(np.arange(model.n_items), seen)))
    return np.array([*negatives[:-1], negatives[0]])


def draw_step(rng, model, size):
    """A batch of training pairs that repeats users, items and (from size 2) a pair."""
    pick = rng.integers(len(model.train), size=size)
    pick[0] = pick[-1] = 0
    batch = {"users": model.train[pick, 0], "items": model.train[pick, 1]}
    if model.has_negatives:
        batch["negatives"] = draw_negatives(rng, model, **batch)
    batch.update({f"mask.{name}": (rng.random(shape) >= model["dropout"]).astype(np.uint8)
                  for name, shape in model.masks().items()})
    batch.update(model.draws(rng))
    return batch


def draw(name, rng, n_users, n_items, n_isolated, widths, batch_sizes, settings, scale=1.0):
    """The inputs (model, split, init, steps) of a golden of the model that `name` begins with.

    Items without training pairs share one embedding and so tie in every list. Without layers, the
    item of BM3's first training pair is so close to zero that its cosines are clamped.
    """
    kind = MODELS[name.split("_")[0]]
    split = draw_split(rng, n_users, n_items, n_isolated)
    model = kind({**settings, **{key: value for key, value in ADAM.items() if key not in settings}},
                 n_users, n_items, dict(zip(MODALITIES, widths)), split["train"])
    model.largest_batch = max(batch_sizes)
    init = {p: rng.normal(size=shape) / np.sqrt(shape[-1]) * scale
            for p, shape in model.shapes().items()}
    isolated = np.setdiff1d(np.arange(n_items), split["train"][:, 1])
    if "item_embedding" in init:
        init["item_embedding"][isolated] = init["item_embedding"][isolated[:1]]
    if not model.has_negatives and model["layers"] == 0:
        init["item_embedding"][split["train"][0, 1]] *= 1e-9
    return model, split, init, [draw_step(rng, model, size) for size in batch_sizes]


def tiny(kind, settings, widths, init, steps):
    """Inputs whose numbers a person can follow; README.md works the first ones out."""
    split = {"train": [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)], "valid": [(1, 2), (2, 0)],
             "test": [(0, 2), (2, 1)]}
    split = {name: np.array(pairs) for name, pairs in split.items()}
    model = kind({**ADAM, "lr": 0.1, "dim": 2, "reg": 0.1, "reg-form": "norm", **settings}, 3, 3,
                 widths, split["train"])
    return (model, split, {p: np.array(rows, dtype=np.float64) for p, rows in init.items()},
            [{name: np.array(rows, dtype=np.uint8 if "mask" in name else np.int64)
              for name, rows in step.items()} for step in steps])


def bm3_tiny():
    return tiny(
        MODELS["bm3"], {"layers": 1, "dropout": 0.5, "mm-weight": 2.0, "losses": ALL,
                        "features": "frozen", "degree_epsilon": 0.0}, {"image": 2},
        {"user_embedding": [[1, 0], [0, 1], [1, 2]], "item_embedding": [[2, 0], [0, 2], [1, 0]],
         "predictor.weight": [[1, 1], [0, 1]], "predictor.bias": [0, 1],
         "feature.image": [[1, 0], [0, 1], [1, 1]], "image.weight": [[1, 2], [0, 1]],
         "image.bias": [1, 0]},
        [{"users": [0, 2], "items": [1, 2], "mask.user": [[1, 1], [1, 0], [0, 1]],
          "mask.item": [[1, 0], [1, 1], [1, 0]], "mask.image": [[1, 1], [1, 1], [1, 0]]}])


def bpr_tiny():
    return tiny(
        MODELS["bpr"], {"pair-form": "epsilon"}, {},
        {"user_embedding": [[1, 0], [0, 1], [2, 1]], "item_embedding": [[2, 0], [0, 2], [1, 0]]},
        [{"users": [0, 2], "items": [1, 2], "negatives": [2, 1]},
         {"users": [0, 0], "items": [0, 1], "negatives": [2, 2]}])


def with_difference(x, model, split, init, steps):
    """The same, with BPR's score difference `x` in the first triple: its negative item moves."""
    user, item, negative = [steps[0][name][0] for name in ("users", "items", "negatives")]
    p, q = init["user_embedding"][user], init["item_embedding"]
    q[negative] = q[item] - x * p / (p @ p)
    return model, split, init, steps


def named():
    """{name: inputs} of the committed goldens, which together cover what the models can do."""
    bm3 = {"dropout": 0.5, "reg": 0.1, "reg-form": "norm", "mm-weight": 2.0, "losses": ALL,
           "features": "frozen", "degree_epsilon": 0.0}
    freedom = {"item-layers": 1, "neighbours": 3, "rho": 0.5, "image-weight": 0.1,
               "mm-weight": 0.5, "features": "frozen", "degree_epsilon": 0.0}
    lattice = {"layers": 2, "neighbours": 4, "raw-weight": 0.9, "build": "epoch", "reg": 0.1,
               "features": "frozen", "epoch_steps": 2}
    bpr = {"reg": 0.1, "reg-form": "norm", "pair-form": "epsilon"}
    squared_plain = {"reg": 0.01, "reg-form": "squared", "pair-form": "plain"}
    out = {"bm3_tiny": bm3_tiny(), "bpr_tiny": bpr_tiny()}
    for name, seed, sizes, widths, batch_sizes, settings in [
            ("bm3_two_modalities", 1, (7, 57, 2), [7, 4], [9, 4],
             {**bm3, "dim": 3, "layers": 2, "dropout": 0.3}),
            ("bm3_tuned", 2, (6, 18, 2), [3, 7, 1], [9, 1, 7],
             {**bm3, "dim": 5, "layers": 3, "reg": 0.01, "reg-form": "squared",
              "features": "tuned"}),
            ("bm3_no_modalities", 3, (10, 17, 3), [], [19, 6, 11], {**bm3, "dim": 8, "layers": 1}),
            ("bm3_rec_only", 4, (6, 16, 1), [5], [6, 10],
             {**bm3, "dim": 7, "layers": 0, "dropout": 0.0, "reg-form": "squared", "losses": "rec",
              "lr": 0.01}),
            ("bm3_align_only", 5, (7, 17, 2), [2, 9], [5, 8],
             {**bm3, "dim": 4, "layers": 1, "dropout": 0.3, "reg": 0.01, "losses": "align",
              "features": "tuned", "mm-weight": 0.7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6}),
            ("bm3_mask_only", 6, (6, 17, 2), [4], [14, 3],
             {**bm3, "dim": 9, "layers": 2, "reg-form": "squared", "losses": "mask",
              "mm-weight": 1.5}),
            ("bm3_degree_epsilon", 7, (7, 16, 0), [7, 3], [8, 13],
             {**bm3, "dim": 6, "layers": 2, "features": "tuned", "degree_epsilon": 1e-7}),
            # One dimension: each cosine is 1 or -1, and the gradients' sums are rounding alone.
            ("bm3_one_dimension", 8, (8, 17, 1), [3, 2], [9, 6],
             {**bm3, "dim": 1, "layers": 2, "dropout": 0.0, "features": "tuned"}),
            ("bpr", 9, (8, 17, 3), [], [9, 1, 12], {**bpr, "dim": 5}),
            ("bpr_plain_squared", 10, (9, 19, 2), [], [11, 7, 5], {**squared_plain, "dim": 7}),
            ("lightgcn", 11, (8, 18, 3), [], [10, 1, 13],
             {**bpr, "dim": 6, "layers": 2, "degree_epsilon": 0.0}),
            ("lightgcn_squared_plain", 12, (9, 17, 2), [], [7, 12, 5],
             {**squared_plain, "dim": 3, "layers": 3, "degree_epsilon": 0.0}),
            ("lightgcn_repeats", 13, (5, 9, 2), [], [24, 24, 24],
             {**bpr, "dim": 4, "layers": 4, "degree_epsilon": 1e-7, "lr": 0.01}),
            ("vbpr", 14, (8, 17, 2), [7, 4], [9, 1, 12], {**bpr, "dim": 4}),
            ("vbpr_plain_squared", 15, (7, 18, 2), [6], [11, 7, 5], {**squared_plain, "dim": 5}),
            ("vbpr_three_modalities", 16, (9, 16, 1), [3, 8, 1], [7, 13],
             {**bpr, "dim": 3, "lr": 0.01}),
            ("buir", 17, (7, 17, 2), [], [9, 1, 12],
             {"dim": 5, "layers": 3, "dropout": 0.0, "momentum": 0.995, "degree_epsilon": 0.0}),
            ("buir_dropout", 18, (8, 16, 2), [], [11, 7, 5],
             {"dim": 4, "layers": 2, "dropout": 1.0, "momentum": 0.9, "degree_epsilon": 1e-7}),
            ("buir_id", 19, (6, 18, 1), [], [7, 13],
             {"dim": 3, "layers": 0, "dropout": 0.2, "momentum": 0.5, "lr": 0.01,
              "degree_epsilon": 0.0}),
            ("mmgcn", 14, (7, 16, 2), [6, 3], [8, 1, 9],
             {"dim": 4, "latent": 3, "tables": "frozen", "reg": 0.01}),
            ("mmgcn_trained", 15, (6, 17, 2), [3, 5, 2], [9, 6],
             {"dim": 3, "latent": 5, "tables": "trained", "reg": 0.1}),
            ("mmgcn_image", 16, (8, 16, 1), [7], [5, 12],
             {"dim": 5, "latent": 4, "tables": "trained", "reg": 1.0, "lr": 0.01}),
            ("dualgnn", 17, (8, 16, 2), [6, 3], [9, 1, 7],
             {"dim": 4, "hidden": 5, "neighbours": 4, "fusion": "aliased", "reg": 0.1,
              "degree_epsilon": 0.0}),
            ("dualgnn_separate", 18, (9, 17, 1), [2, 5, 3], [8, 6],
             {"dim": 3, "hidden": 4, "neighbours": 3, "fusion": "separate", "reg": 1.0,
              "degree_epsilon": 1e-7}),
            ("dualgnn_image", 19, (6, 16, 2), [7], [5, 11],
             {"dim": 5, "hidden": 3, "neighbours": 9, "fusion": "aliased", "reg": 1e-3,
              "degree_epsilon": 0.0, "lr": 0.01}),
            ("grcn_two_modalities", 14, (8, 17, 2), [7, 4], [11, 5],
             {"dim": 5, "routing": 0, "reg": 0.1, "reg-users": "all"}),
            ("grcn_routed", 15, (7, 16, 1), [3, 6, 2], [9, 12],
             {"dim": 4, "routing": 3, "reg": 0.1, "reg-users": "batch", "lr": 0.01}),
            ("grcn_one_modality", 16, (6, 18, 2), [5], [8, 1, 13],
             {"dim": 7, "routing": 1, "reg": 1.0, "reg-users": "all"}),
            ("freedom", 14, (8, 18, 3), [6, 4], [10, 1, 13], {**freedom, "dim": 6, "layers": 2}),
            ("freedom_tuned", 15, (9, 17, 2), [3, 5, 2], [7, 12, 5],
             {**freedom, "dim": 5, "layers": 3, "item-layers": 2, "neighbours": 4, "rho": 0.3,
              "features": "tuned", "degree_epsilon": 1e-7}),
            ("freedom_one_modality", 16, (7, 16, 1), [1], [9, 4, 11],
             {**freedom, "dim": 4, "layers": 1, "rho": 0.8, "mm-weight": 1e-3, "lr": 0.01}),
            ("lattice", 17, (8, 17, 2), [6, 4], [10, 7, 13], {**lattice, "dim": 5}),
            ("lattice_tuned", 18, (7, 16, 1), [3, 5, 4], [5, 12, 9, 1],
             {**lattice, "dim": 4, "layers": 1, "raw-weight": 0.3, "features": "tuned"}),
            ("lattice_each_batch", 19, (7, 17, 2), [5], [9, 4, 11],
             {**lattice, "dim": 6, "layers": 3, "raw-weight": 0.5, "build": "batch",
              "features": "tuned", "lr": 0.01})]:
        out[name] = draw(name, np.random.default_rng(seed), *sizes, widths, batch_sizes, settings)
    out["bpr"] = with_difference(-24.0, *out["bpr"])  # sigma(x) is less than the epsilon
    out["bpr_plain_squared"] = with_difference(-100.0, *out["bpr_plain_squared"])  # exp(-x) is inf
    return out


def random_case(name, seed, index):
    """Number `index` of a model and seed; 16 in a row have every pair of layers and modalities."""
    kind = MODELS[name.split("_")[0]]
    rng = np.random.default_rng([seed, index, *kind.__name__.encode()])
    settings = {key: values[rng.integers(len(values))] for key, values in kind.choices.items()}
    if "layers" in settings:
        settings["layers"] = kind.choices["layers"][index % len(kind.choices["layers"])]
    n_modalities = (index + index // 4) % 4 if kind.has_features else 0
    if kind.needs_features:
        n_modalities = max(n_modalities, 1)
    if "losses" in settings and n_modalities == 0:
        settings["losses"] = ALL  # align and mask alone would have nothing to add up
    return draw(
        name, rng, n_users=int(rng.integers(4, 31)), n_items=int(rng.integers(16, 71)),
        n_isolated=int(rng.integers(0, 3)),
        widths=[int(width) for width in rng.choice([1, 2, 3, 6, 11, 20, 37], size=n_modalities)],
        batch_sizes=rng.permutation(np.arange(1, 20))[:rng.integers(1, 5)],
        settings={**settings, "lr": float(rng.choice([1e-3, 1e-2]))},
        scale=float(rng.choice([1.0, 4.0])) if kind.has_negatives else 1.0)


def complete(model, split, init, steps, brief):
    """All arrays of the golden, and the metrics of both held-out parts. When `brief`, steps after
    the first lack what lies between parameters and losses."""
    arrays = {**split, **{f"init/{name}": array for name, array in init.items()}}
    params = {name: torch.tensor(array) for name, array in init.items()}
    optimizer = model.make_optimizer(params)
    for s, step in enumerate(steps):
        batch = {name: torch.as_tensor(array) for name, array in step.items()}
        between, result = model.train_step(params, optimizer, batch)
        values = {**batch, **(between if s == 0 or not brief else {}), **result}
        arrays.update({f"step_{s}/{name}": value.detach().numpy()
                       for name, value in values.items()})
    with torch.no_grad():
        user, item = [rows.numpy() for rows in model.embeddings(params, model.encode(params))]
    scores = user @ item.T
    lists = top_k_lists(scores, split["train"], max(TOP_K))
    arrays.update({"final/user": user, "final/item": item, "final/scores": scores,
                   "final/top_k": lists})
    return arrays, {part: metrics(lists, split["train"], split[part], TOP_K)
                    for part in ("valid", "test")}


def metadata(name, model, n_steps, figures):
    """The golden's settings, all of them strings."""
    settings = {"n_users": model.n_users, "n_items": model.n_items, "n_steps": n_steps,
                **model.settings}
    return {"format": "bm3-golden-2", "model": name.split("_")[0],
            "modalities": ",".join(model.widths), **{key: value if isinstance(value, str)
                                                     else repr(value)
                                                     for key, value in settings.items()},
            "metrics": json.dumps(figures, allow_nan=False)}


def write(path, settings, arrays):
    """Writes `path`, whole or not at all."""
    data = safetensors.numpy.save({name: np.ascontiguousarray(array)
                                   for name, array in arrays.items()})
    size = 8 + int.from_bytes(data[:8], "little")
    # By hand, since the package writes the metadata in a new order each time.
    header = json.dumps({"__metadata__": settings, **json.loads(data[8:size])}).encode()
    header += b" " * (-len(header) % 8)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
        part = Path(scratch) / path.name
        part.write_bytes(len(header).to_bytes(8, "little") + header + data[size:])
        os.rename(part, path)


def main():
    parser = argparse.ArgumentParser(description="Goldens of the PyTorch reference.")
    parser.add_argument("--out", required=True, type=Path, help="folder that gets the files")
    parser.add_argument("--count", type=int, help="this many random ones instead of the named ones")
    parser.add_argument("--seed", type=int, default=1, help="of the random ones (default 1)")
    parser.add_argument("--model", choices=list(MODELS), help="of the random ones (default: all)")
    args = parser.parse_args()
    if args.count is None:
        cases = named().items()
    else:
        models = [args.model] if args.model else list(MODELS)
        names = [(f"{models[k % len(models)]}_{args.seed}_{k // len(models)}", k // len(models))
                 for k in range(args.count)]
        cases = ((name, random_case(name, args.seed, index)) for name, index in names)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, inputs in cases:
        path = args.out / f"{name}.safetensors"
        if path.exists():
            sys.exit(f"{path} exists: remove it or choose another --out")
        arrays, figures = complete(*inputs, brief=args.count is None)
        write(path, metadata(name, inputs[0], len(inputs[3]), figures), arrays)
        print(path)


if __name__ == "__main__":
    main()
