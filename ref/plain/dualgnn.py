import torch
import torch.nn.functional as F

from plain.model import Model, normalized_adjacency


class DualGnn(Model):
    """`features`: e_m [n_items, d_m] for each modality. The released code's graph of users comes
    from a script of its own; here it is random, of the same size. Its unused parameters are left
    out."""
    takes_features = True
    defaults = {"dim": 64, "hidden": 256, "neighbours": 40, "reg": 0.001}

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        del self.user, self.item
        dim, hidden = self.settings["dim"], self.settings["hidden"]
        self.features = torch.nn.ParameterList(torch.nn.Parameter(e, False) for e in features)
        self.mlps = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(e.shape[1], hidden), torch.nn.LeakyReLU(),
                                torch.nn.Linear(hidden, dim)) for e in features)
        self.preferences = torch.nn.ParameterList(
            torch.nn.init.xavier_normal_(torch.empty(n_users, dim)) for _ in features)
        drawn = torch.nn.init.xavier_normal_(torch.empty(n_users, len(features)))
        self.user_weight = torch.nn.Parameter(drawn.softmax(dim=1))
        self.register_buffer("neighbours", torch.randint(n_users,
                                                         (n_users, self.settings["neighbours"])))
        self.register_buffer("common", torch.rand(n_users, self.settings["neighbours"]).softmax(1))
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        user, item = self.embeddings()
        x = (user[users] * item[items]).sum(dim=1) - (user[users] * item[negatives]).sum(dim=1)
        reg = self.user_weight.square().mean() + sum(table[users].square().mean()
                                                     for table in self.preferences)
        return -torch.log2(torch.sigmoid(x)).mean() + self.settings["reg"] * reg

    def embeddings(self):
        reps = []
        for mlp, features, preference in zip(self.mlps, self.features, self.preferences):
            x = F.normalize(torch.cat([preference, mlp(features)]))
            once = torch.sparse.mm(self.adjacency, x)
            reps.append(x + once + torch.sparse.mm(self.adjacency, once))
        total = sum(reps)
        of_users = torch.stack([total, *reps[1:]], dim=2)[:self.n_users]
        r = torch.matmul(of_users, self.user_weight[:, :, None]).squeeze(2)
        near = torch.matmul(self.common[:, None], r[self.neighbours]).squeeze(1)
        return r + near, total[self.n_users:]
