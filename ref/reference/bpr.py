from reference.model import DIMS, Model, batch_regularizer, pair_loss


class Bpr(Model):
    """Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009."""
    choices = {"dim": DIMS, "reg": [1e-3, 0.1, 1.0], "reg-form": ["norm", "squared"],
               "pair-form": ["epsilon", "plain"]}

    def encode(self, p):
        return {}

    def losses(self, p, out, batch):
        users, items, negatives = batch["users"], batch["items"], batch["negatives"]
        user, item = self.embeddings(p, out)
        out["x"] = (user[users] * (item[items] - item[negatives])).sum(dim=1)
        user, item = self.regularised(p, out)
        own = [user[users], item[items], item[negatives]]
        return {"bpr": pair_loss(out["x"], self["pair-form"]),
                "reg": batch_regularizer(own, self["reg-form"])}

    def total(self, loss):
        return loss["bpr"] + self["reg"] * loss["reg"]

    def embeddings(self, p, out):
        return p["user_embedding"], p["item_embedding"]

    def regularised(self, p, out):
        """The tables, also where other vectors rank."""
        return p["user_embedding"], p["item_embedding"]
