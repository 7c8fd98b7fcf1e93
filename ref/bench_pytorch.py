"""Seconds of BM3's training and evaluation in plain PyTorch float32, the released code's way: whole
catalogue in every step, COO sparse product, dropout over all nodes, dense Adam, full score matrix.
Random data of the given sizes; one line of JSON on standard output.
"""
import argparse
import json
import time

import torch
import torch.nn.functional as F


class Bm3(torch.nn.Module):
    def __init__(self, args, device):
        super().__init__()
        self.args = args
        d = args.dim
        self.user = torch.nn.Embedding(args.users, d)
        self.item = torch.nn.Embedding(args.items, d)
        self.predictor = torch.nn.Linear(d, d)
        dims = [size for size in args.dims if size > 0]
        self.features = torch.nn.ParameterList(
            torch.nn.Parameter(torch.randn(args.items, size), args.features == "tuned")
            for size in dims)
        self.projections = torch.nn.ModuleList(torch.nn.Linear(size, d) for size in dims)
        for table in (self.user, self.item):
            torch.nn.init.xavier_uniform_(table.weight)
        self.to(device)

        self.pairs = torch.stack([torch.randint(args.users, (args.interactions,)),
                                  torch.randint(args.items, (args.interactions,))])
        users, items = self.pairs[0], self.pairs[1] + args.users
        nodes = args.users + args.items
        index = torch.cat([torch.stack([users, items]), torch.stack([items, users])], dim=1)
        scale = (torch.bincount(index[0], minlength=nodes) + 1e-7) ** -0.5
        value = (scale[index[0]] * scale[index[1]]).float()
        self.adjacency = torch.sparse_coo_tensor(index, value, (nodes, nodes)).coalesce().to(device)
        self.pairs = self.pairs.to(device)

    def encode(self):
        layer = torch.cat([self.user.weight, self.item.weight])
        layers = [layer]
        for _ in range(self.args.layers):
            layer = torch.sparse.mm(self.adjacency, layer)
            layers.append(layer)
        mean = torch.stack(layers).mean(dim=0)
        users, items = mean[:self.args.users], mean[self.args.users:]
        return users, items + self.item.weight

    def loss(self, users, items):
        h_u, h_i = self.encode()
        h_m = [linear(e) for linear, e in zip(self.projections, self.features)]
        with torch.no_grad():
            view_u, view_i, *view_m = [F.dropout(h, self.args.dropout) for h in (h_u, h_i, *h_m)]
        p_u, p_i = self.predictor(h_u), self.predictor(h_i)

        def cosine(a, b):
            return 1 - F.cosine_similarity(a, b, dim=-1).mean()
        loss = cosine(p_u[users], view_i[items]) + cosine(p_i[items], view_u[users])
        for h, view in zip(h_m, view_m):
            p = self.predictor(h)[items]
            loss = loss + 2.0 * (cosine(p, view_i[items]) + cosine(p, view[items]))
        return loss + 0.1 * (h_u.norm() + h_i.norm()) / self.args.items

    @torch.no_grad()
    def evaluate(self, batch, k=50):
        h_u, h_i = self.encode()
        p_u, p_i = self.predictor(h_u), self.predictor(h_i)
        lists = []
        order = torch.argsort(self.pairs[0])
        users, items = self.pairs[0][order], self.pairs[1][order]
        for first in range(0, self.args.users, batch):
            scores = p_u[first:first + batch] @ p_i.T
            seen = (users >= first) & (users < first + batch)
            scores[users[seen] - first, items[seen]] = -1e10
            lists.append(torch.topk(scores, min(k, self.args.items), dim=1).indices)
        return torch.cat(lists).cpu()


def seconds(work, device, repeats):
    """Mean time of `work` after calls that warm up, without a wait for the device in between."""
    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()
    for _ in range(3 if device.type == "cuda" else 1):
        work()
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - start) / repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name, default in [("users", 19445), ("items", 7050), ("interactions", 118551),
                          ("dim", 64), ("layers", 1), ("batch", 2048), ("steps", 10)]:
        parser.add_argument(f"--{name}", type=int, default=default, help=" ")
    parser.add_argument("--dims", type=int, nargs="*", default=[4096, 384],
                        help="width of each modality's features; 0: none")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: PyTorch's choice")
    parser.add_argument("--tf32", action="store_true", help="products on the GPU in TF32")
    parser.add_argument("--dropout", type=float, default=0.5, help=" ")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help=" ")
    parser.add_argument("--features", choices=["frozen", "tuned"], default="frozen", help=" ")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    model = Bm3(args, device)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def step():
        pick = torch.randint(args.interactions, (args.batch,), device=device)
        optimizer.zero_grad()
        model.loss(model.pairs[0, pick], model.pairs[1, pick]).backward()
        optimizer.step()

    per_step = seconds(step, device, args.steps)
    per_epoch = per_step * -(-args.interactions // args.batch)
    evaluation = seconds(lambda: model.evaluate(4096), device, 3)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(json.dumps({"device": name, "torch": torch.__version__, "features": args.features,
                      "steps": args.steps, "step_seconds": per_step, "epoch_seconds": per_epoch,
                      "evaluation_seconds": evaluation}))


if __name__ == "__main__":
    main()
