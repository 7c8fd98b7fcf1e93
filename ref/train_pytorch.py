"""Trains a model in plain PyTorch (plain/) on DATA/NAME/NAME.inter, without features, and prints
Recall and NDCG at the best validation epoch: what ./bm3 NAME does, from other code, but for
LATTICE's learning rate, which stays the same here.
"""
import argparse
from pathlib import Path

import numpy as np
import torch

from plain import MODELS, Batches, add_settings, settings_of

TOP_K = (10, 20)
BATCH, LEARNING_RATE, EPOCHS, PATIENCE = 2048, 1e-3, 1000, 20


def read_split(path):
    """Training, validation and test pairs of MMRec's .inter file, each [2, *], users first."""
    with open(path, encoding="utf-8") as file:
        columns = file.readline().split()
        table = np.loadtxt(file, delimiter="\t", ndmin=2)
    user, item, label = [torch.tensor(table[:, columns.index(name)]).long()
                         for name in ("userID", "itemID", "x_label")]
    return [torch.stack([user[label == part], item[label == part]]) for part in range(3)]


def metrics(lists, held_out, train, n_items):
    """{"R@10": ...}: means over the users with a held-out item who occur in training."""
    n_users, longest = lists.shape
    held = torch.bincount(held_out[0], minlength=n_users)
    counted = (held > 0) & (torch.bincount(train[0], minlength=n_users) > 0)
    hit = torch.isin(torch.arange(n_users)[:, None] * n_items + lists,
                     held_out[0] * n_items + held_out[1])[counted].double()
    held = held[counted]
    gain = 1 / torch.log2(torch.arange(longest).double() + 2)
    ideal = gain.cumsum(dim=0)
    out = {}
    for k in TOP_K:
        out[f"R@{k}"] = (hit[:, :k].sum(dim=1) / held).mean().item()
        dcg = (hit[:, :k] * gain[:k]).sum(dim=1)
        out[f"N@{k}"] = (dcg / ideal[held.clamp(max=k) - 1]).mean().item()
    return out


def train_epoch(model, optimizer, batches):
    """One pass over the pairs in a new order; the mean loss of its batches."""
    losses = []
    model.begin_epoch()
    pairs = batches.pairs
    for pick in torch.randperm(pairs.shape[1], device=pairs.device).split(BATCH):
        optimizer.zero_grad()
        loss = model.loss(*batches(pick))
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("name", help="of the data set")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds NAME/")
    parser.add_argument("--seed", type=int, default=999, help="of all that is drawn")
    parser.add_argument("--negatives", choices=["training", "all"], default="training",
                        help="the items that negatives are drawn from")
    add_settings(parser)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    settings = settings_of(parser, args)
    if args.model in ("mmgcn", "dualgnn"):
        parser.error(f"{args.model} needs features, which this script does not read")
    if args.negatives == "all" and not MODELS[args.model].needs_negatives:
        parser.error(f"{args.model} draws no negatives")
    torch.set_num_threads(1)  # the same sums on every machine
    torch.manual_seed(args.seed)

    train, valid, test = read_split(args.data / args.name / f"{args.name}.inter")
    n_users, n_items = (torch.cat([train, valid, test], dim=1).max(dim=1).values + 1).tolist()
    model = MODELS[args.model](n_users, n_items, train, settings).to(args.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    batches = Batches(model, everything=args.negatives == "all")
    best_epoch, best_valid, best_test = 0, {"R@20": -1.0}, {}
    for epoch in range(1, EPOCHS + 1):
        loss = train_epoch(model, optimizer, batches)
        lists = model.top_k(max(TOP_K))
        now = metrics(lists, valid, train, n_items)
        print(f"epoch {epoch}  loss {loss:.4f}  validation R@20 {now['R@20']:.4f}", flush=True)
        if now["R@20"] > best_valid["R@20"]:
            best_epoch, best_valid = epoch, now
            best_test = metrics(lists, test, train, n_items)
        elif epoch - best_epoch >= PATIENCE:
            break
    print(f"{args.model}, seed {args.seed}: best epoch {best_epoch}, test",
          ", ".join(f"{name} {best_test[name]:.4f}" for name in ("R@10", "R@20", "N@10", "N@20")))


if __name__ == "__main__":
    main()
