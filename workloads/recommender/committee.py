"""Several networks, trained apart, side by side as one: its logit is the mean of theirs.

Networks of one recipe and different seeds err in different ways, and the mean of their scores ranks better than each (bagging without
resampling: Lakshminarayanan, Pritzel and Blundell 2017, deep ensembles; not opened). Side by side they are one network: embeddings and
vectors lie one after the other, layers are block-diagonal, the last one holds 1/n of each. So the inner loop, the store, and the chip have
one network. Its inner loop fits all parts of a member's embedding together: the prior is 1/n of each network's, so that the mean is as
free as one network was. After how many interactions one counts less is learned by each and one number in all, their geometric mean.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from xbar.models.limaml import Recommender
from xbar.workloads.recommender.learning import Learner, MetaRecipe, Tables


def part_of(recipe: MetaRecipe) -> MetaRecipe:
    """The recipe of one of its networks."""
    count = recipe.networks
    return replace(recipe, size=recipe.size // count, hidden=tuple(each // count for each in recipe.hidden), networks=1)


@torch.no_grad()
def together(parts: Sequence[Learner], tables: Tables, recipe: MetaRecipe) -> Learner:
    """The learner of `recipe` whose networks are those; seconds of training are summed."""
    found = Learner.build(tables, recipe, 0)
    models, size, count = [each.model for each in parts], recipe.size, recipe.networks
    for name, value in found.model.state_dict().items():
        value.copy_(_of_all(name, [model.state_dict()[name] for model in models], models[0], count))
    for name, rate in found.rates.items():
        each = torch.stack([part.rates[name] for part in parts])
        rate.copy_((each - math.log(count)).flatten() if name == "prior" else each.mean(0))
    assert len(found.rates["prior"]) == size
    found.seen = parts[0].seen
    found.seconds = sum(each.seconds for each in parts)
    return found


def _of_all(name: str, each: list[Tensor], one: Recommender, count: int) -> Tensor:
    """A weight of all, of those of each: side by side where all read the same, block-diagonal where each reads its own."""
    if name.endswith("bias"):
        return torch.stack(each).mean(0) if name == "globals.score.bias" else torch.cat(each)
    if name == "globals.score.weight":
        hidden = each[0].shape[1] - one.globals.product
        return torch.cat([*(weight[:, :hidden] for weight in each), *(weight[:, hidden:] for weight in each)], 1) / count
    if name == "globals.first.weight":
        own = (slice(0, one.size), slice(one.size, one.size + one.item_size))
        diagonal = [torch.block_diag(*(weight[:, place] for weight in each)) for place in own]
        return torch.cat([*diagonal, torch.cat([weight[:, own[1].stop :] for weight in each])], 1)
    if name in ("meta.out.weight", "globals.second.weight"):
        return torch.block_diag(*each)
    return torch.cat(each, 0 if name in ("meta.hidden.weight", "item_tower.weight") else 1)  # of tables along their columns
