import torch

from reference.model import DIMS, Model, pair_loss


class Freedom(Model):
    """Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal
    Recommendation", MM 2023."""
    has_features = True
    choices = {"dim": DIMS, "layers": [0, 1, 2, 3], "item-layers": [1, 2], "neighbours": [2, 5, 10],
               "rho": [0.0, 0.5, 0.8], "image-weight": [0.1, 0.5], "mm-weight": [1e-3, 0.5],
               "features": ["frozen", "tuned"], "degree_epsilon": [0.0, 1e-7]}

    def shapes(self):
        shapes = super().shapes()
        for m, width in self.widths.items():
            shapes.update({f"feature.{m}": (self.n_items, width),
                           f"{m}.weight": (width, self["dim"]), f"{m}.bias": (self["dim"],)})
        return shapes

    def draws(self, rng):
        """The edges of training that the step keeps."""
        pairs = self.train
        n = int(len(pairs) * (1.0 - self["rho"]))
        return {"kept": pairs[rng.permutation(len(pairs))[:n]]}

    def make_optimizer(self, p):
        """Keeps the graph of items, which comes from the features as they are before training."""
        with torch.no_grad():
            self.item_graph = sum((self.share(m) * self.alike(p[f"feature.{m}"])
                                   for m in self.widths), torch.zeros(()))
        return super().make_optimizer(p)

    def share(self, m):
        others = len(self.widths) - 1
        if "image" not in self.widths or others == 0:
            return 1.0 / len(self.widths)
        return self["image-weight"] if m == "image" else (1.0 - self["image-weight"]) / others

    def alike(self, e):
        """Each item to those with the largest cosines: ones, scaled by the rows' counts."""
        unit = e / torch.linalg.vector_norm(e, dim=1, keepdim=True)
        order = torch.sort(unit @ unit.T, dim=1, descending=True, stable=True).indices
        graph = torch.zeros(self.n_items, self.n_items, dtype=torch.float64)
        graph.scatter_(1, order[:, :self["neighbours"]], 1.0)
        count = graph.sum(dim=1) + self["degree_epsilon"]
        return graph / torch.sqrt(count[:, None] * count[None, :])

    def read_out(self, p, adjacency):
        """The mean of the layers, and to the items what the items that are alike have."""
        layers = [torch.cat([p["user_embedding"], p["item_embedding"]])]
        for _ in range(self["layers"]):
            layers.append(adjacency @ layers[-1])
        mean = sum(layers) / len(layers)
        if not self.widths:
            return mean
        h = p["item_embedding"]
        for _ in range(self["item-layers"]):
            h = self.item_graph @ h
        return torch.cat([mean[:self.n_users], mean[self.n_users:] + h])

    def encode(self, p):
        out = {"F": self.read_out(p, self.adjacency)}
        for m in self.widths:
            out[f"projection.{m}"] = p[f"feature.{m}"] @ p[f"{m}.weight"] + p[f"{m}.bias"]
        return out

    def losses(self, p, out, batch):
        users, items, negatives = batch["users"], batch["items"], batch["negatives"]
        out["F"] = self.read_out(p, self.adjacency_of(batch["kept"]))
        user, item = self.embeddings(p, out)

        def x(rows):
            return (user[users] * (rows[items] - rows[negatives])).sum(dim=1)
        out["x"] = x(item)
        of_features = sum((pair_loss(x(out[f"projection.{m}"]), "plain") for m in self.widths),
                          torch.zeros((), dtype=torch.float64))
        return {"bpr": pair_loss(out["x"], "plain"), "features": of_features}

    def total(self, loss):
        return loss["bpr"] + self["mm-weight"] * loss["features"]

    def embeddings(self, p, out):
        return out["F"][:self.n_users], out["F"][self.n_users:]
