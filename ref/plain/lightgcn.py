import torch

from plain.bpr import Bpr
from plain.model import normalized_adjacency


class LightGcn(Bpr):
    defaults = {"dim": 64, "layers": 4, "reg": 0.01}
    initialize = staticmethod(torch.nn.init.xavier_uniform_)

    def __init__(self, n_users, n_items, train, settings):
        super().__init__(n_users, n_items, train, settings)
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))

    def embeddings(self):
        mean = self.propagate()
        return mean[:self.n_users], mean[self.n_users:]
