"""What the models share: settings, parameters, adjacency, step of training, losses."""
from functools import cached_property

import torch
import torch.nn.functional as F

COSINE_FLOOR = 1e-8
SIGMOID_EPSILON = 1e-10
DIMS = [1, 2, 3, 5, 7, 8, 13, 17, 33]


class Model:
    """What the models share. `choices` maps each setting to the values that random goldens take.

    A model adds encode(p), which returns `out`; losses(p, out, batch), which returns each named
    loss without its weight and may add to `out`; total(loss), their weighted sum; and
    embeddings(p, out), the users' and the items' vectors, whose inner products rank.
    """
    has_negatives = True  # a batch has negative items
    has_features = False  # items have features e_m [n_items, widths[m]] of each modality m
    needs_features = False  # of one modality at least

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

    def draws(self, rng):
        """What else a step takes at random: {name in a golden: array}."""
        return {}

    def trains(self, parameter):
        """Whether Adam updates it."""
        return not parameter.startswith("feature.") or self["features"] == "tuned"

    @cached_property
    def adjacency(self):
        return self.adjacency_of(torch.as_tensor(self.train))

    def adjacency_of(self, edges):
        """D^-1/2 A D^-1/2 [N, N] of edges [*, 2]; a node without any has a zero row."""
        a = torch.zeros(self.n_users + self.n_items, self.n_users + self.n_items,
                        dtype=torch.float64)
        users, items = edges[:, 0], edges[:, 1] + self.n_users
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
