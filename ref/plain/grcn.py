import torch
import torch.nn.functional as F

from plain.model import Model


class Grcn(Model):
    """`features`: raw features [n_items, d_m] of each modality. The routing is computed as in the
    released code, where it adds nothing: its edges end at items, and only users' rows are used."""
    takes_features = True
    defaults = {"dim": 64, "routing": 3, "reg": 1e-3}

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        dim, n = self.settings["dim"], n_users + n_items
        self.preferences = torch.nn.ParameterList(torch.empty(n_users, dim) for _ in features)
        self.features = torch.nn.ParameterList(torch.nn.Parameter(e, tuned) for e in features)
        self.projections = torch.nn.ModuleList(torch.nn.Linear(e.shape[1], dim) for e in features)
        self.confidence = torch.nn.Parameter(torch.empty(n, len(features)))
        for table in (self.user.weight, self.item.weight, *self.preferences,
                      *(linear.weight for linear in self.projections)):
            torch.nn.init.xavier_normal_(table)
        if len(features) > 0:
            torch.nn.init.xavier_normal_(self.confidence)
        train = train.unique(dim=1)
        to_items = torch.stack([train[0], train[1] + n_users])
        self.register_buffer("to_items", to_items)
        self.register_buffer("edges", torch.cat([to_items, to_items.flip(0)], dim=1))

    @staticmethod
    def attention(x, edges):
        """What each target gets from its sources, and their shares."""
        source, target = edges
        a = (x[target] * x[source]).sum(dim=1)
        most = a.new_full((len(x),), -torch.inf).scatter_reduce(0, target, a.detach(), "amax")
        share = torch.exp(a - most[target])
        share = share / (a.new_zeros(len(x)).index_add(0, target, share)[target] + 1e-16)
        return torch.zeros_like(x).index_add(0, target, share[:, None] * x[source]), share

    def content(self, preference, linear, e):
        user, item = F.normalize(preference), F.normalize(F.leaky_relu(linear(e)))
        for _ in range(self.settings["routing"]):
            x = torch.cat([user, item])
            user = F.normalize(user + self.attention(x, self.to_items)[0][:self.n_users])
        x = torch.cat([user, item])
        sums, share = self.attention(x, self.edges)
        return x + sums, share

    def encode(self):
        source, target = self.edges
        parts = [self.content(*of) for of in zip(self.preferences, self.projections,
                                                 self.features)]
        w = torch.ones(len(source), device=source.device)
        if parts:
            shares = torch.stack([share for _, share in parts], dim=1)
            w = F.relu((shares * self.confidence[source]).amax(dim=1))
        z = F.normalize(torch.cat([self.user.weight, self.item.weight]))
        layers = [z]
        for _ in range(2):
            layers.append(torch.zeros_like(z).index_add(0, target, w[:, None] * layers[-1][source]))
        return torch.cat([sum(layers), *(rows for rows, _ in parts)], dim=1)

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        user, item = self.embeddings()
        x = (user[users] * item[items]).sum(dim=1) - (user[users] * item[negatives]).sum(dim=1)
        own = torch.cat([self.user(users), self.user(users), self.item(items),
                         self.item(negatives)])
        reg = 2 * own.square().mean()
        for preference in self.preferences:
            reg = reg + preference[users].square().mean()
        for preference in self.preferences[:1]:
            reg = reg + preference.square().mean()
        return -F.logsigmoid(x).mean() + self.settings["reg"] * reg

    def embeddings(self):
        out = self.encode()
        return out[:self.n_users], out[self.n_users:]
