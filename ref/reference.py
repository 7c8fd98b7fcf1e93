"""The models in PyTorch float64, from their papers' equations: whole catalogue, dense adjacency,
gradients by autograd.

A model is a class of MODELS: its settings, the shapes of its parameters, its forward pass, its
losses and the vectors that rank. Rows are vectors, weights are [in, out], nodes are the users and
then the items. `p` maps parameters' names to tensors; `batch` maps users, items, negatives and
mask.* to tensors; `out` collects intermediates under their names in a golden (README.md).
"""
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

COSINE_FLOOR = 1e-8
SIGMOID_EPSILON = 1e-10
ALL = "rec,align,mask"
DIMS = [1, 2, 3, 5, 7, 8, 13, 17, 33]


class Model:
    """What the models share. `choices` maps each setting to the values that random goldens take.

    A model adds encode(p), which returns `out`; losses(p, out, batch), which returns each named
    loss without its weight and may add to `out`; total(loss), their weighted sum; and
    embeddings(p, out), the users' and the items' vectors, whose inner products rank.
    """
    has_negatives = True  # a batch has negative items
    has_features = False  # items have features e_m [n_items, widths[m]] of each modality m

    def __init__(self, settings, n_users, n_items, widths, train):
        self.settings, self.n_users, self.n_items = settings, n_users, n_items
        self.widths, self.train = widths, train

    def __getitem__(self, setting):
        return self.settings[setting]

    def shapes(self):
        """{parameter: shape}, features included."""
        return {"user_embedding": (self.n_users, self["dim"]),
                "item_embedding": (self.n_items, self["dim"])}

    def masks(self):
        """{mask: shape} of the masks that a step draws; an entry is 0 with probability dropout."""
        return {}

    def trains(self, parameter):
        """Whether Adam updates it."""
        return not parameter.startswith("feature.") or self["features"] == "tuned"

    @cached_property
    def adjacency(self):
        """D^-1/2 A D^-1/2 [N, N]; a node without interactions has a zero row."""
        a = torch.zeros(self.n_users + self.n_items, self.n_users + self.n_items,
                        dtype=torch.float64)
        users = torch.as_tensor(self.train[:, 0])
        items = torch.as_tensor(self.train[:, 1]) + self.n_users
        a[users, items] = 1.0
        a[items, users] = 1.0
        neighbours = a.sum(dim=1)
        degree = torch.where(neighbours > 0, neighbours + self["degree_epsilon"], 1.0)
        return a / torch.sqrt(degree[:, None] * degree[None, :])

    def propagate(self, p, out):
        """The mean [N, d] of the layers 0 ... L; puts the layers 1 ... L into `out`."""
        layers = [torch.cat([p["user_embedding"], p["item_embedding"]])]
        for l in range(1, self["layers"] + 1):
            layers.append(self.adjacency @ layers[-1])
            out[f"layer_{l}"] = layers[-1]
        return sum(layers) / len(layers)

    def make_optimizer(self, p):
        """Adam, dense over all trained parameters."""
        trained = [tensor.requires_grad_(True) for name, tensor in p.items() if self.trains(name)]
        return torch.optim.Adam(trained, lr=self["lr"], betas=(self["beta1"], self["beta2"]),
                                eps=self["eps"])

    def train_step(self, p, optimizer, batch):
        """Updates `p`; returns the intermediates, and losses, gradients and updated parameters."""
        out = self.encode(p)
        loss = self.losses(p, out, batch)
        loss["total"] = self.total(loss)
        trained = {name: tensor for name, tensor in p.items() if self.trains(name)}
        for tensor in trained.values():
            tensor.grad = torch.zeros_like(tensor)
        loss["total"].backward()
        result = {f"loss.{name}": value.reshape(1) for name, value in loss.items()}
        result.update({f"grad/{name}": tensor.grad.clone() for name, tensor in trained.items()})
        optimizer.step()
        result.update({f"after/{name}": tensor.clone() for name, tensor in trained.items()})
        return out, result


