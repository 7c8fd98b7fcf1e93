import torch

from plain.bpr import Bpr


class Vbpr(Bpr):
    """`features`: e_m [n_items, d_m] for each modality, never tuned."""
    takes_features = True
    defaults = {"dim": 64, "reg": 0.1}
    initialize = staticmethod(torch.nn.init.xavier_uniform_)

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        self.projection = None
        if features:
            dim = self.settings["dim"]
            self.user = torch.nn.Embedding(n_users, 2 * dim)
            self.initialize(self.user.weight)
            self.register_buffer("features", torch.cat(list(features), dim=1))
            self.projection = torch.nn.Linear(self.features.shape[1], dim)
            torch.nn.init.xavier_normal_(self.projection.weight)
            torch.nn.init.zeros_(self.projection.bias)

    def embeddings(self):
        item = self.item.weight
        if self.projection:
            item = torch.cat([item, self.projection(self.features)], dim=1)
        return self.user.weight, item

    def regularised(self, user, item):
        return user, item
