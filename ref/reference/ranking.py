"""Ranked lists and their metrics (paper 4.3)."""
import numpy as np


def top_k_lists(scores, train, k):
    """[n_users, min(k, n_items)] item numbers, best first, the lower number first among equals;
    training items are left out and the end is padded with -1."""
    lists = np.full((scores.shape[0], min(k, scores.shape[1])), -1, dtype=np.int64)
    for user in range(scores.shape[0]):
        seen = train[train[:, 0] == user, 1]
        order = np.argsort(-scores[user], kind="stable")
        order = order[~np.isin(order, seen)][:lists.shape[1]]
        lists[user, :len(order)] = order
    return lists


def metrics(lists, train, held_out, cutoffs):
    """{"recall@5": ...}: means over the users of held_out [n, 2] who occur in training."""
    users = np.intersect1d(held_out[:, 0], train[:, 0])
    sums = {f"{name}@{k}": 0.0 for name in ("recall", "ndcg", "precision", "map") for k in cutoffs}
    for user in users:
        wanted = held_out[held_out[:, 0] == user, 1]
        for k in cutoffs:
            hit = np.isin(lists[user, :k], wanted).astype(np.float64)
            rank = np.arange(1, len(hit) + 1)
            ideal = np.arange(1, min(len(wanted), k) + 1)
            sums[f"recall@{k}"] += hit.sum() / len(wanted)
            sums[f"ndcg@{k}"] += (hit / np.log2(rank + 1)).sum() / (1.0 / np.log2(ideal + 1)).sum()
            sums[f"precision@{k}"] += hit.sum() / k
            sums[f"map@{k}"] += (np.cumsum(hit) / rank * hit).sum() / len(ideal)
    return {name: float(value / len(users)) for name, value in sums.items()}
