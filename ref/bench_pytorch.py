"""Seconds of a model's training and evaluation in plain PyTorch, the released code's way, on random
data of the given sizes; one line of JSON on standard output.
"""
import argparse
import json
import time

import torch

from plain import MODELS, Batches, add_settings, settings_of


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
                          ("batch", 2048), ("steps", 10)]:
        parser.add_argument(f"--{name}", type=int, default=default, help=" ")
    parser.add_argument("--dims", type=int, nargs="*", default=[4096, 384],
                        help="widths of the features of a model that takes them; 0: none")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: PyTorch's choice")
    parser.add_argument("--tf32", action="store_true", help="products on the GPU in TF32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help=" ")
    parser.add_argument("--features", choices=["frozen", "tuned"], default="frozen", help=" ")
    add_settings(parser)
    args = parser.parse_args()
    settings = settings_of(parser, args)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    pairs = torch.stack([torch.randint(args.users, (args.interactions,)),
                         torch.randint(args.items, (args.interactions,))])
    inputs = {}
    if MODELS[args.model].takes_features:
        inputs = {"features": [torch.randn(args.items, size) for size in args.dims if size > 0],
                  "tuned": args.features == "tuned"}
    model = MODELS[args.model](args.users, args.items, pairs, settings, **inputs).to(device)
    batches = Batches(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def step():
        pick = torch.randint(args.interactions, (args.batch,), device=device)
        optimizer.zero_grad()
        model.loss(*batches(pick)).backward()
        optimizer.step()

    def first_step():
        model.begin_epoch()
        step()

    per_step = seconds(step, device, args.steps)
    later = -(-args.interactions // args.batch) - 1
    per_epoch = seconds(first_step, device, 3) + per_step * later
    evaluation = seconds(lambda: model.top_k(50), device, 3)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(json.dumps({"device": name, "torch": torch.__version__, "model": args.model,
                      "features": args.features if inputs else "none", "steps": args.steps,
                      "step_seconds": per_step, "epoch_seconds": per_epoch,
                      "evaluation_seconds": evaluation}))


if __name__ == "__main__":
    main()
