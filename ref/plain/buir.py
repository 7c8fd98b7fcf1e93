import copy

import torch
import torch.nn.functional as F

from plain.model import Model, normalized_adjacency


class Buir(Model):
    """Without dropout of edges. Not meant for `layers` 0, which has other initial values."""
    needs_negatives = False
    defaults = {"dim": 64, "layers": 3}
    momentum = 0.995

    def __init__(self, n_users, n_items, train, settings):
        super().__init__(n_users, n_items, train, settings)
        self.predictor = torch.nn.Linear(self.settings["dim"], self.settings["dim"])
        for table in (self.user, self.item):
            torch.nn.init.xavier_uniform_(table.weight)
        self.target = copy.deepcopy(torch.nn.ModuleList([self.user, self.item]))
        self.target.requires_grad_(False)
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))

    def networks(self):
        """The online network's vectors, users' then items', and the target's."""
        online = self.propagate().split([self.n_users, self.n_items])
        own = self.user, self.item
        with torch.no_grad():
            self.user, self.item = self.target
            target = self.propagate().split([self.n_users, self.n_items])
        self.user, self.item = own
        return online, target

    def loss(self, users, items):
        """L of the batch of pairs (users[k], items[k])."""
        with torch.no_grad():  # the targets follow the last step
            for table, followed in zip(self.target, (self.user, self.item)):
                table.weight.mul_(self.momentum).add_((1 - self.momentum) * followed.weight)
        (o_u, o_i), (t_u, t_i) = self.networks()

        def distance(a, b):
            cosine = F.normalize(self.predictor(a), dim=-1) * F.normalize(b, dim=-1)
            return 2 - 2 * cosine.sum(dim=-1)
        return (distance(o_u[users], t_i[items]) + distance(o_i[items], t_u[users])).mean()

    def embeddings(self):
        f_u, f_i = self.propagate().split([self.n_users, self.n_items])
        return (torch.cat([self.predictor(f_u), f_u], dim=1),
                torch.cat([f_i, self.predictor(f_i)], dim=1))
