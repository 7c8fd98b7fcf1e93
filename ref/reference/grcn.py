from functools import cached_property

import torch
import torch.nn.functional as F

from reference.model import DIMS, Model, pair_loss


class Grcn(Model):
    """Wei et al., "Graph-Refined Convolutional Network for Multimedia Recommendation with Implicit
    Feedback", ACM MM 2020."""
    has_features = True
    choices = {"dim": DIMS, "routing": [0, 1, 2, 3], "reg": [1e-3, 0.1, 1.0],
               "reg-users": ["all", "batch"]}

    def shapes(self):
        d, n = self["dim"], self.n_users + self.n_items
        shapes = super().shapes()
        if self.widths:
            shapes["confidence"] = (n, len(self.widths))
        for m, width in self.widths.items():
            shapes.update({f"feature.{m}": (self.n_items, width),
                           f"{m}.preference": (self.n_users, d), f"{m}.weight": (width, d),
                           f"{m}.bias": (d,)})
        return shapes

    def trains(self, parameter):
        return not parameter.startswith("feature.")

    @cached_property
    def edges(self):
        """Whether there is an edge from the column's node to the row's."""
        edges = torch.zeros(self.n_users + self.n_items, self.n_users + self.n_items,
                            dtype=torch.bool)
        edges[self.train[:, 0], self.train[:, 1] + self.n_users] = True
        return edges | edges.T

    def content(self, p, m):
        """x [N, d] of users and items, and the shares alpha [N, N] of each target's sources."""
        item = F.normalize(F.leaky_relu(p[f"feature.{m}"] @ p[f"{m}.weight"] + p[f"{m}.bias"]))
        user = F.normalize(p[f"{m}.preference"])
        of_users = self.edges[:self.n_users, self.n_users:]
        for _ in range(self["routing"]):
            user = F.normalize(user + masked_softmax(user @ item.T, of_users) @ item)
        x = torch.cat([user, item])
        return x, masked_softmax(x @ x.T, self.edges)

    def encode(self, p):
        out, edges, shares = {}, self.edges, []
        w = edges.double()
        for m in self.widths:
            x, alpha = self.content(p, m)
            out.update({f"x.{m}": x, f"alpha.{m}": alpha[edges][:, None],
                        f"Rep.{m}": x + alpha @ x})
            shares.append(alpha * p["confidence"][:, len(shares)])  # that of the column: the source
        if shares:
            w = F.relu(torch.stack(shares).amax(dim=0))
        z = F.normalize(torch.cat([p["user_embedding"], p["item_embedding"]]))
        out.update({"w": w[edges][:, None], "Z": z + w @ z + w @ (w @ z)})
        return out

    def losses(self, p, out, batch):
        users, items, negatives = batch["users"], batch["items"], batch["negatives"]
        user, item = self.embeddings(p, out)
        out["x"] = (user[users] * (item[items] - item[negatives])).sum(dim=1)
        own = [p["user_embedding"][users], p["user_embedding"][users],
               p["item_embedding"][items], p["item_embedding"][negatives]]
        reg = torch.cat(own).square().mean() * 2
        for m in self.widths:
            reg = reg + p[f"{m}.preference"][users].square().mean()
        if self.widths and self["reg-users"] == "all":
            reg = reg + p[f"{next(iter(self.widths))}.preference"].square().mean()
        return {"bpr": pair_loss(out["x"], "plain"), "reg": reg}

    def total(self, loss):
        return loss["bpr"] + self["reg"] * loss["reg"]

    def embeddings(self, p, out):
        rows = torch.cat([out["Z"], *(out[f"Rep.{m}"] for m in self.widths)], dim=1)
        return rows[:self.n_users], rows[self.n_users:]


def masked_softmax(a, edges):
    """The softmax of each row over its edges, 0 elsewhere, with 1e-16 in the denominator."""
    a = a.masked_fill(~edges, -torch.inf)
    most = a.amax(dim=1, keepdim=True).detach()
    shares = torch.exp(a - torch.where(edges.any(dim=1, keepdim=True), most, 0.0))
    return shares / (shares.sum(dim=1, keepdim=True) + 1e-16)
