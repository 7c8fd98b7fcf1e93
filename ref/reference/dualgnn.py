import math

import numpy as np
import torch
import torch.nn.functional as F

from reference.model import DIMS, Model, pair_loss


class DualGnn(Model):
    """Wang et al., "DualGNN: Dual Graph Neural Network for Multimedia Recommendation", IEEE TMM
    2021. The modality named image comes first."""
    has_features = needs_features = True
    choices = {"dim": DIMS, "hidden": [1, 3, 8], "neighbours": [1, 2, 5, 40],
               "fusion": ["aliased", "separate"], "reg": [1e-3, 0.1, 1.0],
               "degree_epsilon": [0.0, 1e-7]}

    def shapes(self):
        d, hidden = self["dim"], self["hidden"]
        shapes = {"user_weight": (self.n_users, len(self.widths))}
        for m, width in self.widths.items():
            shapes.update({f"feature.{m}": (self.n_items, width),
                           f"{m}.preference": (self.n_users, d),
                           f"{m}.hidden.weight": (width, hidden), f"{m}.hidden.bias": (hidden,),
                           f"{m}.output.weight": (hidden, d), f"{m}.output.bias": (d,)})
        return shapes

    def trains(self, parameter):
        return not parameter.startswith("feature.")

    def common(self):
        """[n_users, n_users]: how many training items two users have in common; 0 for oneself."""
        has = np.zeros((self.n_users, self.n_items))
        has[self.train[:, 0], self.train[:, 1]] = 1
        common = has @ has.T
        np.fill_diagonal(common, 0)
        return common

    def draws(self, rng):
        """Each user's neighbours: the most common items first, the lower number among equals."""
        lists = np.zeros((self.n_users, self["neighbours"]), dtype=np.int64)
        for user, common in enumerate(self.common()):
            order = np.argsort(-common, kind="stable")
            known = [int(v) for v in order[:self["neighbours"]] if common[v] > 0]
            while known and len(known) < self["neighbours"]:
                known.append(known[rng.integers(len(known))])
            lists[user, :len(known)] = known
        return {"neighbours": lists}

    def encode(self, p):
        out = {}
        for m in self.widths:
            h = F.leaky_relu(p[f"feature.{m}"] @ p[f"{m}.hidden.weight"] + p[f"{m}.hidden.bias"],
                             0.01)
            items = h @ p[f"{m}.output.weight"] + p[f"{m}.output.bias"]
            x = F.normalize(torch.cat([p[f"{m}.preference"], items]), eps=1e-12)
            once = self.adjacency @ x
            out[f"{m}.rep"] = x + once + self.adjacency @ once
        return out

    def fuse(self, p, out, neighbours):
        """Adds the users' vectors, with the graph of users, and the items'."""
        self.neighbours = torch.as_tensor(neighbours)
        order = sorted(self.widths, key=lambda m: m != "image")
        rep = [out[f"{m}.rep"] for m in order]
        total = sum(rep)
        if self["fusion"] == "aliased":
            rep[0] = total
        r = sum(p["user_weight"][:, m, None] * rows[:self.n_users] for m, rows in enumerate(rep))
        common = torch.as_tensor(self.common())
        weight = torch.softmax(torch.gather(common, 1, self.neighbours), dim=1)
        weight = weight * (common.sum(dim=1, keepdim=True) > 0)
        out["r"], out["S"] = r, total[self.n_users:]
        out["u"] = r + (weight[:, :, None] * r[self.neighbours]).sum(dim=1)

    def losses(self, p, out, batch):
        users, items, negatives = batch["users"], batch["items"], batch["negatives"]
        self.fuse(p, out, batch["neighbours"])
        out["x"] = (out["u"][users] * (out["S"][items] - out["S"][negatives])).sum(dim=1)
        reg = p["user_weight"].square().mean()
        for m in self.widths:
            reg = reg + p[f"{m}.preference"][users].square().mean()
        return {"bpr": pair_loss(out["x"], "plain"), "reg": reg}

    def total(self, loss):
        return loss["bpr"] / math.log(2) + self["reg"] * loss["reg"]

    def embeddings(self, p, out):
        """With the graph of users of the last step."""
        self.fuse(p, out, self.neighbours)
        return out["u"], out["S"]
