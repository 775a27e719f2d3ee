"""Opacus: a linear model by DP-SGD on large Poisson batches, with Opacus' own accountant (PRV, its tightest)."""

from __future__ import annotations

import itertools
import warnings
from functools import lru_cache

import numpy as np
import torch
from learning_task import DELTA, one_hot, run
from opacus import PrivacyEngine
from opacus.accountants.utils import get_noise_multiplier

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
# Batches per epoch, epochs, rate of learning, momentum, largest norm of a gradient. With momentum few large batches do
# what takes a thousand small ones without.
GRID = tuple(itertools.product((10,), (10,), (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.9,), (0.5, 1.0)))
SETTINGS = {
    "adult": {0.5: (10, 10, 2.0, 0.9, 1.0), 1.0: (10, 10, 4.0, 0.9, 1.0), 4.0: (10, 10, 8.0, 0.9, 1.0)},
    "credit": {0.5: (10, 10, 0.25, 0.9, 1.0), 1.0: (10, 10, 0.25, 0.9, 1.0), 4.0: (10, 10, 0.5, 0.9, 1.0)},
}


class Rows(torch.utils.data.Dataset):
    """Rows that are fetched a batch at a time: one by one takes a hundred times as long as the gradients."""

    def __init__(self, x, y):
        self.x, self.y = torch.tensor(x), torch.tensor(np.asarray(y, np.float32))[:, None]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]

    def __getitems__(self, indices):
        found = torch.tensor(indices, dtype=torch.long)
        return self.x.index_select(0, found), self.y.index_select(0, found)


def whole(batch):
    return batch


@lru_cache
def multiplier(epsilon, rate, steps):
    return get_noise_multiplier(
        target_epsilon=epsilon, target_delta=DELTA, sample_rate=rate, steps=steps, accountant="prv"
    )


def fitted(x, y, epsilon, seed, setting):
    """Return a model of the columns of ``x``."""
    batches, epochs, rate, momentum, norm = setting
    torch.manual_seed(seed)
    rows = Rows(x, y)
    model = torch.nn.Linear(x.shape[1], 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    loader = torch.utils.data.DataLoader(rows, batch_size=-(-len(rows) // batches), collate_fn=whole)
    noise = multiplier(epsilon, 1 / len(loader), epochs * len(loader))
    model, optimizer, loader = PrivacyEngine(accountant="prv").make_private(
        module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=noise, max_grad_norm=norm
    )
    loss = torch.nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        for inputs, label in loader:
            optimizer.zero_grad()
            loss(model(inputs), label).backward()
            optimizer.step()
    return model


def score(fit, y, test, widths, epsilon, seed, setting):  # noqa: PLR0917 (as ``answer`` calls it)
    model = fitted(one_hot(fit, widths), y, epsilon, seed, setting)
    with torch.no_grad():
        return model(torch.tensor(one_hot(test, widths))).numpy()[:, 0]


if __name__ == "__main__":
    run(score, SETTINGS, GRID)
