"""BM3 in plain PyTorch float32, the released code's way: whole catalogue in every step, COO sparse
product, dropout over all nodes, gradients by autograd, full score matrix. (bm3_reference.py, which
makes the goldens, is float64 and dense and knows every setting.)
"""
import torch
import torch.nn.functional as F


class Bm3(torch.nn.Module):
    """`train`: [2, *] user and item numbers; `features`: e_m [n_items, d_m] for each modality."""

    def __init__(self, n_users, n_items, train, features=(), tuned=False, dim=64, layers=1,
                 dropout=0.5, reg=0.1, mm_weight=2.0):
        super().__init__()
        self.n_users, self.n_items, self.layers = n_users, n_items, layers
        self.dropout, self.reg, self.mm_weight = dropout, reg, mm_weight
        self.user = torch.nn.Embedding(n_users, dim)
        self.item = torch.nn.Embedding(n_items, dim)
        self.predictor = torch.nn.Linear(dim, dim)
        self.features = torch.nn.ParameterList(torch.nn.Parameter(e, tuned) for e in features)
        self.projections = torch.nn.ModuleList(torch.nn.Linear(e.shape[1], dim) for e in features)
        for table in (self.user, self.item):
            torch.nn.init.xavier_uniform_(table.weight)
        for linear in (self.predictor, *self.projections):
            torch.nn.init.xavier_normal_(linear.weight)
        self.register_buffer("adjacency", normalized_adjacency(n_users, n_items, train))
        self.register_buffer("seen", train)

    def encode(self):
        layer = torch.cat([self.user.weight, self.item.weight])
        layers = [layer]
        for _ in range(self.layers):
            layer = torch.sparse.mm(self.adjacency, layer)  # [Eq. 3]
            layers.append(layer)
        mean = torch.stack(layers).mean(dim=0)
        return mean[:self.n_users], mean[self.n_users:] + self.item.weight  # [Eq. 4]

    def loss(self, users, items):
        """L of the batch of pairs (users[k], items[k])."""
        h_u, h_i = self.encode()
        h_m = [linear(e) for linear, e in zip(self.projections, self.features)]  # [Eq. 1]
        with torch.no_grad():  # [Eq. 5]
            view_u, view_i, *view_m = [F.dropout(h, self.dropout) for h in (h_u, h_i, *h_m)]
        p_u, p_i = self.predictor(h_u), self.predictor(h_i)  # [Eq. 6]

        def one_plus_c(a, b):  # [Eq. 8]
            return 1 - F.cosine_similarity(a, b, dim=-1).mean()
        loss = (one_plus_c(p_u[users], view_i[items])
                + one_plus_c(p_i[items], view_u[users]))  # [Eq. 9]
        for h, view in zip(h_m, view_m):
            p = self.predictor(h)[items]
            loss = loss + self.mm_weight * (one_plus_c(p, view_i[items])  # [Eq. 10]
                                            + one_plus_c(p, view[items]))  # [Eq. 11]
        return loss + self.reg * (h_u.norm() + h_i.norm()) / self.n_items  # [Eq. 12]

    @torch.no_grad()
    def top_k(self, k, batch=4096):
        """[n_users, k] items by p_u . p_i, best first, without the training's.  [Eq. 13]"""
        h_u, h_i = self.encode()
        p_u, p_i = self.predictor(h_u), self.predictor(h_i)
        users, items = self.seen
        lists = []
        for first in range(0, self.n_users, batch):
            scores = p_u[first:first + batch] @ p_i.T
            here = (users >= first) & (users < first + batch)
            scores[users[here] - first, items[here]] = -1e10
            lists.append(torch.topk(scores, min(k, self.n_items), dim=1).indices)
        return torch.cat(lists).cpu()


def normalized_adjacency(n_users, n_items, train):
    """D^-1/2 A D^-1/2 of the pairs `train` [2, *], in COO form.  [Eq. 3]"""
    users, items, n = train[0], train[1] + n_users, n_users + n_items
    index = torch.cat([torch.stack([users, items]), torch.stack([items, users])], dim=1)
    scale = (torch.bincount(index[0], minlength=n) + 1e-7) ** -0.5
    value = (scale[index[0]] * scale[index[1]]).float()
    return torch.sparse_coo_tensor(index, value, (n, n), check_invariants=False).coalesce()
