import torch

from reference.model import DIMS, Model, pair_loss


class Lattice(Model):
    """Zhang et al., "Mining Latent Structures for Multimedia Recommendation", MM 2021."""
    has_features = True
    choices = {"dim": DIMS[1:], "layers": [0, 1, 2, 3], "neighbours": [3, 5, 10],
               "raw-weight": [0.0, 0.5, 0.9], "build": ["epoch", "batch"], "reg": [1e-3, 0.1],
               "features": ["frozen", "tuned"], "epoch_steps": [2]}

    def shapes(self):
        shapes = super().shapes()
        if self.widths:
            shapes["modal_weight"] = (1, len(self.widths))
        for m, width in self.widths.items():
            shapes.update({f"feature.{m}": (self.n_items, width),
                           f"{m}.weight": (width, self["dim"]), f"{m}.bias": (self["dim"],)})
        return shapes

    def make_optimizer(self, p):
        """Keeps the graphs of the features as they are before training."""
        with torch.no_grad():
            self.raw = [self.scaled(self.alike(p[f"feature.{m}"])) for m in self.widths]
        self.step, self.builds = 0, True
        users, items = torch.as_tensor(self.train).T
        with_loops = torch.eye(self.n_users + self.n_items, dtype=torch.float64)
        with_loops[users, self.n_users + items] = with_loops[self.n_users + items, users] = 1.0
        self.mean = with_loops / with_loops.sum(dim=1, keepdim=True)  # (D + 1)^-1 (A + I)
        return super().make_optimizer(p)

    def alike(self, x):
        """Each row's largest cosines, and else 0. Which these are has no gradient."""
        unit = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
        cosines = unit @ unit.T
        order = torch.sort(cosines.detach(), dim=1, descending=True, stable=True).indices
        kept = torch.zeros_like(cosines).scatter_(1, order[:, :self["neighbours"]], 1.0)
        return cosines * kept

    def scaled(self, graph):
        r = graph.sum(dim=1)
        s = torch.where(r > 0, torch.where(r > 0, r, 1.0) ** -0.5, 0.0)
        return s[:, None] * graph * s[None, :]

    def item_graph(self, p):
        w = torch.softmax(p["modal_weight"][0], dim=0)
        learnt = [self.alike(p[f"feature.{m}"] @ p[f"{m}.weight"] + p[f"{m}.bias"])
                  for m in self.widths]
        return ((1.0 - self["raw-weight"]) * self.scaled(sum(v * k for v, k in zip(w, learnt)))
                + self["raw-weight"] * sum(v * o for v, o in zip(w, self.raw)))

    def train_step(self, p, optimizer, batch):
        self.builds = self["build"] == "batch" or self.step % self["epoch_steps"] == 0
        self.step += 1
        result = super().train_step(p, optimizer, batch)
        self.builds = True  # for the ranking
        return result

    def encode(self, p):
        out = {}
        layers = [torch.cat([p["user_embedding"], p["item_embedding"]])]
        for _ in range(self["layers"]):
            layers.append(self.mean @ layers[-1])
        out["F"] = sum(layers) / len(layers)
        if self.widths:
            graph = self.item_graph(p) if self.builds else self.last_graph
            self.last_graph = graph.detach()
            out["h"] = graph @ p["item_embedding"]
            unit = out["h"] / torch.linalg.vector_norm(out["h"], dim=1, keepdim=True)
            out["F"] = torch.cat([out["F"][:self.n_users], out["F"][self.n_users:] + unit])
        return out

    def losses(self, p, out, batch):
        user, item = self.embeddings(p, out)
        rows = user[batch["users"]], item[batch["items"]], item[batch["negatives"]]
        out["x"] = (rows[0] * (rows[1] - rows[2])).sum(dim=1)
        return {"bpr": pair_loss(out["x"], "plain"),
                "reg": sum(x.square().sum() for x in rows) / (2 * self.largest_batch)}

    def total(self, loss):
        return loss["bpr"] + self["reg"] * loss["reg"]

    def embeddings(self, p, out):
        return out["F"][:self.n_users], out["F"][self.n_users:]