class Bm3(Model):
    """Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023."""
    has_negatives, has_features = False, True
    choices = {"dim": DIMS, "layers": [0, 1, 2, 3], "dropout": [0.0, 0.3, 0.5],
               "reg": [0.01, 0.1, 1.0], "reg-form": ["norm", "squared"],
               "mm-weight": [0.5, 1.0, 2.0], "losses": [ALL, ALL, ALL, *ALL.split(",")],
               "features": ["frozen", "tuned"], "degree_epsilon": [0.0, 1e-7]}

    def shapes(self):
        d = self["dim"]
        shapes = {**super().shapes(), "predictor.weight": (d, d), "predictor.bias": (d,)}
        for m, width in self.widths.items():
            shapes.update({f"feature.{m}": (self.n_items, width), f"{m}.weight": (width, d),
                           f"{m}.bias": (d,)})
        return shapes

    def masks(self):
        d = self["dim"]
        return {"user": (self.n_users, d),
                **{name: (self.n_items, d) for name in ["item", *self.widths]}}

    def encode(self, p):
        out = {}
        mean = self.propagate(p, out)  # [Eq. 3]
        h = {"user": mean[:self.n_users],
             "item": mean[self.n_users:] + p["item_embedding"]}
        out["H"] = torch.cat([h["user"], h["item"]])  # [Eq. 4]
        for m in self.widths:
            h[m] = p[f"feature.{m}"] @ p[f"{m}.weight"] + p[f"{m}.bias"]  # [Eq. 1]
            out[f"projection.{m}"] = h[m]
        for name, rows in h.items():
            out[f"predicted.{name}"] = (rows @ p["predictor.weight"]
                                        + p["predictor.bias"])  # [Eq. 6]
        return out

    def views(self, out, batch):
        """The targets: kept entries divided by 1 - p, without gradient.  [Eq. 5]"""
        h = {"user": out["H"][:self.n_users], "item": out["H"][self.n_users:]}
        h.update({m: out[f"projection.{m}"] for m in self.widths})
        with torch.no_grad():
            out.update({f"view.{name}": rows * batch[f"mask.{name}"] / (1.0 - self["dropout"])
                        for name, rows in h.items()})

    def losses(self, p, out, batch):
        self.views(out, batch)
        users, items = batch["users"], batch["items"]
        on = self["losses"].split(",")
        rec = align = mask = torch.zeros((), dtype=torch.float64)
        if "rec" in on:  # [Eq. 9]
            rec = (cosine_loss(out["predicted.user"][users], out["view.item"][items])
                   + cosine_loss(out["predicted.item"][items], out["view.user"][users]))
        for m in self.widths:
            predicted = out[f"predicted.{m}"][items]
            if "align" in on:  # [Eq. 10]
                align = align + cosine_loss(predicted, out["view.item"][items])
            if "mask" in on:  # [Eq. 11]
                mask = mask + cosine_loss(predicted, out[f"view.{m}"][items])
        h_user, h_item = out["H"][:self.n_users], out["H"][self.n_users:]
        if self["reg-form"] == "norm":
            reg = (torch.linalg.vector_norm(h_user)
                   + torch.linalg.vector_norm(h_item)) / self.n_items
        else:
            reg = (h_user[users].square().sum(dim=1) + h_item[items].square().sum(dim=1)).mean()
        return {"rec": rec, "align": align, "mask": mask, "reg": reg}

    def total(self, loss):  # [Eq. 12]
        return (loss["rec"] + self["mm-weight"] * (loss["align"] + loss["mask"])
                + self["reg"] * loss["reg"])

    def embeddings(self, p, out):  # [Eq. 13]
        return out["predicted.user"], out["predicted.item"]


class Bpr(Model):
    """Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009."""
    choices = {"dim": DIMS, "reg": [1e-3, 0.1, 1.0], "reg-form": ["norm", "squared"],
               "pair-form": ["epsilon", "plain"]}

    def encode(self, p):
        return {}

    def losses(self, p, out, batch):
        users, items, negatives = batch["users"], batch["items"], batch["negatives"]
        user, item = self.embeddings(p, out)
        out["x"] = (user[users] * (item[items] - item[negatives])).sum(dim=1)
        own = [p["user_embedding"][users], p["item_embedding"][items],
               p["item_embedding"][negatives]]  # also where other vectors rank
        return {"bpr": pair_loss(out["x"], self["pair-form"]),
                "reg": batch_regularizer(own, self["reg-form"])}

    def total(self, loss):
        return loss["bpr"] + self["reg"] * loss["reg"]

    def embeddings(self, p, out):
        return p["user_embedding"], p["item_embedding"]


class LightGcn(Bpr):
    """He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for
    Recommendation", SIGIR 2020."""
    choices = {**Bpr.choices, "layers": [0, 1, 2, 3, 4], "degree_epsilon": [0.0, 1e-7]}

    def encode(self, p):
        out = {}
        out["F"] = self.propagate(p, out)
        return out

    def embeddings(self, p, out):
        return out["F"][:self.n_users], out["F"][self.n_users:]


MODELS = {"bm3": Bm3, "bpr": Bpr, "lightgcn": LightGcn}


def cosine_loss(a, b):
    """Mean over rows of 1 + C(a, b); the denominator is a constant where clamped.  [Eq. 8]"""
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (1.0 - (a * b).sum(dim=1) / torch.clamp(norms, min=COSINE_FLOOR)).mean()


def pair_loss(x, form):
    """Mean of -ln sigma(x), with "epsilon" of -ln(1e-10 + sigma(x))."""
    if form == "plain":
        return -F.logsigmoid(x).mean()
    return -torch.log(SIGMOID_EPSILON + torch.sigmoid(x)).mean()


def batch_regularizer(tables, form):
    """Sum over the tables' rows of the batch [B, d] of |E| / B, when "squared" of |E|^2 / (2B)."""
    norms = torch.stack([torch.linalg.matrix_norm(rows) for rows in tables])
    return (norms if form == "norm" else norms.square() / 2).sum() / len(tables[0])


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
