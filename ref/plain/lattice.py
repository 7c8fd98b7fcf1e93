import torch
import torch.nn.functional as F

from plain.model import Model


class Lattice(Model):
    """`features`: e_m [n_items, d_m] for each modality. The graph of items is dense."""
    takes_features = True
    defaults = {"dim": 64, "layers": 2, "neighbours": 10, "raw_weight": 0.9, "reg": 1e-5}

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        self.features = torch.nn.ParameterList(torch.nn.Parameter(e, tuned) for e in features)
        self.projections = torch.nn.ModuleList(
            torch.nn.Linear(e.shape[1], self.settings["dim"]) for e in features)
        self.modal_weight = torch.nn.Parameter(torch.full((max(len(features), 1),), 0.5))
        for table in (self.user, self.item):
            torch.nn.init.xavier_uniform_(table.weight)
        self.register_buffer("adjacency", mean_adjacency(n_users, n_items, train))
        with torch.no_grad():
            self.raw = [self.scaled(self.alike(e)) for e in features]
        self.item_graph, self.builds = None, True

    def _apply(self, move):
        self.raw = [move(graph) for graph in self.raw]
        return super()._apply(move)

    def alike(self, x):
        unit = F.normalize(x)
        values, places = torch.topk(unit @ unit.T, self.settings["neighbours"], dim=1)
        return torch.zeros(self.n_items, self.n_items, device=x.device).scatter(1, places, values)

    def scaled(self, graph):
        s = graph.sum(dim=1) ** -0.5
        s = torch.where(torch.isfinite(s), s, torch.zeros_like(s))
        return s[:, None] * graph * s[None, :]

    def begin_epoch(self):
        self.builds = True

    def build(self):
        w, raw_weight = torch.softmax(self.modal_weight, dim=0), self.settings["raw_weight"]
        learnt = sum(w[m] * self.alike(linear(e))
                     for m, (linear, e) in enumerate(zip(self.projections, self.features)))
        raw = sum(w[m] * graph for m, graph in enumerate(self.raw))
        self.item_graph = (1 - raw_weight) * self.scaled(learnt) + raw_weight * raw

    def read_out(self):
        mean = self.propagate()
        item = mean[self.n_users:]
        if self.item_graph is not None:
            item = item + F.normalize(self.item_graph @ self.item.weight)
        return mean[:self.n_users], item

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        if self.raw and self.builds:
            self.build()
        elif self.raw:
            self.item_graph = self.item_graph.detach()
        self.builds = False
        user, item = self.read_out()
        rows = user[users], item[items], item[negatives]
        pair = -F.logsigmoid((rows[0] * (rows[1] - rows[2])).sum(dim=1)).mean()
        return pair + self.settings["reg"] * sum(x.square().sum() for x in rows) / 2 / len(users)

    def embeddings(self):
        if self.raw:
            self.build()
        return self.read_out()


def mean_adjacency(n_users, n_items, train):
    """(D + 1)^-1 (A + I) of the distinct pairs of `train` [2, *], in COO form."""
    train = train.unique(dim=1)
    users, items, n = train[0], train[1] + n_users, n_users + n_items
    own = torch.arange(n, device=train.device)
    index = torch.stack([torch.cat([users, items, own]), torch.cat([items, users, own])])
    value = 1 / torch.bincount(index[0], minlength=n)[index[0]].float()
    return torch.sparse_coo_tensor(index, value, (n, n), check_invariants=False).coalesce()
