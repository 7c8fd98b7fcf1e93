"""The models in plain PyTorch float32, the released code's way: whole catalogue in every step, COO
sparse product, dropout over all nodes, gradients by autograd, full score matrix. (reference.py,
which makes the goldens, is float64 and dense and knows every setting.)
"""
import argparse
import sys

import torch
import torch.nn.functional as F


class Model(torch.nn.Module):
    """`train`: [2, *] user and item numbers. A model adds its loss and the vectors that rank."""
    needs_negatives, takes_features = True, False

    def __init__(self, n_users, n_items, train, settings):
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        self.settings = {**self.defaults, **settings}
        self.user = torch.nn.Embedding(n_users, self.settings["dim"])
        self.item = torch.nn.Embedding(n_items, self.settings["dim"])
        self.register_buffer("seen", train)

    def propagate(self):
        """The mean of the layers 0 ... L, users then items."""
        layer = torch.cat([self.user.weight, self.item.weight])
        layers = [layer]
        for _ in range(self.settings["layers"]):
            layer = torch.sparse.mm(self.adjacency, layer)
            layers.append(layer)
        return torch.stack(layers).mean(dim=0)

    @torch.no_grad()
    def top_k(self, k, batch=4096):
        """[n_users, k] items by inner product, best first, without the training's."""
        user, item = self.embeddings()
        users, items = self.seen
        lists = []
        for first in range(0, self.n_users, batch):
            scores = user[first:first + batch] @ item.T
            here = (users >= first) & (users < first + batch)
            scores[users[here] - first, items[here]] = -1e10
            lists.append(torch.topk(scores, min(k, self.n_items), dim=1).indices)
        return torch.cat(lists).cpu()


class Bm3(Model):
    """`features`: e_m [n_items, d_m] for each modality."""
    needs_negatives, takes_features = False, True
    defaults = {"dim": 64, "layers": 1, "dropout": 0.5, "reg": 0.1, "mm_weight": 2.0}

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        dim = self.settings["dim"]
        self.predictor = torch.nn.Linear(dim, dim)
        self.features = torch.nn.ParameterList(torch.nn.Parameter(e, tuned) for e in features)
        self.projections = torch.nn.ModuleList(torch.nn.Linear(e.shape[1], dim) for e in features)
        for table in (self.user, self.item):
            torch.nn.init.xavier_uniform_(table.weight)
        for linear in (self.predictor, *self.projections):
            torch.nn.init.xavier_normal_(linear.weight)
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))

    def encode(self):
        mean = self.propagate()  # [Eq. 3]
        return mean[:self.n_users], mean[self.n_users:] + self.item.weight  # [Eq. 4]

    def loss(self, users, items):
        """L of the batch of pairs (users[k], items[k])."""
        h_u, h_i = self.encode()
        h_m = [linear(e) for linear, e in zip(self.projections, self.features)]  # [Eq. 1]
        view_u, view_i, *view_m = [F.dropout(h.detach(), self.settings["dropout"])
                                   for h in (h_u, h_i, *h_m)]  # [Eq. 5]
        p_u, p_i = self.predictor(h_u), self.predictor(h_i)  # [Eq. 6]

        def one_plus_c(a, b):  # [Eq. 8]
            return 1 - F.cosine_similarity(a, b, dim=-1).mean()
        loss = (one_plus_c(p_u[users], view_i[items])
                + one_plus_c(p_i[items], view_u[users]))  # [Eq. 9]
        for h, view in zip(h_m, view_m):
            p = self.predictor(h)[items]
            align = one_plus_c(p, view_i[items])  # [Eq. 10]
            mask = one_plus_c(p, view[items])  # [Eq. 11]
            loss = loss + self.settings["mm_weight"] * (align + mask)
        reg = (h_u.norm() + h_i.norm()) / self.n_items
        return loss + self.settings["reg"] * reg  # [Eq. 12]

    def embeddings(self):  # [Eq. 13]
        h_u, h_i = self.encode()
        return self.predictor(h_u), self.predictor(h_i)


