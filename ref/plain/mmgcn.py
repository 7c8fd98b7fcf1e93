import torch
import torch.nn.functional as F

from plain.model import Model


class Network(torch.nn.Module):
    """One modality's: users' preferences above the items' features, then three layers."""

    def __init__(self, features, n_users, dim, latent):
        super().__init__()
        width = latent or features.shape[1]
        self.register_buffer("features", features)
        self.register_buffer("preference", torch.nn.init.xavier_normal_(torch.empty(n_users,
                                                                                    width)))
        self.mlp = torch.nn.Linear(features.shape[1], latent) if latent else None
        sizes = [width, dim, dim]
        self.convs = torch.nn.ParameterList(torch.nn.init.xavier_normal_(torch.empty(size, size))
                                            for size in sizes)
        self.linears = torch.nn.ModuleList(torch.nn.Linear(size, dim) for size in sizes)
        self.fusions = torch.nn.ModuleList(torch.nn.Linear(size + dim, dim) for size in sizes)
        for linear in (*self.linears, self.fusions[0]):
            torch.nn.init.xavier_normal_(linear.weight)

    def forward(self, adjacency, own):
        items = self.mlp(self.features) if self.mlp else self.features
        x = F.normalize(torch.cat([self.preference, items]))
        for conv, linear, fusion in zip(self.convs, self.linears, self.fusions):
            h = F.leaky_relu(torch.sparse.mm(adjacency, x @ conv))
            x = F.leaky_relu(fusion(torch.cat([h, F.leaky_relu(linear(x)) + own], dim=1)))
        return x


class Mmgcn(Model):
    """`features`: e_m [n_items, d_m] for each modality, the first of them visual. The tables are
    not trained, so the regulariser, which knows nothing else, is left out."""
    takes_features = True
    defaults = {"dim": 64, "latent": 256}

    def __init__(self, n_users, n_items, train, settings, features=(), tuned=False):
        super().__init__(n_users, n_items, train, settings)
        dim = self.settings["dim"]
        for table in (self.user, self.item):
            torch.nn.init.xavier_normal_(table.weight)
            table.weight.requires_grad_(False)
        self.networks = torch.nn.ModuleList(
            Network(e, n_users, dim, self.settings["latent"] if k == 0 else 0)
            for k, e in enumerate(features))
        self.register_buffer("adjacency", mean_adjacency(n_users, n_items, train))

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        user, item = self.embeddings()
        x = (user[users] * item[items]).sum(dim=1) - (user[users] * item[negatives]).sum(dim=1)
        return -torch.log(torch.sigmoid(x)).mean()

    def embeddings(self):
        own = torch.cat([self.user.weight, self.item.weight])
        mean = sum(network(self.adjacency, own) for network in self.networks) / len(self.networks)
        return mean[:self.n_users], mean[self.n_users:]


def mean_adjacency(n_users, n_items, train):
    """D^-1 A of the distinct pairs of `train` [2, *], in COO form."""
    train = train.unique(dim=1)
    users, items, n = train[0], train[1] + n_users, n_users + n_items
    index = torch.cat([torch.stack([users, items]), torch.stack([items, users])], dim=1)
    value = 1 / torch.bincount(index[0], minlength=n)[index[0]].float()
    return torch.sparse_coo_tensor(index, value, (n, n), check_invariants=False).coalesce()
