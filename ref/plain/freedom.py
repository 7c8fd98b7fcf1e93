import torch
import torch.nn.functional as F

from plain.model import Model, normalized_adjacency


class Freedom(Model):
    """`features`: e_m [n_items, d_m] for each modality, the first of them images."""
    takes_features = True
    defaults = {"dim": 64, "layers": 2, "neighbours": 10, "rho": 0.8, "image_weight": 0.1,
                "mm_weight": 1e-3}

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        self.features = torch.nn.ParameterList(torch.nn.Parameter(e, tuned) for e in features)
        self.projections = torch.nn.ModuleList(
            torch.nn.Linear(e.shape[1], self.settings["dim"]) for e in features)
        for table in (self.user, self.item):
            torch.nn.init.xavier_uniform_(table.weight)
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))
        self.register_buffer("edges", train.unique(dim=1))
        users, items = self.edges
        self.register_buffer("chance", (torch.bincount(users)[users].float()
                                        * torch.bincount(items)[items]) ** -0.5)
        weight = self.settings["image_weight"]
        weights = [weight] + [(1 - weight) / (len(features) - 1)] * (len(features) - 1) \
            if len(features) > 1 else [1.0]
        graphs = [w * self.alike(e) for w, e in zip(weights, features)]
        mixed = sum(graphs[1:], graphs[0]).coalesce() if graphs else None
        self.register_buffer("item_graph", mixed)
        self.begin_epoch()

    def alike(self, e):
        k = self.settings["neighbours"]
        unit = F.normalize(e)
        columns = torch.topk(unit @ unit.T, k, dim=1).indices.flatten()
        rows = torch.arange(self.n_items, device=e.device).repeat_interleave(k)
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), torch.full(rows.shape, 1 / k),
                                       (self.n_items, self.n_items))

    def begin_epoch(self):
        n = int(self.edges.shape[1] * (1.0 - self.settings["rho"]))
        kept = (self.chance / torch.empty_like(self.chance).exponential_()).topk(n).indices
        self.pruned = normalized_adjacency(self.n_users, self.n_items, self.edges[:, kept])

    def read_out(self, adjacency):
        mean = self.propagate(adjacency)
        item = mean[self.n_users:]
        if self.item_graph is not None:
            item = item + torch.sparse.mm(self.item_graph, self.item.weight)
        return mean[:self.n_users], item

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        user, item = self.read_out(self.pruned)
        user = user[users]

        def pair(rows):
            return -F.logsigmoid((user * (rows[items] - rows[negatives])).sum(dim=1)).mean()
        of_features = sum(pair(linear(e)) for linear, e in zip(self.projections, self.features))
        return pair(item) + self.settings["mm_weight"] * of_features

    def embeddings(self):
        return self.read_out(self.adjacency)
