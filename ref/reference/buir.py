import numpy as np
import torch

from reference.model import DIMS, Model, cosine_loss


class Buir(Model):
    """Lee et al., "Bootstrapping User and Item Representations for One-Class Collaborative
    Filtering", SIGIR 2021: BUIR_NB over LightGCN's layers, and without layers BUIR_id."""
    has_negatives = False
    choices = {"dim": DIMS, "layers": [0, 1, 2, 3], "dropout": [0.0, 0.2, 1.0],
               "momentum": [0.5, 0.9, 0.995], "degree_epsilon": [0.0, 1e-7]}

    def shapes(self):
        d, tables = self["dim"], super().shapes()
        return {**tables, **{f"target.{name}": shape for name, shape in tables.items()},
                "predictor.weight": (d, d), "predictor.bias": (d,)}

    def trains(self, parameter):
        return not parameter.startswith("target.")

    def draws(self, rng):
        """Of each network, the rate and the edges that it drops: entries of the adjacency that are
        not zero, by row and then by column."""
        out = {}
        if self["dropout"] > 0 and self["layers"] > 0:
            for network in ("online", "target"):
                rate = self["dropout"] * rng.random()
                kept = rng.random((len(self.adjacency.nonzero()), 1)) >= rate
                out.update({f"rate.{network}": np.array([rate]),
                            f"mask.{network}": kept.astype(np.uint8)})
        return out

    def mean_of_layers(self, adjacency, user, item):
        layers = [torch.cat([user, item])]
        for _ in range(self["layers"]):
            layers.append(adjacency @ layers[-1])
        return sum(layers) / len(layers)

    def dropped(self, network, batch):
        """The adjacency without the edges that a network drops; the others make up for them."""
        if f"mask.{network}" not in batch:
            return self.adjacency
        rows, columns = self.adjacency.nonzero(as_tuple=True)
        kept = batch[f"mask.{network}"][:, 0] / (1.0 - batch[f"rate.{network}"])
        out = torch.zeros_like(self.adjacency)
        out[rows, columns] = self.adjacency[rows, columns] * kept
        return out

    def encode(self, p):
        return {}

    def predict(self, p, rows):
        return rows @ p["predictor.weight"] + p["predictor.bias"]

    def losses(self, p, out, batch):
        users, items = batch["users"], batch["items"] + self.n_users
        out["online"] = self.mean_of_layers(self.dropped("online", batch), p["user_embedding"],
                                            p["item_embedding"])
        out["target"] = self.mean_of_layers(self.dropped("target", batch),
                                            p["target.user_embedding"],
                                            p["target.item_embedding"])
        out["predicted"] = self.predict(p, out["online"])
        return {"rec": cosine_loss(out["predicted"][users], out["target"][items])
                + cosine_loss(out["predicted"][items], out["target"][users])}

    def total(self, loss):
        return 2.0 * loss["rec"]

    def train_step(self, p, optimizer, batch):
        result = super().train_step(p, optimizer, batch)
        with torch.no_grad():
            for name in ("user_embedding", "item_embedding"):
                p[f"target.{name}"].mul_(self["momentum"]).add_((1.0 - self["momentum"]) * p[name])
        return result

    def embeddings(self, p, out):
        f = self.mean_of_layers(self.adjacency, p["user_embedding"], p["item_embedding"])
        q, n = self.predict(p, f), self.n_users
        return torch.cat([q[:n], f[:n]], dim=1), torch.cat([f[n:], q[n:]], dim=1)
