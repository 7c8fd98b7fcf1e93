import torch

from reference.model import DIMS, Model, cosine_loss

ALL = "rec,align,mask"


class Bm3(Model):
    """Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023."""
    has_negatives, has_features = False, True
    choices = {"dim": DIMS, "layers": [0, 1, 2, 3], "dropout": [0.0, 0.3, 0.5],
               "reg": [0.01, 0.1, 1.0], "reg-form": ["norm", "squared"],
               "mm-weight": [0.5, 1.0, 2.0], "losses": [ALL, ALL, ALL, *ALL.split(",")],
               "features": ["frozen", "tuned"], "degree_epsilon": [0.0, 1e-7]}

    def shapes(self):
        d = self["dim"]
        shapes = {**super().shapes(), "predictor.weight": (d, d), "predictor.bias": (d,)}
        for m, width in self.widths.items():
            shapes.update({f"feature.{m}": (self.n_items, width), f"{m}.weight": (width, d),
                           f"{m}.bias": (d,)})
        return shapes

    def masks(self):
        d = self["dim"]
        return {"user": (self.n_users, d),
                **{name: (self.n_items, d) for name in ["item", *self.widths]}}

    def encode(self, p):
        out = {}
        mean = self.propagate(p, out)  # [Eq. 3]
        h = {"user": mean[:self.n_users],
             "item": mean[self.n_users:] + p["item_embedding"]}
        out["H"] = torch.cat([h["user"], h["item"]])  # [Eq. 4]
        for m in self.widths:
            h[m] = p[f"feature.{m}"] @ p[f"{m}.weight"] + p[f"{m}.bias"]  # [Eq. 1]
            out[f"projection.{m}"] = h[m]
        for name, rows in h.items():
            out[f"predicted.{name}"] = (rows @ p["predictor.weight"]
                                        + p["predictor.bias"])  # [Eq. 6]
        return out

    def views(self, out, batch):
        """The targets: kept entries divided by 1 - p, without gradient.  [Eq. 5]"""
        h = {"user": out["H"][:self.n_users], "item": out["H"][self.n_users:]}
        h.update({m: out[f"projection.{m}"] for m in self.widths})
        with torch.no_grad():
            out.update({f"view.{name}": rows * batch[f"mask.{name}"] / (1.0 - self["dropout"])
                        for name, rows in h.items()})

    def losses(self, p, out, batch):
        self.views(out, batch)
        users, items = batch["users"], batch["items"]
        on = self["losses"].split(",")
        rec = align = mask = torch.zeros((), dtype=torch.float64)
        if "rec" in on:  # [Eq. 9]
            rec = (cosine_loss(out["predicted.user"][users], out["view.item"][items])
                   + cosine_loss(out["predicted.item"][items], out["view.user"][users]))
        for m in self.widths:
            predicted = out[f"predicted.{m}"][items]
            if "align" in on:  # [Eq. 10]
                align = align + cosine_loss(predicted, out["view.item"][items])
            if "mask" in on:  # [Eq. 11]
                mask = mask + cosine_loss(predicted, out[f"view.{m}"][items])
        h_user, h_item = out["H"][:self.n_users], out["H"][self.n_users:]
        if self["reg-form"] == "norm":
            reg = (torch.linalg.vector_norm(h_user)
                   + torch.linalg.vector_norm(h_item)) / self.n_items
        else:
            reg = (h_user[users].square().sum(dim=1) + h_item[items].square().sum(dim=1)).mean()
        return {"rec": rec, "align": align, "mask": mask, "reg": reg}

    def total(self, loss):  # [Eq. 12]
        return (loss["rec"] + self["mm-weight"] * (loss["align"] + loss["mask"])
                + self["reg"] * loss["reg"])

    def embeddings(self, p, out):  # [Eq. 13]
        return out["predicted.user"], out["predicted.item"]