class Bpr(Model):
    defaults = {"dim": 64, "reg": 0.1}
    initialize = staticmethod(torch.nn.init.xavier_normal_)

    def __init__(self, n_users, n_items, train, settings):
        super().__init__(n_users, n_items, train, settings)
        for table in (self.user, self.item):
            self.initialize(table.weight)

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        user, item = self.embeddings()
        x = (user[users] * item[items]).sum(dim=1) - (user[users] * item[negatives]).sum(dim=1)
        pair = -torch.log(1e-10 + torch.sigmoid(x)).mean()
        own = self.user(users), self.item(items), self.item(negatives)
        return pair + self.settings["reg"] * sum(rows.norm() for rows in own) / len(users)

    def embeddings(self):
        return self.user.weight, self.item.weight


class LightGcn(Bpr):
    defaults = {"dim": 64, "layers": 4, "reg": 0.01}
    initialize = staticmethod(torch.nn.init.xavier_uniform_)

    def __init__(self, n_users, n_items, train, settings):
        super().__init__(n_users, n_items, train, settings)
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))

    def embeddings(self):
        mean = self.propagate()
        return mean[:self.n_users], mean[self.n_users:]


MODELS = {"bm3": Bm3, "bpr": Bpr, "lightgcn": LightGcn}


def normalized_adjacency(n_users, n_items, train):
    """D^-1/2 A D^-1/2 of the distinct pairs of `train` [2, *], in COO form."""
    train = train.unique(dim=1)
    users, items, n = train[0], train[1] + n_users, n_users + n_items
    index = torch.cat([torch.stack([users, items]), torch.stack([items, users])], dim=1)
    scale = (torch.bincount(index[0], minlength=n) + 1e-7) ** -0.5
    value = (scale[index[0]] * scale[index[1]]).float()
    return torch.sparse_coo_tensor(index, value, (n, n), check_invariants=False).coalesce()


class Batches:
    """Makes the batches of a model: pairs of training, and a negative item for each where needed.

    Negatives are drawn as the toolbox does, uniformly from the distinct items of training (or from
    `everything`), again while the item is in the user's training; but all of a batch at once.
    """

    def __init__(self, model, everything=False):
        self.pairs, self.n_items = model.seen, model.n_items
        self.needs_negatives = model.needs_negatives
        users, items = self.pairs
        every = torch.arange(self.n_items, device=items.device)
        self.pool = every if everything else items.unique()
        self.keys = (users * self.n_items + items).unique()  # in order
        most = torch.bincount(self.keys // self.n_items).max()
        if self.needs_negatives and most >= len(self.pool):
            sys.exit("a user has every item in training: expected one that can be a negative")

    def draw(self, n):
        return self.pool[torch.randint(len(self.pool), (n,), device=self.pool.device)]

    def negatives(self, users):
        items = self.draw(len(users))
        while True:
            keys = users * self.n_items + items
            at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
            again = (self.keys[at] == keys).nonzero()[:, 0]
            if len(again) == 0:
                return items
            items[again] = self.draw(len(again))

    def __call__(self, pick):
        """Of the pairs whose places are `pick`: what the model's loss takes."""
        users, items = self.pairs[:, pick]
        return (users, items, self.negatives(users)) if self.needs_negatives else (users, items)


def add_settings(parser):
    """Adds --model and the models' settings, which have no value where they are not given."""
    parser.add_argument("--model", choices=list(MODELS), default="bm3", help=" ")
    for key, kind in [("dim", int), ("layers", int), ("dropout", float), ("reg", float)]:
        defaults = ", ".join(f"{name} {model.defaults[key]}" for name, model in MODELS.items()
                             if key in model.defaults)
        parser.add_argument(f"--{key}", type=kind, default=argparse.SUPPRESS,
                            help=f"(default: {defaults})")


def settings_of(parser, args):
    """Those given; ends the program where the model has no such setting."""
    given = {key: getattr(args, key) for key in ("dim", "layers", "dropout", "reg")
             if hasattr(args, key)}
    for key in given:
        if key not in MODELS[args.model].defaults:
            parser.error(f"{args.model} has no setting --{key}")
    return given
