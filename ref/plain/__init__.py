"""The models in plain PyTorch float32, the released code's way: whole catalogue in every step, COO
sparse product, dropout over all nodes, gradients by autograd, full score matrix. (reference/,
which makes the goldens, is float64 and dense and knows every setting.)
"""
import argparse

from plain.batches import Batches
from plain.bm3 import Bm3
from plain.bpr import Bpr
from plain.buir import Buir
from plain.dualgnn import DualGnn
from plain.freedom import Freedom
from plain.grcn import Grcn
from plain.lattice import Lattice
from plain.lightgcn import LightGcn
from plain.mmgcn import Mmgcn
from plain.vbpr import Vbpr

MODELS = {"bm3": Bm3, "bpr": Bpr, "lightgcn": LightGcn, "buir": Buir, "vbpr": Vbpr,
          "mmgcn": Mmgcn, "grcn": Grcn, "dualgnn": DualGnn, "lattice": Lattice,
          "freedom": Freedom}


def add_settings(parser):
    """Adds --model and the models' settings, which have no value where they are not given."""
    parser.add_argument("--model", choices=list(MODELS), default="bm3", help=" ")
    for key, kind in [("dim", int), ("layers", int), ("dropout", float), ("reg", float)]:
        defaults = ", ".join(f"{name} {model.defaults[key]}" for name, model in MODELS.items()
                             if key in model.defaults)
        parser.add_argument(f"--{key}", type=kind, default=argparse.SUPPRESS,
                            help=f"(default: {defaults})")


def settings_of(parser, args):
    """Those given; ends the program where the model has no such setting."""
    given = {key: getattr(args, key) for key in ("dim", "layers", "dropout", "reg")
             if hasattr(args, key)}
    for key in given:
        if key not in MODELS[args.model].defaults:
            parser.error(f"{args.model} has no setting --{key}")
    return given
