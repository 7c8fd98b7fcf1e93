"""The models in PyTorch float64, from their papers' equations: whole catalogue, dense adjacency,
gradients by autograd.

A model is a class of MODELS: its settings, the shapes of its parameters, its forward pass, its
losses and the vectors that rank. Rows are vectors, weights are [in, out], nodes are the users and
then the items. `p` maps parameters' names to tensors; `batch` maps users, items, negatives and
mask.* to tensors; `out` collects intermediates under their names in a golden (README.md).
"""
from reference.bm3 import ALL, Bm3
from reference.bpr import Bpr
from reference.buir import Buir
from reference.dualgnn import DualGnn
from reference.freedom import Freedom
from reference.grcn import Grcn
from reference.lattice import Lattice
from reference.lightgcn import LightGcn
from reference.mmgcn import Mmgcn
from reference.ranking import metrics, top_k_lists
from reference.vbpr import Vbpr

MODELS = {"bm3": Bm3, "bpr": Bpr, "lightgcn": LightGcn, "buir": Buir, "vbpr": Vbpr,
          "mmgcn": Mmgcn, "grcn": Grcn, "dualgnn": DualGnn, "lattice": Lattice,
          "freedom": Freedom}
