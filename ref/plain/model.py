"""What the models share."""
import torch


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

    def begin_epoch(self):
        """Draws what an epoch's steps take at random."""

    def propagate(self, adjacency=None):
        """The mean of the layers 0 ... L, users then items."""
        adjacency = self.adjacency if adjacency is None else adjacency
        layer = torch.cat([self.user.weight, self.item.weight])
        layers = [layer]
        for _ in range(self.settings["layers"]):
            layer = torch.sparse.mm(adjacency, layer)
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


def normalized_adjacency(n_users, n_items, train):
    """D^-1/2 A D^-1/2 of the distinct pairs of `train` [2, *], in COO form."""
    train = train.unique(dim=1)
    users, items, n = train[0], train[1] + n_users, n_users + n_items
    index = torch.cat([torch.stack([users, items]), torch.stack([items, users])], dim=1)
    scale = (torch.bincount(index[0], minlength=n) + 1e-7) ** -0.5
    value = (scale[index[0]] * scale[index[1]]).float()
    return torch.sparse_coo_tensor(index, value, (n, n), check_invariants=False).coalesce()
