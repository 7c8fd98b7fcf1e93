import sys

import torch


class Batches:
    """Makes the batches of a model: pairs of training, and a negative item for each where needed.

    Negatives are drawn as the toolbox does, uniformly from the distinct items of training (or from
    `everything`), again while the item is in the user's training; but all of a batch at once.
    """

    def __init__(self, model, everything=False):
        self.pairs, self.n_items = model.seen, model.n_items
        self.needs_negatives = model.needs_negatives
        users, items = self.pairs
        every = torch.arange(self.n_items, device=items.device)
        self.pool = every if everything else items.unique()
        self.keys = (users * self.n_items + items).unique()  # in order
        most = torch.bincount(self.keys // self.n_items).max()
        if self.needs_negatives and most >= len(self.pool):
            sys.exit("a user has every item in training: expected one that can be a negative")

    def draw(self, n):
        return self.pool[torch.randint(len(self.pool), (n,), device=self.pool.device)]

    def negatives(self, users):
        items = self.draw(len(users))
        while True:
            keys = users * self.n_items + items
            at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
            again = (self.keys[at] == keys).nonzero()[:, 0]
            if len(again) == 0:
                return items
            items[again] = self.draw(len(again))

    def __call__(self, pick):
        """Of the pairs whose places are `pick`: what the model's loss takes."""
        users, items = self.pairs[:, pick]
        return (users, items, self.negatives(users)) if self.needs_negatives else (users, items)
