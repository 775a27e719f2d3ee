"""Opacus: a linear model by DP-SGD; batches of 512, 20 epochs, gradients clipped to 1, rate 2, RDP accounting."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from learning_task import DELTA, answer, one_hot
from opacus import PrivacyEngine

warnings.filterwarnings("ignore")
torch.set_num_threads(1)


def score(fit, y, test, widths, epsilon, seed):  # noqa: PLR0917 (as ``answer`` calls it)
    torch.manual_seed(seed)
    rows = torch.utils.data.TensorDataset(
        torch.tensor(one_hot(fit, widths)), torch.tensor(np.asarray(y, np.float32))[:, None]
    )
    model = torch.nn.Linear(int(widths.sum()), 1)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    loader = torch.utils.data.DataLoader(rows, batch_size=512)
    model, optimizer, loader = PrivacyEngine(accountant="rdp").make_private_with_epsilon(
        module=model, optimizer=optimizer, data_loader=loader, target_epsilon=epsilon, target_delta=DELTA, epochs=20,
        max_grad_norm=1.0,
    )  # fmt: skip
    loss = torch.nn.BCEWithLogitsLoss()
    for _ in range(20):
        for x, label in loader:
            optimizer.zero_grad()
            loss(model(x), label).backward()
            optimizer.step()
    with torch.no_grad():
        return model(torch.tensor(one_hot(test, widths))).numpy()[:, 0]


if __name__ == "__main__":
    answer(score)
