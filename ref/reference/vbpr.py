import torch

from reference.bpr import Bpr


class Vbpr(Bpr):
    """He and McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI
    2016. Without modalities it is BPR."""
    has_features = True

    def shapes(self):
        d = self["dim"]
        shapes = {**super().shapes(), **{f"feature.{m}": (self.n_items, width)
                                         for m, width in self.widths.items()}}
        if self.widths:
            shapes.update({f"{m}.weight": (width, d) for m, width in self.widths.items()})
            shapes.update({"user_embedding": (self.n_users, 2 * d), "bias": (d,)})
        return shapes

    def trains(self, parameter):
        return not parameter.startswith("feature.")

    def encode(self, p):
        if not self.widths:
            return {}
        features = torch.cat([p[f"feature.{m}"] for m in self.widths], dim=1)
        weight = torch.cat([p[f"{m}.weight"] for m in self.widths])
        return {"projection": features @ weight + p["bias"]}

    def embeddings(self, p, out):
        item = p["item_embedding"]
        if self.widths:
            item = torch.cat([item, out["projection"]], dim=1)
        return p["user_embedding"], item

    regularised = embeddings
