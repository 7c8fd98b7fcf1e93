#pragma once
// The folder that a training run leaves, written whole or not at all:
//   config.json      what was asked for, and what came out
//   log.csv          a line an epoch
//   user_embedding.npy, item_embedding.npy   h~ [n_users, d], [n_items, d] of the best epoch
//   top_k.tsv        each user's best items, best first: user, rank, item, score
// Nothing in it depends on the time or the number of threads.
