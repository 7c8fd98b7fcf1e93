"""BM3 (Zhou et al., WWW 2023) in PyTorch float64: plain, whole-catalogue, gradients by autograd.

Row vectors; H stacks users above items; `params` maps the array names of a golden directory's
init/ folder to tensors; weights are [in, out].
"""
from dataclasses import dataclass

import numpy as np
import torch

COSINE_FLOOR = 1e-8


@dataclass
class Config:
    """The settings of golden.json, under the same names."""
    n_users: int
    n_items: int
    dim: int
    n_layers: int
    dropout: float
    reg_weight: float
    reg_form: str  # "norm" or "squared"
    mm_weight: float
    losses: list  # of "rec", "align", "mask"
    features: str  # "frozen" or "tuned"
    modalities: list
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    degree_epsilon: float = 0.0


def normalized_adjacency(config, train):
    """D^-1/2 A D^-1/2 [n_users + n_items, same], dense; isolated nodes have zero rows.  [Eq. 3]"""
    n = config.n_users + config.n_items
    a = torch.zeros(n, n, dtype=torch.float64)
    users, items = torch.as_tensor(train[:, 0]), torch.as_tensor(train[:, 1]) + config.n_users
    a[users, items] = 1.0
    a[items, users] = 1.0
    neighbours = a.sum(dim=1)
    degree = torch.where(neighbours > 0, neighbours + config.degree_epsilon, 1.0)
    return a / torch.sqrt(degree[:, None] * degree[None, :])


def forward(config, params, adjacency):
    """Every quantity before the views and the losses, by its name in a golden directory."""
    out = {}
    layers = [torch.cat([params["user_embedding"], params["item_embedding"]])]
    for l in range(1, config.n_layers + 1):
        layers.append(adjacency @ layers[-1])  # [Eq. 3]
        out[f"layer_{l}"] = layers[-1]
    mean = sum(layers) / len(layers)
    h_user = mean[:config.n_users]
    h_item = mean[config.n_users:] + params["item_embedding"]
    out["H"] = torch.cat([h_user, h_item])  # [Eq. 4]
    h = {"user": h_user, "item": h_item}
    for m in config.modalities:
        h[m] = params[f"feature.{m}"] @ params[f"{m}.weight"] + params[f"{m}.bias"]  # [Eq. 1]
        out[f"projection.{m}"] = h[m]
    for name, rows in h.items():
        predicted = rows @ params["predictor.weight"] + params["predictor.bias"]  # [Eq. 6]
        out[f"predicted.{name}"] = predicted
    return out


def views(config, out, masks):
    """The targets: kept entries divided by 1 - p, without gradient; masks are 0/1.  [Eq. 5]"""
    with torch.no_grad():
        h = {"user": out["H"][:config.n_users], "item": out["H"][config.n_users:]}
        h.update({m: out[f"projection.{m}"] for m in config.modalities})
        return {f"view.{name}": rows * masks[name] / (1.0 - config.dropout)
                for name, rows in h.items()}


def cosine_loss(a, b):
    """Mean over rows of 1 + C(a, b); the denominator is a constant where clamped.  [Eq. 8]"""
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (1.0 - (a * b).sum(dim=1) / torch.clamp(norms, min=COSINE_FLOOR)).mean()


def losses(config, out, target, users, items):
    """[5]: rec, align, mask, reg (unweighted; 0 where switched off) and the weighted total."""
    zero = torch.zeros((), dtype=torch.float64)
    rec, align, mask = zero, zero, zero
    if "rec" in config.losses:  # [Eq. 9]
        rec = (cosine_loss(out["predicted.user"][users], target["view.item"][items])
               + cosine_loss(out["predicted.item"][items], target["view.user"][users]))
    for m in config.modalities:
        predicted = out[f"predicted.{m}"][items]
        if "align" in config.losses:  # [Eq. 10]
            align = align + cosine_loss(predicted, target["view.item"][items])
        if "mask" in config.losses:  # [Eq. 11]
            mask = mask + cosine_loss(predicted, target[f"view.{m}"][items])
    h_user, h_item = out["H"][:config.n_users], out["H"][config.n_users:]
    if config.reg_form == "norm":
        reg = (torch.linalg.vector_norm(h_user) + torch.linalg.vector_norm(h_item)) / config.n_items
    else:
        reg = (h_user[users].square().sum(dim=1) + h_item[items].square().sum(dim=1)).mean()
    total = rec + config.mm_weight * (align + mask) + config.reg_weight * reg  # [Eq. 12]
    return torch.stack([rec, align, mask, reg, total])


def trainable(config, params):
    """Names of the parameters that have a gradient and are updated: features only when tuned."""
    return [name for name in params
            if config.features == "tuned" or not name.startswith("feature.")]


def make_optimizer(config, params):
    """Adam, dense over all trainable parameters."""
    for name in trainable(config, params):
        params[name].requires_grad_(True)
    return torch.optim.Adam([params[name] for name in trainable(config, params)], lr=config.lr,
                            betas=(config.beta1, config.beta2), eps=config.eps)


def train_step(config, params, optimizer, adjacency, users, items, masks):
    """Updates params in place; returns every output of a golden step folder but after/."""
    out = forward(config, params, adjacency)
    target = views(config, out, masks)
    loss = losses(config, out, target, users, items)
    for name in trainable(config, params):
        params[name].grad = torch.zeros_like(params[name])
    loss[4].backward()
    result = {**out, **target, "loss": loss}
    result.update({f"grad/{name}": params[name].grad.clone() for name in trainable(config, params)})
    optimizer.step()
    return result


def top_k_lists(scores, train, k):
    """[n_users, min(k, n_items)] item numbers, best first, the lower number first among equals;
    training items are left out and the end is padded with -1."""
    lists = np.full((scores.shape[0], min(k, scores.shape[1])), -1, dtype=np.int64)
    for user in range(scores.shape[0]):
        seen = train[train[:, 0] == user, 1]
        order = np.argsort(-scores[user], kind="stable")
        order = order[~np.isin(order, seen)][:lists.shape[1]]
        lists[user, :len(order)] = order
    return lists


def metrics(lists, train, held_out, cutoffs):
    """{"recall@5": ...}: means over the users of held_out [n, 2] who occur in training."""
    users = np.intersect1d(held_out[:, 0], train[:, 0])
    sums = {f"{name}@{k}": 0.0 for name in ("recall", "ndcg", "precision", "map") for k in cutoffs}
    for user in users:
        wanted = held_out[held_out[:, 0] == user, 1]
        for k in cutoffs:
            hit = np.isin(lists[user, :k], wanted).astype(np.float64)
            rank = np.arange(1, len(hit) + 1)
            ideal = np.arange(1, min(len(wanted), k) + 1)
            sums[f"recall@{k}"] += hit.sum() / len(wanted)
            sums[f"ndcg@{k}"] += (hit / np.log2(rank + 1)).sum() / (1.0 / np.log2(ideal + 1)).sum()
            sums[f"precision@{k}"] += hit.sum() / k
            sums[f"map@{k}"] += (np.cumsum(hit) / rank * hit).sum() / len(ideal)
    return {name: float(value / len(users)) for name, value in sums.items()}
