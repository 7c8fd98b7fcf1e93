import torch

from plain.model import Model


class Bpr(Model):
    defaults = {"dim": 64, "reg": 0.1}
    initialize = staticmethod(torch.nn.init.xavier_normal_)

    def __init__(self, n_users, n_items, train, settings):
        super().__init__(n_users, n_items, train, settings)
        for table in (self.user, self.item):
            self.initialize(table.weight)

    def loss(self, users, items, negatives):
        """Of the batch's triples (users[k], items[k], negatives[k])."""
        user, item = self.embeddings()
        x = (user[users] * item[items]).sum(dim=1) - (user[users] * item[negatives]).sum(dim=1)
        pair = -torch.log(1e-10 + torch.sigmoid(x)).mean()
        user, item = self.regularised(user, item)
        own = user[users], item[items], item[negatives]
        return pair + self.settings["reg"] * sum(rows.norm() for rows in own) / len(users)

    def embeddings(self):
        return self.user.weight, self.item.weight

    def regularised(self, user, item):
        """The tables, also where other vectors rank."""
        return self.user.weight, self.item.weight
