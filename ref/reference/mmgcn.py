import torch
import torch.nn.functional as F

from reference.model import DIMS, Model, pair_loss

LAYERS = (1, 2, 3)
SLOPE = 0.01


class Mmgcn(Model):
    """Wei et al., "MMGCN: Multi-modal Graph Convolution Network for Personalized Recommendation of
    Micro-video", ACM MM 2019. Features named image pass a linear layer first."""
    has_features = needs_features = True
    choices = {"dim": DIMS, "latent": [1, 2, 5, 8], "tables": ["frozen", "trained"],
               "reg": [1e-3, 0.1, 1.0]}

    def shapes(self):
        d = self["dim"]
        shapes = super().shapes()
        for m, width in self.widths.items():
            first = self["latent"] if m == "image" else width
            shapes.update({f"feature.{m}": (self.n_items, width),
                           f"{m}.preference": (self.n_users, first)})
            if m == "image":
                shapes.update({f"{m}.weight": (width, first), f"{m}.bias": (first,)})
            for l in LAYERS:
                in_ = first if l == 1 else d
                shapes.update({f"{m}.conv{l}": (in_, in_),
                               f"{m}.linear{l}.weight": (in_, d), f"{m}.linear{l}.bias": (d,),
                               f"{m}.fusion{l}.weight": (in_ + d, d), f"{m}.fusion{l}.bias": (d,)})
        return shapes

    def is_table(self, parameter):
        return parameter.endswith("_embedding") or parameter.endswith(".preference")

    def trains(self, parameter):
        if parameter.startswith("feature."):
            return False
        return self["tables"] == "trained" or not self.is_table(parameter)

    def mean_adjacency(self):
        """D^-1 A [N, N]: the mean over a node's neighbours, 0 without any."""
        a = torch.zeros(self.n_users + self.n_items, self.n_users + self.n_items,
                        dtype=torch.float64)
        for user, item in self.train:
            a[user, self.n_users + item] = a[self.n_users + item, user] = 1.0
        return a / a.sum(dim=1, keepdim=True).clamp(min=1.0)

    def encode(self, p):
        out = {}
        mean = self.mean_adjacency()
        own = torch.cat([p["user_embedding"], p["item_embedding"]])
        for m in self.widths:
            items = p[f"feature.{m}"]
            if m == "image":
                items = items @ p[f"{m}.weight"] + p[f"{m}.bias"]
            x = F.normalize(torch.cat([p[f"{m}.preference"], items]), eps=1e-12)
            out[f"{m}.x0"] = x
            for l in LAYERS:
                h = F.leaky_relu(mean @ (x @ p[f"{m}.conv{l}"]), SLOPE)
                direct = x @ p[f"{m}.linear{l}.weight"] + p[f"{m}.linear{l}.bias"]
                both = torch.cat([h, F.leaky_relu(direct, SLOPE) + own], dim=1)
                x = F.leaky_relu(both @ p[f"{m}.fusion{l}.weight"] + p[f"{m}.fusion{l}.bias"],
                                 SLOPE)
                out[f"{m}.x{l}"] = x
        out["F"] = sum(out[f"{m}.x{LAYERS[-1]}"] for m in self.widths) / len(self.widths)
        return out

    def losses(self, p, out, batch):
        users, items, negatives = batch["users"], batch["items"], batch["negatives"]
        user, item = self.embeddings(p, out)
        out["x"] = (user[users] * (item[items] - item[negatives])).sum(dim=1)
        of_users = p["user_embedding"][torch.cat([users, users])]
        of_items = p["item_embedding"][torch.cat([items, negatives])]
        reg = of_users.square().mean() + of_items.square().mean()
        for m in self.widths:
            if m == "image" or self["tables"] == "trained":
                reg = reg + p[f"{m}.preference"].square().mean()
        return {"bpr": pair_loss(out["x"], "plain"), "reg": reg}

    def total(self, loss):
        return loss["bpr"] + self["reg"] * loss["reg"]

    def embeddings(self, p, out):
        return out["F"][:self.n_users], out["F"][self.n_users:]
