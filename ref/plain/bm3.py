import torch
import torch.nn.functional as F

from plain.model import Model, normalized_adjacency


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
