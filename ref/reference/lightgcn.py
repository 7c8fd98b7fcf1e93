from reference.bpr import Bpr


class LightGcn(Bpr):
    """He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for
    Recommendation", SIGIR 2020."""
    choices = {**Bpr.choices, "layers": [0, 1, 2, 3, 4], "degree_epsilon": [0.0, 1e-7]}

    def encode(self, p):
        out = {}
        out["F"] = self.propagate(p, out)
        return out

    def embeddings(self, p, out):
        return out["F"][:self.n_users], out["F"][self.n_users:]
